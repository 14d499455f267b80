"""The README's commands and snippets are run, in order, as a newcomer would run them."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.tools._ports import free_port

REPOSITORY = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETTLE_S_MAX = 90


def blocks() -> list[tuple[str, str]]:
    return FENCE.findall((REPOSITORY / "README.md").read_text())


def commands(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.split("  #")[0].strip() for line in joined.splitlines() if line.strip()]


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    first = next(text for kind, text in blocks() if kind == "sh")
    assert [command.split()[:2] for command in commands(first)] == [
        ["make", "demo"],
        ["make", "test"],
    ]
    for command in ("demo", "test", "check", "bench"):
        subprocess.run(
            ["make", "-n", command], cwd=REPOSITORY, check=True, capture_output=True, timeout=60
        )


class Newcomer:
    """Runs README blocks in one folder, on ports that are free here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {port: str(free_port()) for port in ("1883", "8470", "8472")}
        self.background: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), "/usr/sbin", os.environ["PATH"]]
            ),
        }

    def run(self, kind: str, text: str) -> None:
        if kind == "python":
            self._finish([sys.executable, "-c", self._local(text)])
            return
        for command in commands(text):
            self._command(command)

    def stop(self) -> None:
        for process in reversed(self.background):
            process.send_signal(signal.SIGTERM)
        for process in self.background:
            assert process.wait(60) in (0, -signal.SIGTERM), process.args

    def _local(self, text: str) -> str:
        for port, free in self.ports.items():
            text = text.replace(port, free)
        # The defaults stand in no command of the README.
        return text

    def _command(self, command: str) -> None:
        words = shlex.split(self._local(command))
        if words[0] in ("make", "export"):
            return
        if words[:3] == ["tally", "fleet", "enroll"]:
            if "validator" in words:
                words += ["--bind", f"127.0.0.1:{self.ports['8470']}"]
            else:
                words += ["--broker", f"mqtt://127.0.0.1:{self.ports['1883']}"]
        if words[-1] in ("&", "-d"):
            self._start(words[:-1])
            return
        self._finish(words)

    def _start(self, words: list[str]) -> None:
        log = (self.folder / f"{words[0]}-{len(self.background)}.log").open("wb")
        self.background.append(
            subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        )
        if "validator" in words:
            self._until(f"http://127.0.0.1:{self.ports['8470']}/readyz")
        if "gateway" in words:
            self._until(f"http://127.0.0.1:{self.ports['8472']}/readyz")

    def _until(self, url: str) -> None:
        end = time.monotonic() + SETTLE_S_MAX
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                assert time.monotonic() < end, f"{url} does not answer"
                time.sleep(0.1)

    def _finish(self, words: list[str]) -> None:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        logs = "\n".join(
            f"--- {log.name}\n{log.read_text()[-2000:]}" for log in self.folder.glob("*.log")
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}\n{logs}"


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    made = Newcomer(tmp_path)
    yield made
    made.stop()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto")
def test_the_snippets_run_in_order(newcomer: Newcomer) -> None:
    for kind, text in blocks():
        if kind in ("sh", "python"):
            newcomer.run(kind, text)
    assert (newcomer.folder / "handover.tally").stat().st_size > 1000
