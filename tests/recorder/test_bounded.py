"""poll() on MicroPython against brokers that do not help: how long it may take, at most.

test_tls.py has peers that do not shake hands.
"""

import ast
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.authority import Authority
from support.mqttstation import Gateway, SecureBroker
from support.station import Fleet, Station, read_credential
from tallystick.evidence.keys import device_text
from tallystick.evidence.welcome import Welcome
from tallystick.recorder.sending import WINDOW_SEGMENTS_MAX
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ROBOT = Path(__file__).parent / "slow_robot.py"
# A step of a signature in pure Python, a slice to the socket and a scheduler that is busy with
# other tests; what waits for a network takes seconds.
POLL_MS_MAX = 250.0


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


class SilentBroker:
    """Accepts, says at most `words` to each, and then nothing; reads only with `reads`."""

    def __init__(self, *answers: bytes, reads: bool = True) -> None:
        self.answers = answers
        self.reads = reads
        self.accepted = 0
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(8)
        self.kept: list[socket.socket] = []
        self.port = int(self.server.getsockname()[1])
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.accepted += 1
            self.kept.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        try:
            for answer in self.answers:
                peer.recv(4096)
                peer.sendall(answer)
            while self.reads and peer.recv(4096):
                pass
        except OSError:
            return

    def close(self) -> None:
        self.server.close()
        for peer in self.kept:
            peer.close()


def run(
    interpreter: MicroPython,
    device: Path,
    folder: Path,
    config: dict[str, Any],
    seconds: int,
    records: int = 0,
) -> tuple[float, dict[str, Any]]:
    path = folder / "tallystick.json"
    path.write_text(json.dumps(config))
    done = interpreter.run(
        str(ROBOT),
        str(path),
        str(seconds),
        str(records),
        path=[device, library.micropython_lib(["umqtt.simple"])],
        timeout_s=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    longest, _, health = done.stdout.partition(" ")
    print(f"longest poll {longest} ms")
    said: dict[str, Any] = ast.literal_eval(health)
    return float(longest), said


CONNACK = b"\x20\x02\x00\x00"
SUBACK = b"\x90\x03\x00\x01\x01"


@pytest.fixture(params=["connack", "suback", "welcome", "half a packet"])
def silent(request: pytest.FixtureRequest) -> Iterator[tuple[str, SilentBroker]]:
    """A peer that stays silent instead of its n-th answer."""
    answers = {
        "connack": (),
        "suback": (CONNACK,),
        "welcome": (CONNACK, SUBACK),
        "half a packet": (CONNACK, SUBACK + b"\x30\xff\x7f\x00\x05abc"),
    }[request.param]
    broker = SilentBroker(*answers)
    yield request.param, broker
    broker.close()


def test_a_peer_that_falls_silent(
    silent: tuple[str, SilentBroker],
    fleet: Fleet,
    tmp_path: Path,
    micropython64: MicroPython,
    device_library: Path,
) -> None:
    name, broker = silent
    config = fleet.device("one", uplink=f"mqtt://127.0.0.1:{broker.port}")
    longest, health = run(micropython64, device_library, tmp_path, config, 3, 300)
    assert longest < POLL_MS_MAX
    assert broker.accepted >= 1
    assert health["dropped"] == 0
    assert health["connected"] == (name not in ("connack", "suback"))


def welcome(fleet: Fleet, config: dict[str, Any], kind: int) -> bytes:
    device = device_text(Station(fleet, read_credential(config)).device)
    topic = f"tallystick/1/{device}/down".encode()
    rest = len(topic).to_bytes(2, "big") + topic + Welcome(1, None, None).encode()
    return bytes((kind, len(rest))) + rest


@pytest.mark.parametrize(("kind", "heard"), [(0x30, True), (0x31, False)])
def test_a_retained_message_is_none(
    kind: int,
    heard: bool,
    fleet: Fleet,
    tmp_path: Path,
    micropython64: MicroPython,
    device_library: Path,
) -> None:
    config = fleet.device("one", checkpoint_s=0.2)
    broker = SilentBroker(CONNACK, SUBACK, welcome(fleet, config, kind))
    config["uplink"] = f"mqtt://127.0.0.1:{broker.port}"
    _, health = run(micropython64, device_library, tmp_path, config, 3, 20)
    broker.close()
    assert health["connected"]
    assert (health["sent"] > 0) == heard


def test_a_broker_that_takes_no_more(
    fleet: Fleet, tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    # It welcomes the device and then reads nothing: the socket is full after a while.
    config = fleet.device("one", checkpoint_records=1024, checkpoint_s=1, journal_bytes=1 << 24)
    broker = SilentBroker(CONNACK, SUBACK, welcome(fleet, config, 0x30), reads=False)
    config["uplink"] = f"mqtt://127.0.0.1:{broker.port}"
    longest, health = run(micropython64, device_library, tmp_path, config, 9, 4000)
    assert longest < POLL_MS_MAX
    assert health["connected"]
    # Fewer than may be on their way without a receipt: the socket is what holds them.
    assert 1 <= health["sent"] < WINDOW_SEGMENTS_MAX
    # It goes on recording all the while, as far as a busy machine lets it.
    assert health["records"] > 1000
    broker.close()


def test_no_step_sends_more_than_a_slice(micropython64: MicroPython, device_library: Path) -> None:
    broker = SilentBroker(CONNACK, SUBACK)
    size = 245_760
    done = micropython64.run(
        str(ROBOT.parent / "slices.py"),
        str(broker.port),
        str(size),
        path=[device_library, library.micropython_lib(["umqtt.simple"])],
    )
    broker.close()
    assert done.returncode == 0, done.stdout + done.stderr
    steps = int(done.stdout.split()[0])
    # A slice, and what is left of a block of flash.
    assert steps >= size // (2048 + 512)


def test_what_was_not_taken_is_offered_again_as_it_was(
    micropython64: MicroPython, device_library: Path
) -> None:
    broker = SilentBroker(CONNACK, SUBACK)
    done = micropython64.run(
        str(ROBOT.parent / "offered.py"),
        str(broker.port),
        "20000",
        path=[device_library, library.micropython_lib(["umqtt.simple"])],
    )
    broker.close()
    assert done.returncode == 0, done.stdout + done.stderr
    times, busy = done.stdout.split()
    # In slices as small as the limit makes them.
    assert int(times) > 300
    assert busy == "False"


def test_a_host_that_never_answers(
    fleet: Fleet, tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    # A queue of connections that is full: the next one waits for the kernel's own time-out.
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    address = server.getsockname()
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(address)
        waiting.append(client)
    config = fleet.device("one", uplink=f"mqtt://127.0.0.1:{address[1]}")
    longest, health = run(micropython64, device_library, tmp_path, config, 4)
    assert longest < POLL_MS_MAX
    assert not health["connected"]
    for client in (*waiting, server):
        client.close()


def test_a_long_stretch_to_a_real_broker(
    mosquitto: Mosquitto,
    fleet: Fleet,
    tmp_path: Path,
    micropython64: MicroPython,
    device_library: Path,
) -> None:
    # 120 records of 2 KiB under one checkpoint: a segment of 240 KiB.
    config = fleet.device(
        "one",
        uplink=f"mqtt://{mosquitto.host}:{mosquitto.port}",
        checkpoint_records=1024,
        checkpoint_s=3,
        resend_s=30,
        journal_bytes=1 << 23,
    )
    with Gateway(mosquitto.port, Station(fleet, read_credential(config))) as gateway:
        longest, health = run(micropython64, device_library, tmp_path, config, 8, 110)
        assert longest < POLL_MS_MAX
        assert health["custody"] >= 1
        assert max(len(one.segment.encode()) for one in gateway.station.segments) > 100_000


@pytest.mark.usefixtures("mosquitto")  # which skips where there is none
def test_tls_to_a_real_broker(
    fleet: Fleet, tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    authority = Authority(tmp_path / "tls")
    config = fleet.device("one", checkpoint_records=1024, checkpoint_s=2, journal_bytes=1 << 23)
    station = Station(fleet, read_credential(config))
    config["tls"] = authority.tls(device_text(station.device))
    with SecureBroker(tmp_path / "broker", authority, [authority.server()]) as broker:
        (port,) = broker.ports
        config["uplink"] = f"mqtts://{broker.host}:{port}"
        with Gateway(port, station, authority):
            longest, health = run(micropython32, device_library, tmp_path, config, 8, 60)
    assert longest < POLL_MS_MAX
    assert health["custody"] >= 1
