"""A device joins by itself, on CPython and MicroPython: the whole way, killed, and attacked."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.authority import Authority
from support.devices import Fleet
from support.joinsite import Operator, Queue, code_of, door, invite
from support.site import until
from tallystick.evidence import enrolmentrequest, joinrequest
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import device_text
from tallystick.gateway import limits
from tallystick.gateway.joindoor import JoinDoor
from tallystick.recorder import Recorder
from tallystick.recorder import joining as joins
from tallystick.recorder.config import load
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython

ROBOT = Path(__file__).parent / "joining_robot.py"
HEAP = "96k"
WAIT_S = 60
Run = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOIN_RETRY_S", 0)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path, Fleet("acme"))
    yield made
    made.close()


@pytest.fixture(params=["cpython", "micropython64", "micropython32"])
def run(request: pytest.FixtureRequest, device_library: Path) -> Run:
    """Starts the program with a join.json, on each interpreter."""
    if request.param == "cpython":
        # What it says is read line by line.
        argv = [sys.executable, "-u", str(ROBOT)]
        environment = None
    else:
        found: MicroPython = request.getfixturevalue(request.param)
        heap = HEAP if request.param == "micropython32" else None
        argv = found.argv(str(ROBOT), heap=heap)
        environment = found.environment([device_library, library.micropython_lib()])

    def start(asks: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*argv, str(asks)], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip  # two lines

    return start


def asks(folder: Path, opened: JoinDoor, code: str, **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "join.json"
    path.write_text(json.dumps({"url": opened.url, "code": code, **more}))
    return path


def finished(robot: "subprocess.Popen[str]") -> str:
    said, _ = robot.communicate(timeout=WAIT_S)
    return said


class Letting:
    """An operator who looks again and again, in a thread."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self._operator.look()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_the_whole_way_with_kills_in_between(run: Run, queue: Queue, tmp_path: Path) -> None:
    """The same key, one request and one use of the code, however often the power goes."""
    code = code_of(queue.fleet)
    queue.joins.take(invite(queue.fleet, code))
    operator = Operator(queue, uplink="mqtt://127.0.0.1:1883", namespace="dock")
    with door(queue, tmp_path) as opened:
        path = asks(tmp_path / "robot", opened, code.text(), details={"serial": "0007"})
        for seen in (
            (path.parent / "key").exists,
            (path.parent / "join.request").exists,
            queue.waiting,
        ):
            robot = run(path)
            until(seen, "a place to kill it at", WAIT_S)
            robot.kill()
            robot.communicate()
        key = (path.parent / "key").read_bytes()
        robot = run(path)
        with Letting(operator):
            said = finished(robot)
        assert said.endswith("joined\n"), said
        assert code.text() not in said and code.text()[:14] not in said
    assert (path.parent / "key").read_bytes() == key
    # Whatever a kill left is gone, and the code with it.
    left = sorted(one.name for one in path.parent.iterdir() if not one.name.endswith(".part"))
    assert left == ["credential.cbor", "key", "profiles", "tallystick.json"]
    (data,) = operator.requests
    asked = enrolmentrequest.parse(joinrequest.parse(data).request)
    assert asked.details == {"serial": "0007"}
    config = load(str(path.parent / "tallystick.json"))
    assert config["namespace"] == "dock" and config["fleet"] == "acme"
    (path.parent / "profiles" / "handover@1.cbor").unlink()
    (path.parent / "key").chmod(0o600)  # MicroPython knows no modes
    tally = Recorder.open(str(path.parent / "tallystick.json"), background=False)
    assert device_text(tally.device) == device_text(asked.id)
    tally.close()
    # Once more is nothing to do.
    assert finished(run(path)) == "nothing to join\n"


def test_over_tls_and_with_the_right_certificate_only(
    run: Run, queue: Queue, tmp_path: Path
) -> None:
    made = Authority(tmp_path / "tls")
    cert, key = made.server()
    other = Authority(tmp_path / "other")
    code = code_of(queue.fleet)
    queue.joins.take(invite(queue.fleet, code))
    operator = Operator(queue, uplink="mqtts://localhost:8883")
    operator.ca = b"-----BEGIN CERTIFICATE-----\n"
    with door(queue, tmp_path, cert=cert, key=key) as opened, Letting(operator):
        path = asks(tmp_path / "robot", opened, code.text(), ca=str(other.file))
        robot = run(path)
        assert robot.stdout is not None
        for line in robot.stdout:
            if "tls-authority" in line:
                break
        robot.kill()
        robot.communicate()
        assert not operator.requests
        asks(tmp_path / "robot", opened, code.text(), ca=str(made.file))
        assert finished(run(path)).endswith("joined\n")
    written = json.loads((path.parent / "tallystick.json").read_text())
    assert written["tls"] == {"ca": "ca.pem"}
    assert (path.parent / "ca.pem").read_bytes() == operator.ca


def test_no_other_root_is_put_in_its_place(run: Run, tmp_path: Path) -> None:
    """A gateway of another fleet, or someone in between, who answers with a root of his own."""
    thief = Queue(tmp_path, Fleet("acme", -7))
    code = code_of(Fleet("acme"))
    thief.joins.take(invite(thief.fleet, code))
    with door(thief, tmp_path) as opened:
        path = asks(tmp_path / "robot", opened, code.text())
        said = finished(run(path))
        assert "refused wrong-key" in said and code.text() not in said
        assert thief.waiting() == []
    assert not (path.parent / "tallystick.json").exists()
    thief.close()


def test_a_wrong_code_ends_it(run: Run, queue: Queue, tmp_path: Path) -> None:
    queue.joins.take(invite(queue.fleet, code_of(queue.fleet)))
    with door(queue, tmp_path) as opened:
        path = asks(tmp_path / "robot", opened, code_of(queue.fleet, "guessed").text())
        assert "refused not-authorised" in finished(run(path))


# What follows looks at the steps themselves, on CPython.


def stepped(path: Path) -> joins.Joining:
    work = joins.Joining(str(path))
    until(work.step, "the end of joining")
    return work


class Tampering(Operator):
    """Answers something else, put straight into the store, as a gateway that was taken over."""

    def __init__(self, queue: Queue, change: Callable[[bytes], bytes]) -> None:
        super().__init__(queue)
        self._change = change

    def look(self) -> int:
        with self._queue.store.write() as connection:
            rows = connection.execute("SELECT number, data FROM join_requests").fetchall()
            for number, data in rows:
                connection.execute(
                    "UPDATE join_requests SET answer = ? WHERE number = ?",
                    (self._change(self.answer(data)), number),
                )
        return len(rows)


def test_an_answer_that_is_not_for_it_is_refused(queue: Queue, tmp_path: Path) -> None:
    code = code_of(queue.fleet)
    queue.joins.take(invite(queue.fleet, code, 10))
    other = Operator(queue)
    with door(queue, tmp_path) as opened:
        another = asks(tmp_path / "another", opened, code.text())
        with Letting(other):
            stepped(another)
        elsewhere = other.answer(other.requests[0])
        foreign = Queue(tmp_path / "foreign", Fleet("acme", -7))
        for name, reason, change in (
            ("flipped", "bad-signature", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
            ("another's", "wrong-device", lambda _data: elsewhere),
            ("cut", "truncated", lambda data: data[:-3]),
            ("an error", "bad-type", lambda _data: b"{}"),
        ):
            path = asks(tmp_path / name, opened, code.text())
            with Letting(Tampering(queue, change)), pytest.raises(TallyError) as refused:
                stepped(path)
            assert refused.value.reason == reason, name
            assert not (path.parent / "tallystick.json").exists()
            # An honest gateway afterwards: it goes on with the same key and request.
            key = (path.parent / "key").read_bytes()
            Tampering(queue, lambda data: data).look()
            assert stepped(path).joined
            assert (path.parent / "key").read_bytes() == key
        foreign.close()


def test_settings_that_the_recorder_refuses_are_not_written(queue: Queue, tmp_path: Path) -> None:
    code = code_of(queue.fleet)
    queue.joins.take(invite(queue.fleet, code, 10))
    with door(queue, tmp_path) as opened:
        for name, settings in (
            ("unknown", {"upplink": "mqtt://x"}),
            ("fleet", {"fleet": "globex"}),
            ("range", {"checkpoint_records": 0}),
        ):
            path = asks(tmp_path / name, opened, code.text())
            with Letting(Operator(queue, **settings)), pytest.raises(Malformed) as refused:
                stepped(path)
            assert refused.value.reason == "bad-config"
            assert not (path.parent / "tallystick.json").exists()


def test_a_gateway_that_is_away_is_asked_again_and_the_code_is_shown_nowhere(
    queue: Queue, tmp_path: Path
) -> None:
    code = code_of(queue.fleet)
    queue.joins.take(invite(queue.fleet, code))
    with door(queue, tmp_path) as opened:
        path = asks(tmp_path / "robot", opened, code.text())
    work = joins.Joining(str(path))
    until(lambda: work.step() or work.trouble, "trouble")
    assert work.trouble.startswith("no-link") and not work.joined
    assert work.idle_until_ms > 0
    work.close()
    assert code.text() not in work.trouble + repr(vars(work)["_code"])


def test_each_address_of_a_name_is_tried(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """As where localhost is ::1 first, and the gateway listens on 127.0.0.1."""
    look_up = socket.getaddrinfo

    def both(host: str, port: int, *more: Any) -> Any:
        return look_up(host, free_port, *more) + look_up(host, port, *more)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    monkeypatch.setattr(joins, "RETRY_MS_MIN", 1)
    code = code_of(queue.fleet)
    queue.joins.take(invite(queue.fleet, code))
    with door(queue, tmp_path) as opened, Letting(Operator(queue)):
        assert stepped(asks(tmp_path / "robot", opened, code.text())).joined


def test_what_joins_is_written_strictly(tmp_path: Path) -> None:
    good = {"url": "http://127.0.0.1:1", "code": code_of(Fleet("acme")).text()}
    for change, what in (
        ({"url": None}, "url is missing"),
        ({"code": 5}, "wrong type"),
        ({"kode": "x"}, "no setting"),
        ({"url": "ftp://x"}, "url must be"),
        ({"url": "http://a/b"}, "url must be"),
        ({"url": "http://a:0"}, "url must be"),
        ({"url": "http://a\r\nX: y"}, "url must be"),
        ({"code": "abcd"}, "no code"),
    ):
        path = tmp_path / "join.json"
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(Malformed, match=what):
            joins.Joining(str(path))
    path.write_text("{")
    with pytest.raises(Malformed, match="no JSON"):
        joins.Joining(str(path))
    with pytest.raises(Malformed, match="cannot be read"):
        joins.Joining(str(tmp_path / "absent.json"))
