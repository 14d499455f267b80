"""Going on from the last custody receipt: brokers, gateways and robots that are killed or changed.

Each time the end is the same: every decision at the gateway once, in order (F06, F02, F23).
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.test_serial import ACME, delivered, running
from support.serialsite import decisions, robot, serial_site
from support.site import Site, until
from support.wire import Wire
from tallystick.evidence import cbor
from tallystick.evidence.keys import b64u, device_text
from tallystick.recorder import Recorder, sending
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ROBOT = Path(__file__).parent / "robot.py"
WAIT_S = 60
QUEUED = 3000
QUEUED_AT_MOST = 2000


@pytest.mark.usefixtures("mosquitto")  # which skips where there is none
def test_f06_a_broker_with_3000_segments_is_killed_and_its_sessions_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of them it had dropped before, acknowledged and without a word."""
    monkeypatch.setattr(sending, "WINDOW_SEGMENTS_MAX", 2 * QUEUED)
    folder = tmp_path / "broker"
    limit = f"max_queued_messages {QUEUED_AT_MOST}"
    with Mosquitto(folder, settings=limit) as broker:
        site = Site(tmp_path / "gateway", ACME, broker.port)
        uplink = f"mqtt://{broker.host}:{broker.port}"
        config = robot(site, tmp_path / "robot", uplink, checkpoint_records=1, resend_s=600)
        with site.running():
            tally = Recorder.open(config)
            tally.decision("m@1", {"n": 0})
            until(lambda: tally.health.custody and not tally.backlog(), "the first receipt")
        # The gateway is away, its session is not.
        began = tally.health.checkpoints
        for number in range(1, QUEUED + 1):
            tally.decision("m@1", {"n": number})
            tally.flush()
        assert tally.health.checkpoints - began >= QUEUED
        until(lambda: tally.health.sent >= tally.health.checkpoints, "what is sent", WAIT_S)
        broker.kill()
        (folder / "mosquitto.db").unlink(missing_ok=True)
        broker.start()
        with site.running():
            until(lambda: not tally.backlog(), "custody", WAIT_S)
        tally.close()
    assert decisions(site) == list(range(QUEUED + 1))
    assert tally.health.dropped == 0


class Running:
    """robot.py on MicroPython; numbers from `first` on."""

    def __init__(
        self, interpreter: MicroPython, device_library: Path, folder: Path, first: int, count: int
    ) -> None:
        path = [device_library, library.micropython_lib(["umqtt.simple"])]
        config = str(folder / "tallystick.json")
        self.process = subprocess.Popen(
            interpreter.argv(str(ROBOT), config, str(count), str(first)),
            env=interpreter.environment(path),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def ended(self) -> None:
        try:
            out, _ = self.process.communicate(timeout=WAIT_S)
        finally:
            self.process.kill()
        assert self.process.returncode == 0, out

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.usefixtures("mosquitto")
def test_a_board_goes_on_after_its_broker_was_killed(
    tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        site = Site(tmp_path / "gateway", ACME, broker.port)
        robot(site, tmp_path / "robot", f"mqtt://{broker.host}:{broker.port}")
        with site.running():
            board = Running(micropython64, device_library, tmp_path / "robot", 0, 1500)
            until(lambda: len(decisions(site)) > 200, "some custody", WAIT_S)
            broker.kill()
            broker.start()
            board.ended()
    assert decisions(site) == list(range(1500))


@pytest.mark.parametrize("serial", [False, True])
def test_a_board_goes_on_after_it_was_killed(
    tmp_path: Path,
    mosquitto: Mosquitto,
    micropython32: MicroPython,
    device_library: Path,
    *,
    serial: bool,
) -> None:
    folder = tmp_path / "robot"
    with Wire(tmp_path / "dev", buffer_bytes=512) as cable:
        if serial:
            site = serial_site(tmp_path / "gateway", ACME, str(cable.gateway))
            config = robot(site, folder, f"serial:{cable.device}")
        else:
            site = Site(tmp_path / "gateway", ACME, mosquitto.port)
            site.with_prefix("tallystick/1/killed")
            uplink = f"mqtt://{mosquitto.host}:{mosquitto.port}"
            config = robot(site, folder, uplink, prefix="tallystick/1/killed")
        assert Path(config["journal"]).parent == folder
        with running(site):
            lives = [0, 10_000, 20_000]
            for first in lives[:-1]:
                board = Running(micropython32, device_library, folder, first, 100_000)
                until(lambda: decisions(site)[-1:] >= [first + 60], "custody", WAIT_S)  # noqa: B023
                board.kill()
            Running(micropython32, device_library, folder, lives[-1], 60).ended()
    found = decisions(site)
    assert found[-60:] == list(range(20_000, 20_060))
    # Of each life all up to some point, once: what its journal had when it was killed.
    for first in lives[:-1]:
        life = [number for number in found if first <= number < first + 10_000]
        assert len(life) > 60
        assert life == list(range(first, first + len(life)))
    assert found == sorted(found)


def test_gateways_that_are_exchanged_on_a_cable(tmp_path: Path) -> None:
    """From A to B and back; each has everything once, by asking for what it does not know."""
    with Wire(tmp_path / "dev") as cable:
        sites = [
            serial_site(tmp_path / name, ACME, str(cable.gateway)) for name in ("north", "south")
        ]
        folder = tmp_path / "robot"
        config: dict[str, Any] = robot(sites[0], folder, f"serial:{cable.device}")
        other = sites[1].key
        config["gateways"].append(
            {"id": device_text(other.thumbprint()), "key": b64u(cbor.encode(other.cose_key()))}
        )
        (folder / "tallystick.json").write_text(json.dumps(config))
        tally = Recorder.open(str(folder / "tallystick.json"))
        number = 0
        for site in (sites[0], sites[1], sites[0]):
            with running(site):
                for _ in range(60):
                    tally.decision("m@1", {"n": number})
                    number += 1
                tally.flush()
                delivered(tally)
        tally.close()
    assert decisions(sites[0]) == list(range(180))
    assert decisions(sites[1]) == list(range(120))
    assert set(sites[0].status()["refused"]) <= {"replayed"}
