"""Mutual TLS to a real Mosquitto, and all that can be wrong with it, on three interpreters.

Each fault has one reason in the health and in the log, and nothing waits longer than it may.
"""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from support.authority import Authority
from support.faketime import WrongClock, quick
from support.mqttstation import Gateway, SecureBroker, made
from support.site import until
from support.station import Fleet, Station
from tallystick.evidence import cbor, record
from tallystick.evidence.errors import TransportError
from tallystick.evidence.event import Event
from tallystick.evidence.keys import device_text
from tallystick.recorder import Recorder, clock
from tallystick.recorder.files import Files
from tallystick.recorder.frames import RECORD_MAJOR
from tallystick.recorder.walking import Walker
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython

PROGRAM = Path(__file__).parent / "uplink_faults.py"
WAIT_S = 60
# Time passes faster for MicroPython, so that its time-outs do not take theirs.
TIMES = 20
# One step of a handshake's cryptography, on a machine with other work.
POLL_MS_MAX = 1000
UNDATED = "uplink:dates-unchecked"
Run = Callable[[list[Path]], "list[dict[str, Any]]"]

pytestmark = pytest.mark.usefixtures("mosquitto")


def ran(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def listed(paths: list[Path]) -> str:
    file = paths[0].parent / "list"
    file.write_text("\n".join(map(str, paths)))
    return str(file)


def on_cpython(paths: list[Path]) -> list[dict[str, Any]]:
    argv = [sys.executable, str(PROGRAM), listed(paths), str(WAIT_S)]
    return ran(subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False))


def on_micropython(interpreter: MicroPython, device_library: Path, **more: Any) -> Run:
    path = [*more.pop("before", []), device_library, library.micropython_lib(["umqtt.simple"])]

    def run(paths: list[Path]) -> list[dict[str, Any]]:
        argv = (str(PROGRAM), listed(paths), str(WAIT_S))
        return ran(interpreter.run(*argv, path=path, timeout_s=90, **more))

    return run


@pytest.fixture(params=["cpython", "64 bits", "32 bits"])
def run(request: pytest.FixtureRequest, device_library: Path) -> Run:
    """Runs the program on one of the interpreters."""
    if request.param == "cpython":
        return on_cpython
    interpreter = request.getfixturevalue("micropython" + request.param[:2])
    return on_micropython(interpreter, device_library, env=quick(interpreter, TIMES))


class Silent:
    """Takes connections and says nothing."""

    def __enter__(self) -> "Silent":
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()
        return self

    def _take(self) -> None:
        while True:
            try:
                self._taken.append(self._server.accept()[0])
            except OSError:
                return

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for one in self._taken:
            one.close()


class Refusing(Silent):
    """A broker that takes everybody, and no subscription."""

    def _take(self) -> None:
        while True:
            try:
                taken, _ = self._server.accept()
            except OSError:
                return
            self._taken.append(taken)
            if taken.recv(1000):
                taken.sendall(bytes.fromhex("20020000"))
            packet = taken.recv(1000)
            if packet:
                taken.sendall(b"\x90\x03" + packet[2:4] + b"\x80")


class World:
    """An authority, a broker with good and bad certificates, and a fleet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleet = Fleet(folder / "fleet")
        self.authority = Authority(folder / "ours")
        self.foreign = Authority(folder / "foreign", "other")
        servers = [
            self.authority.server("good"),
            self.authority.server("elsewhere", ("broker.example",)),
            self.authority.server("old", days=(1, 2)),
        ]
        self.broker = SecureBroker(folder / "broker", self.authority, servers)
        self.good, self.elsewhere, self.old = self.broker.ports
        self.stations: dict[str, Station] = {}

    def robot(self, name: str, port: int, scheme: str = "mqtts", **tls: str) -> Path:
        """A configuration; its client certificate is right unless `tls` says otherwise."""
        config, station = made(self.fleet, f"{scheme}://127.0.0.1:{port}", self.folder, name)
        self.stations[name] = station
        station.time_ms = int(time.time() * 1000)
        settings = json.loads(config.read_text())
        if scheme == "mqtts":
            right = self.authority.tls(device_text(station.device))
            settings["tls"] = {key: path for key, path in {**right, **tls}.items() if path}
        config.write_text(json.dumps(settings))
        return config

    def events(self, name: str) -> list[dict[str, Any]]:
        """The details of each `fault` event in a robot's journal."""
        folder = self.fleet.folder / name / "journal"
        found = []
        for file in sorted(folder.glob("*.tally")):
            walker = Walker(Files(str(folder)), file.name)
            while (frame := walker.next()) is not None:
                if frame.major != RECORD_MAJOR:
                    continue
                item = b"".join(walker.pieces(frame.at + 4, frame.end, 512))
                body = record.parse(cbor.decode(item))
                if isinstance(body, Event) and body.event == "fault":
                    found.append(dict(body.details))
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made_here = World(tmp_path)
    with made_here.broker:
        yield made_here


def test_each_fault_has_its_reason(world: World, run: Run) -> None:
    stranger = world.foreign.tls("stranger")
    another = world.authority.tls("another-device")
    with Silent() as silent:
        cases = {
            "tls-authority": world.robot("authority", world.good, ca=str(world.foreign.file)),
            "tls-host": world.robot("host", world.elsewhere),
            "tls-dates": world.robot("dates", world.old),
            "tls-refused": world.robot("none", world.good, cert="", key=""),
            "tls-refused ": world.robot(
                "stranger", world.good, cert=stranger["cert"], key=stranger["key"]
            ),
            "no-welcome": world.robot(
                "another", world.good, cert=another["cert"], key=another["key"]
            ),
            "no-tls": world.robot("plain", world.broker.port),
            "no-answer": world.robot("silent", silent.port),
            "no-answer ": world.robot("mute", silent.port, "mqtt"),
        }
        said = run(list(cases.values()))
    for (reason, config), one in zip(cases.items(), said, strict=True):
        assert one["faults"] == {f"uplink:{reason.strip()}": 1}, one
        assert one["last"].startswith(f"uplink:{reason.strip()} ("), one
        assert one["slowest_ms"] < POLL_MS_MAX * TIMES
        assert world.events(config.stem) == [{"part": "uplink", "reason": reason.strip()}]


def test_mutual_tls(world: World, run: Run) -> None:
    config = world.robot("right", world.good)
    with Gateway(world.good, world.stations["right"], world.authority):
        (said,) = run([config])
    assert said["faults"] == {}
    assert said["custody"]
    assert said["slowest_ms"] < POLL_MS_MAX * TIMES


# A device that does not know the time.


@pytest.fixture(params=["64 bits", "32 bits"])
def interpreter(request: pytest.FixtureRequest) -> MicroPython:
    found: MicroPython = request.getfixturevalue("micropython" + request.param[:2])
    return found


def test_a_board_without_a_clock_connects_and_says_so(
    world: World, interpreter: MicroPython, tmp_path: Path
) -> None:
    """This Mbed TLS checks dates, as that of some ports; 2021 is where the Pico's clock begins."""
    wrong = WrongClock(tmp_path / "clock", interpreter, "2021-01-01 00:00:00")
    wrong.with_rtc()
    run = on_micropython(
        interpreter,
        library.device_library(board=True),
        before=[wrong.folder],
        env=wrong.environment,
    )
    # Of who it is nothing is let go.
    refused = {
        "uplink:tls-authority": world.robot("authority", world.good, ca=str(world.foreign.file)),
        "uplink:tls-host": world.robot("host", world.elsewhere),
    }
    for reason, said in zip(refused, run(list(refused.values())), strict=True):
        assert list(said["faults"]) == [reason]
    before = len(wrong.puts())
    for name, port, found in (("good", world.good, []), ("old", world.old, ["tls-dates"])):
        config = world.robot(name, port)
        with Gateway(world.good, world.stations[name], world.authority):
            (said,) = run([config])
        assert said["custody"], said
        # What the gateway says of the time comes after that, and finds what has expired.
        reasons = ["dates-unchecked", *found]
        assert said["faults"] == {f"uplink:{reason}": 1 for reason in reasons}
        assert world.events(name) == [{"part": "uplink", "reason": one} for one in reasons]
        # Nothing that the clock said meanwhile, in the moment in which it was put neither.
        walls = [head.wall for head in world.stations[name].heads]
        assert walls[0] is None
        assert [one for one in walls if one and abs(one[0] - time.time() * 1000) > 60_000] == []
    there, back = wrong.puts()[before : before + 2]
    assert not there.startswith("@202101")
    assert back.startswith("@2021-01-01 00:0")


def test_without_an_rtc_the_dates_are_the_reason(
    world: World, interpreter: MicroPython, device_library: Path, tmp_path: Path
) -> None:
    wrong = WrongClock(tmp_path / "clock", interpreter, "2021-01-01 00:00:00")
    run = on_micropython(interpreter, device_library, env=wrong.environment)
    (said,) = run([world.robot("good", world.good)])
    assert said["faults"] == {"uplink:tls-dates": 1}


def test_a_computer_without_a_clock_connects_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "machine_s", lambda: None)
    for name, port, ca, expected in (
        ("good", world.good, world.authority, [UNDATED]),
        # The gateway's time finds afterwards what has expired.
        ("old", world.old, world.authority, [UNDATED, "uplink:tls-dates"]),
        ("authority", world.old, world.foreign, ["uplink:tls-authority"]),
        ("host", world.elsewhere, world.authority, ["uplink:tls-host"]),
    ):
        config = world.robot(name, port, ca=str(ca.file))
        with Gateway(world.good, world.stations[name], world.authority):
            tally = Recorder.open(str(config))
            tally.event("test.begun")
            until(lambda: set(expected) <= set(tally.health.faults))  # noqa: B023
            if expected[0] == UNDATED:
                until(lambda: tally.health.custody)  # noqa: B023
            tally.close()
        assert list(tally.health.faults) == expected
        assert bool(tally.health.custody) == (expected[0] == UNDATED)
        events = [{"part": "uplink", "reason": one.partition(":")[2]} for one in expected]
        assert world.events(name) == events


# Files.


def test_a_key_that_others_may_read_is_refused(world: World) -> None:
    config = world.robot("open", world.good)
    key = Path(json.loads(config.read_text())["tls"]["key"])
    key.chmod(0o640)
    with pytest.raises(TransportError, match="chmod 600"):
        Recorder.open(str(config))


def test_a_key_with_a_passphrase_is_refused(world: World) -> None:
    config = world.robot("locked", world.good)
    key = Path(json.loads(config.read_text())["tls"]["key"])
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"canary"),
        )
    )
    with pytest.raises(TransportError, match="passphrase"):
        Recorder.open(str(config))


def test_a_key_behind_its_curve(
    world: World, interpreter: MicroPython, device_library: Path
) -> None:
    """`openssl ecparam -genkey` writes two blocks; the second is the key."""
    config = world.robot("curve", world.good)
    key = Path(json.loads(config.read_text())["tls"]["key"])
    curve = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    key.write_text(curve + key.read_text())
    with Gateway(world.good, world.stations["curve"], world.authority):
        (said,) = on_micropython(interpreter, device_library)([config])
    assert said["custody"]


def test_a_refused_subscription_has_its_reason(tmp_path: Path, run: Run) -> None:
    with Refusing() as broker:
        config, _ = made(Fleet(tmp_path / "fleet"), f"mqtt://127.0.0.1:{broker.port}", tmp_path)
        (said,) = run([config])
    assert said["faults"] == {"uplink:not-allowed": 1}
