"""firmware/examples/halves_*.py: halves between robots on two interpreters, over three links.

Each with what a link may do: lose, spoil and repeat, and strangers who write into it.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from support import wire
from support.authority import Authority
from support.mqttstation import SecureBroker
from support.site import until
from support.station import Fleet, Station, read_credential
from support.wire import Wire
from tallystick.evidence.keys import device_text
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython

EXAMPLES = Path(__file__).parents[2] / "firmware" / "examples"
WAIT_S = 60


class Robots:
    """A giver on CPython and a receiver on MicroPython, or the other way round."""

    def __init__(
        self, folder: Path, interpreter: MicroPython, device_library: Path, *, board_gives: bool
    ) -> None:
        self.folder = folder
        self.board_gives = board_gives
        self._interpreter = interpreter
        self._path = [device_library, library.micropython_lib(["umqtt.simple"])]
        self.fleet = Fleet(folder / "fleet")
        self.configs: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, str] = {}
        for role in ("giver", "receiver"):
            config = self.fleet.device(role)
            self.configs[role] = config
            self.ids[role] = device_text(Station(self.fleet, read_credential(config)).device)

    def start(self, program: str, role: str, *where: str) -> "subprocess.Popen[str]":
        path = self.folder / f"{role}.json"
        path.write_text(json.dumps(self.configs[role]))
        other = self.ids["receiver" if role == "giver" else "giver"]
        argv = [str(EXAMPLES / program), role, str(path), other, *where]
        env = None
        if (role == "giver") == self.board_gives:
            env = self._interpreter.environment(self._path)
            argv = self._interpreter.argv(*argv)
        else:
            argv = [sys.executable, "-u", *argv]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, env=env, text=True, stdout=pipe, stderr=subprocess.STDOUT)

    def run(self, program: str, *where: dict[str, str], after: str = "") -> dict[str, str]:
        """What both say, which must end well. after: the giver starts when the receiver said so."""
        started = {}
        said = {"giver": "", "receiver": ""}
        try:
            for role in ("receiver", "giver"):
                started[role] = self.start(program, role, *(one[role] for one in where))
                output = started[role].stdout
                if after and role == "receiver" and output is not None:
                    said[role] = output.readline()
                    assert said[role].startswith(after)
            for role, process in started.items():
                said[role] += process.communicate(timeout=WAIT_S)[0]
        finally:
            for process in started.values():
                process.kill()
        for role, process in started.items():
            assert process.returncode == 0, (role, said)
            assert said[role].endswith("accepted\n"), (role, said)
            self.check(role)
        return said

    def check(self, role: str) -> None:
        """The other's half is in this one's journal: its claim, in bytes that its maker signed."""
        other = "receiver" if role == "giver" else "giver"
        claimed = {"giver": b"released", "receiver": b"acquired"}[other]
        journal = Path(self.configs[role]["journal"])
        assert any(claimed in file.read_bytes() for file in journal.glob("*.tally"))


@pytest.fixture(params=["32 bits receives", "64 bits gives"])
def robots(request: pytest.FixtureRequest, tmp_path: Path, device_library: Path) -> Robots:
    interpreter = request.getfixturevalue("micropython" + request.param[:2])
    gives = request.param.endswith("gives")
    return Robots(tmp_path, interpreter, device_library, board_gives=gives)


def both(text: str) -> dict[str, str]:
    return {"giver": text, "receiver": text}


def test_over_files(robots: Robots, tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    junk = folder / f"{robots.ids['receiver']}.half"
    junk.write_bytes(b"junk")
    (folder / "other.half").write_bytes(b"nobody's")
    said = robots.run("halves_file.py", both(str(folder)))
    assert "refused: " in said["receiver"] or not junk.exists()
    assert (folder / "other.half").read_bytes() == b"nobody's"


def test_a_file_that_is_too_long_is_left_alone(
    tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    (folder / "me.half").write_bytes(bytes(5000))
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "from halves_file import Folder\n"
        f"link = Folder('me', 'you', {str(folder)!r})\n"
        "print(link.receive())\n"
        "link.send(b'half')\n"
    )
    (tmp_path / "once.py").write_text(script)
    once = str(tmp_path / "once.py")
    for command, env in (
        (micropython64.argv(once), micropython64.environment([device_library])),
        ([sys.executable, once], None),
    ):
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=WAIT_S, check=False
        )
        assert done.stdout == "None\n", done.stderr
        assert (folder / "you.half").read_bytes() == b"half"
        assert not (folder / "you.half.part").exists()
        assert (folder / "me.half").stat().st_size == 5000


def test_over_a_serial_line(robots: Robots, tmp_path: Path) -> None:
    with Wire(tmp_path / "dev", buffer_bytes=512) as cable:
        cable.up, cable.down = wire.noisy(5, 4000), wire.noisy(6, 4000)
        ports = {"giver": f"serial:{cable.device}", "receiver": f"serial:{cable.gateway}"}
        robots.run("halves_serial.py", ports)


def test_a_line_that_carries_nothing_ends_in_time(robots: Robots, tmp_path: Path) -> None:
    del robots  # the same for both
    source = (EXAMPLES / "halves.py").read_text()
    (tmp_path / "halves.py").write_text(source.replace("WAIT_S = 30", "WAIT_S = 1"))
    program = tmp_path / "halves_file.py"
    program.write_text((EXAMPLES / "halves_file.py").read_text())
    config = Fleet(tmp_path / "alone").device("one")
    path = tmp_path / "one.json"
    path.write_text(json.dumps(config))
    argv = [sys.executable, str(program), "receiver", str(path), "A" * 43, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout) == (
        1,
        "nothing came that holds: the robot does not act\n",
    ), done.stderr


class Stranger:
    """Writes into the receiver's topic until it is told to stop, as every robot may."""

    def __init__(self, port: int, authority: Authority, topic: str) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="stranger")
        cert, key = authority.client("stranger")
        self._client.tls_set(str(authority.file), str(cert), str(key))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def _write(self) -> None:
        # Slowly: who refused a hundred gives up, and a busy machine is slow to start the other one.
        while not self._stop.wait(0.3):
            for message in (b"junk", bytes(5000), b"\xd2" + bytes(300)):
                self._client.publish(self._topic, message, qos=1)

    def __enter__(self) -> "Stranger":
        until(self._client.is_connected, "the stranger")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def secure(tmp_path: Path, mosquitto: Any) -> Iterator[tuple[SecureBroker, Authority]]:
    del mosquitto  # skips where there is none
    authority = Authority(tmp_path / "tls")
    with SecureBroker(tmp_path / "broker", authority, [authority.server()]) as broker:
        yield broker, authority


def test_over_mqtt(robots: Robots, secure: tuple[SecureBroker, Authority]) -> None:
    broker, authority = secure
    (port,) = broker.ports
    for role, config in robots.configs.items():
        config["uplink"] = f"mqtts://127.0.0.1:{port}"
        config["tls"] = authority.tls(robots.ids[role])
    with Stranger(port, authority, f"tallystick/1/halves/{robots.ids['receiver']}"):
        robots.run("halves_mqtt.py", after="refused: ")


def test_nobody_reads_the_halves_of_another(
    robots: Robots, secure: tuple[SecureBroker, Authority]
) -> None:
    broker, authority = secure
    (port,) = broker.ports
    heard: list[bytes] = []
    subscribed = threading.Event()
    listener = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="listener")
    cert, key = authority.client(robots.ids["giver"])
    listener.tls_set(str(authority.file), str(cert), str(key))
    listener.on_message = lambda _client, _data, message: heard.append(bytes(message.payload))
    listener.on_subscribe = lambda *_: subscribed.set()
    listener.connect("127.0.0.1", port)
    listener.loop_start()
    listener.subscribe("tallystick/1/halves/+", qos=1)
    assert subscribed.wait(WAIT_S)
    info = listener.publish(f"tallystick/1/halves/{robots.ids['receiver']}", b"his", qos=1)
    info.wait_for_publish(WAIT_S)
    info = listener.publish(f"tallystick/1/halves/{robots.ids['giver']}", b"mine", qos=1)
    info.wait_for_publish(WAIT_S)
    until(lambda: heard, "its own")
    assert heard == [b"mine"]
    listener.disconnect()
    listener.loop_stop()
