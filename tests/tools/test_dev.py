"""`tally dev` from outside: a newcomer's robot is shown, and nothing is left when it ends."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.examples import everything
from support.site import until
from tallystick.evidence.errors import TallyError
from tallystick.gateway.following import Refusal, Taken
from tallystick.tools.dev import place as places
from tallystick.tools.dev.show import Show
from tallystick.tools.main import cli

COMMAND = [sys.executable, "-c", "from tallystick.tools.main import main; main()", "dev"]
SECONDS_MAX = 90
# What a robot's program is changed by, and a wait for what is on its way.
THREE_LINES = """
from tallystick.recorder import Recorder
tally = Recorder.open()
tally.decision("stop-net@7", inputs={"gap_m": 0.25}, output={"action": "stop"})
import time
while tally.backlog(): time.sleep(0.05)
tally.close()
"""


class Dev:
    """A `tally dev` that runs; `lines` are what it has printed."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.out = folder / "out.txt"
        self.err = folder / "err.txt"
        (folder / "tmp").mkdir(exist_ok=True)
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *args],
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONUNBUFFERED": "1"},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def until(self, *words: str) -> str:
        """The first line that holds all of these."""
        end = time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:
            for line in self.out.read_text().splitlines():
                if all(word in line for word in words):
                    return line
            assert self.process.poll() is None, self.err.read_text()
            time.sleep(0.05)
        message = f"no line with {words}: {self.out.read_text()} {self.err.read_text()}"
        raise AssertionError(message)

    def _all_gone(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def end(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        assert self.process.wait(SECONDS_MAX) == 0, self.err.read_text()
        until(self._all_gone, "the end of all")
        assert self.err.read_text().splitlines() == ["stopped"]


@contextlib.contextmanager
def running(folder: Path, *args: str) -> Iterator[Dev]:
    dev = Dev(folder, *args)
    try:
        yield dev
    finally:
        if dev.process.poll() is None:
            dev.process.kill()
            dev.process.wait()


def run(*program: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, *program], env={**os.environ, **environment}, check=True, timeout=60
    )


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_newcomers_robot_is_shown_with_its_verdict(tmp_path: Path) -> None:
    with running(tmp_path, "--json") as dev:
        ready = json.loads(dev.until("ready"))
        assert set(ready["robots"]) == {"robot-1", "robot-2"}
        run("-c", THREE_LINES, TALLYSTICK_CONFIG=ready["robots"]["robot-1"])
        shown = json.loads(dev.until("decision", "stop-net"))
        assert shown["robot"] == "robot-1"
        assert (shown["inputs"], shown["output"]) == ({"gap_m": 0.25}, {"action": "stop"})

        # Enrolled while it runs.
        again = CliRunner().invoke(
            cli, ["dev", "robot", "arm", "--folder", f"{tmp_path}/tally-dev"]
        )
        path = again.output.partition('Recorder.open("')[2].rstrip().removesuffix('")')
        run("-c", THREE_LINES, TALLYSTICK_CONFIG=path)
        dev.until("decision", '"robot":"arm"')

        # One folder has one site.
        second = subprocess.run(
            COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 1 and "runs in tally-dev already" in second.stderr
        assert "Traceback" not in second.stderr

        run(ready["first"])
        said = json.loads(dev.until('"what":"verdict"'))
        assert (said["state"], said["failed"], said["missing"]) == ("matched", [], [])
        assert said["parties"] == {"giver": ["robot-1"], "receiver": ["robot-2"]}
        assert said["task"].startswith("order-")
        dev.end()
    assert all(nobody_listens(int(ready[part].split(":")[-1])) for part in ("broker", "validator"))

    # The folder is kept: the same robots at the same address, and old news is not told again.
    with running(tmp_path) as dev:
        dev.until("try it: python")
        run(ready["first"])
        line = dev.until("matched")
        assert "order-" in line and "giver robot-1, receiver robot-2" in line
        text = dev.out.read_text()
        assert ready["broker"] in text and 'arm: tally = Recorder.open("' in text
        assert "speed_m_s 0.4 <= 0.5 m/s  -> " in dev.until("decision", "grasp-net@1")
        assert "stop-net" not in text and "\x1b" not in text
        dev.end(signal.SIGTERM)


def test_a_temporary_site_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "--temporary", "--robot", "cart", "--json") as dev:
        ready = json.loads(dev.until("ready"))
        assert list(ready["robots"]) == ["cart"] and ready["first"] is None
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        dev.end()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "tally-dev").exists()


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    with running(tmp_path, "--temporary") as dev:
        end = time.monotonic() + SECONDS_MAX
        while not list((tmp_path / "tmp").iterdir()) and time.monotonic() < end:
            time.sleep(0.01)
        dev.end()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_port_that_is_taken_is_changed_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    before = places.made(folder)
    path = before.robot("arm")
    kept = places.made(folder)
    assert kept.broker == before.broker and kept.bind == before.bind
    with socket.socket() as other:
        other.bind(("127.0.0.1", before.broker_port))
        other.listen()
        after = places.made(folder)
    assert after.broker != before.broker and after.bind == before.bind
    assert json.loads(path.read_text())["uplink"] == after.broker
    assert after.broker in after.gateway.read_text()
    assert after.robot("arm") == path


def test_it_takes_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(TallyError, match="holds something else"):
        places.made(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(TallyError, match="not made by `tally dev`"):
        places.opened(tmp_path)
    (tmp_path / "ports.json").write_text("[]")
    with pytest.raises(TallyError, match="damaged"):
        places.made(tmp_path)


def test_every_record_and_verdict_has_a_line(tmp_path: Path) -> None:
    show = Show(places.made(tmp_path / "site"))
    found: dict[str, Any] = {}
    for example in everything():
        if example.name.startswith("verdict"):
            shown = show.verdict("insurer", example.data)
        elif example.rule in {"decision", "claim", "event", "accepted-half"}:
            shown = show.taken(Taken(bytes(32), bytes(8), 7, example.data))
            assert shown.fields["index"] == 7 and "#7" in shown.line.plain
        else:
            continue
        found[example.name] = shown
    assert {one.fields["what"] for one in found.values()} == {
        *("decision", "claim", "event", "accepted", "verdict")
    }
    assert "same item: The items differ." in found["verdict"].line.plain
    assert "receiver" in found["verdict, one sided"].line.plain
    assert found["verdict, one sided"].fields["missing"][0]["absence"] == "unheard"
    # A validator refuses such a record; whoever debugs one should see it.
    broken = show.taken(Taken(bytes(32), bytes(8), 0, b"\x87\x00"))
    assert broken.fields["what"] == "record" and "refused" in broken.line.plain
    told = show.refusal(Refusal("bad-topic", b"", "a \x1b[2J line", 2))
    assert "\x1b" not in told.line.plain and told.fields["count"] == 2
