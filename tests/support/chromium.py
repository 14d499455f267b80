"""A real Chromium, driven over its DevTools protocol by a pipe: no port, no driver to install."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
    *("--force-color-profile=srgb", "--font-render-hinting=none", "--disable-default-apps"),
)
ANSWER_S_MAX = 90.0


class Page:
    """One tab: where it is, what it shows, what its console said."""

    def __init__(self, to: int, answers: int) -> None:
        self._to, self._from = to, answers
        self._number = 0
        self._rest = b""
        self.said: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def _call(self, method: str, *, session: str | None = None, **given: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": given}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._heard(answer)

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            data = os.read(self._from, 1 << 16)
            if not data:
                raise AssertionError("chromium has gone")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _heard(self, event: Any) -> None:
        method, given = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(given["exceptionDetails"])[:500])
        if method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.said.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")

    def call(self, method: str, **given: Any) -> Any:
        """A command to this tab."""
        return self._call(method, session=self._session, **given)

    def do(self, script: str) -> Any:
        """What a script comes to, as JSON."""
        made = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in made, made
        return made["result"].get("value")

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """The window's size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    def open(self, url: str, ready: str) -> None:
        """Go somewhere; back when the script `ready` is true there."""
        self.call("Page.navigate", url=url)
        self.until(ready)

    def until(self, ready: str) -> None:
        """Wait until a script is true."""
        end = time.monotonic() + ANSWER_S_MAX
        while not self.do(ready):
            assert time.monotonic() < end, (ready, self.do("document.body.innerText"), self.said)
            time.sleep(0.02)

    def text(self) -> str:
        """What is to be read."""
        shown: str = self.do("document.body.innerText")
        return shown

    def picture(self, path: Path) -> None:
        """A picture of what the window shows."""
        made = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(made["data"]))


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A fresh Chromium; it ends with the block."""
    assert PROGRAM is not None
    ours, theirs = os.pipe(), os.pipe()

    def pipes() -> None:
        # The protocol's fixed places: it reads from 3 and writes to 4.
        os.dup2(ours[0], 100)
        os.dup2(theirs[1], 101)
        os.dup2(100, 3)
        os.dup2(101, 4)

    process = subprocess.Popen(
        [PROGRAM, *FLAGS, f"--user-data-dir={profile}"],
        preexec_fn=pipes,  # noqa: PLW1509 - only dup2, and pass_fds cannot renumber
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(ours[0])
    os.close(theirs[1])
    try:
        yield Page(ours[1], theirs[0])
    finally:
        os.close(ours[1])
        os.close(theirs[0])
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
