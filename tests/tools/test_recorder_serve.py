"""`tally recorder serve`: what an answer promises, who may ask, and what no client can do."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.station import Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import CouldNotCheck, Malformed, TransportError
from tallystick.evidence.keys import device_text
from tallystick.evidence.number import Dec
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink
from tallystick.tools.main import cli
from tallystick.tools.serve import service
from tallystick.tools.serve.doors import PATH_BYTES_MAX, Allowed, Door, peer_of
from tallystick.tools.serve.lines import LINE_BYTES_MAX, LineBuffer, parse
from tallystick.tools.serve.service import Service

EXAMPLE = Path(__file__).parents[2] / "firmware" / "examples" / "recorder_client.c"
COMMAND = [sys.executable, "-c", "from tallystick.tools.main import main; main()", "recorder"]
ANYONE = Allowed(frozenset([os.getuid()]), frozenset())
GRIP = {"model": "grasp-net@1", "output": "grip"}
NOBODY = 65534
STARTED: list[subprocess.Popen[str]] = []


class Client:
    def __init__(self, path: Path) -> None:
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(60)
        self.link.connect(str(path))
        self.file = self.link.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.link.close()

    def send(self, data: bytes) -> None:
        self.link.sendall(data)

    def answer(self) -> dict[str, Any]:
        line = self.file.readline()
        assert line.endswith(b"\n"), line
        found: dict[str, Any] = json.loads(line, parse_float=Decimal)
        return found

    def ask(self, what: str, words: Any) -> dict[str, Any]:
        self.send(json.dumps({what: words}).encode() + b"\n")
        return self.answer()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """What a failing test left running ends with it."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextlib.contextmanager
def serving(tmp_path: Path, config: Any, name: str = "s", wait: float = 20) -> Iterator[Path]:
    """A service in this process."""
    stop = threading.Event()
    with Door(tmp_path / name, 0o600) as door:
        tally = Recorder.open(config, background=True)
        thread = threading.Thread(target=Service(door.listen(), tally, ANYONE).run, args=(stop,))
        thread.start()
        try:
            yield door.path
        finally:
            stop.set()
            thread.join(wait)
            tally.close()
    assert not thread.is_alive()


def start(
    tmp_path: Path, config: Any, *args: str, socket_in: Path | None = None
) -> tuple[subprocess.Popen[str], Path]:
    """The command in a process of its own, once it listens."""
    file, path = tmp_path / "robot.json", (socket_in or tmp_path) / "s"
    file.write_text(json.dumps(config))
    process = subprocess.Popen(
        [*COMMAND, "serve", "--config", str(file), "--socket", str(path), *args],
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    assert process.stderr is not None
    said = process.stderr.readline()
    assert "records at" in said, said + process.stderr.read()
    return process, path


def delivered(fleet: Fleet, config: Any) -> list[bytes]:
    """What a gateway gets of the journal when the robot starts again."""
    station, link = Station(fleet, read_credential(config)), MemoryUplink()
    tally = Recorder.open({**config, "checkpoint_s": 0.05}, uplink=link, background=False)
    tally.flush()
    end = time.monotonic() + 60
    while tally.backlog() and time.monotonic() < end:
        tally.poll(1)
        for message in link.take():
            for answer in station.answer(message):
                link.deliver(answer)
    tally.close()
    (records,) = station.records.values()
    return records


def decisions(records: list[bytes]) -> list[Decision]:
    return [found for one in records if isinstance(found := record.parse(one), Decision)]


def test_an_answered_decision_survives_the_end_of_the_service(tmp_path: Path, fleet: Fleet) -> None:
    config = fleet.device("one", checkpoint_s=60, checkpoint_records=1024)
    process, path = start(tmp_path, config)
    with Client(path) as client:
        client.send(
            b'{"decision": {"model": "net@1", "inputs": {"d_m": 0.1, "big": 12345678901234567.25,'
            b' "tiny": 1e-30, "text": "0.10", "digest": {"$bytes": "AAEC"}}, "constraints":'
            b' {"v": [0.30, "<=", "0.3", "m/s"]}, "output": {"a": [1, null, true]}}}\n'
        )
        said = client.answer()["ok"]
        assert said["signed"] is False
        again = client.ask("event", {"name": "app.moved", "details": {"by_m": "0.5"}})["ok"]
        assert again["index"] == said["index"] + 1 and again["epoch"] == said["epoch"]
    process.kill()
    process.communicate(timeout=90)
    records = delivered(fleet, config)
    (found,) = decisions(records)
    assert records[said["index"]] == found.encode()
    assert found.inputs == {
        "d_m": Dec(1, -1),
        "big": Dec(1234567890123456725, -2),
        "tiny": Dec(1, -30),
        "text": "0.10",
        "digest": bytes([0, 1, 2]),
    }
    assert found.constraints == {"v": [Dec(3, -1), "<=", Dec(3, -1), "m/s", True]}
    assert found.output == {"a": [1, None, True]}
    # What a killed service leaves is taken away by the next one.
    process, path = start(tmp_path, config)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert not path.exists()


def test_an_urgent_decision_is_answered_when_it_is_signed(tmp_path: Path, fleet: Fleet) -> None:
    config = fleet.device("one", checkpoint_s=60)
    with serving(tmp_path, config) as path, Client(path) as client:
        before = client.ask("health", True)["ok"]
        assert client.ask("decision", {**GRIP, "urgent": True})["ok"]["signed"] is True
        after = client.ask("health", True)["ok"]
    assert after["health"]["checkpoints"] > before["health"]["checkpoints"]
    assert after["device"] == device_text(Station(fleet, read_credential(config)).device)


def test_two_robots_exchange_halves_over_their_sockets(tmp_path: Path, fleet: Fleet) -> None:
    configs = [fleet.device("one"), fleet.device("two")]
    fields = {"item": "pallet-7", "position_m": [1.25, "3.40"]}
    with (
        serving(tmp_path, configs[0], "a") as one,
        serving(tmp_path, configs[1], "b") as two,
        Client(one) as giver,
        Client(two) as receiver,
    ):
        ids = [who.ask("health", True)["ok"]["device"] for who in (giver, receiver)]
        words = {"profile": "handover@1", "task": "order-1", **fields}
        made = giver.ask(
            "claim",
            {**words, "role": "giver", "claim": "released", "peers": {"receiver": ids[1]}},
        )["ok"]
        assert made["signed"] is True
        kept = receiver.ask("accept", made["half"])["ok"]["accepted"]
        assert kept["device"] == ids[0] and kept["task"] == "order-1"
        assert kept["fields"] == {
            "item": "pallet-7",
            "position_m": [Decimal("1.25"), Decimal("3.4")],
        }
        answer = receiver.ask(
            "claim",
            {
                **words,
                "role": "receiver",
                "claim": "acquired",
                "peers": {"giver": [ids[0]]},
                "relied": [made["half"]],
            },
        )["ok"]
        assert giver.ask("accept", answer["half"])["ok"]["accepted"]["claim"] == "acquired"
        # A half with one byte changed, and one's own.
        changed = made["half"][:60] + ("A" if made["half"][60] != "A" else "B") + made["half"][61:]
        assert "error" in receiver.ask("accept", changed)
        assert giver.ask("accept", made["half"])["error"]["reason"] == "not-a-party"


WRONG = [
    (b"", "bad-json"),
    (b"grip", "bad-json"),
    (b"\xff", "bad-utf8"),
    (b"[1]", "bad-type"),
    (b"{}", "bad-type"),
    (b'{"decision": {"model": "a@1"}, "urgent": true}', "bad-type"),
    (b'{"reboot": true}', "bad-value"),
    (b'{"health": 1}', "bad-type"),
    (b'{"decision": {}}', "bad-value"),
    (b'{"decision": {"model": "a@1", "speed": 1}}', "bad-value"),
    (b'{"decision": {"model": "a@1", "output": NaN}}', "bad-number"),
    (b'{"decision": {"model": "a@1", "output": 1e999999999999}}', "bad-number"),
    (b'{"decision": {"model": "a@1", "output": 9223372036854775808}}', "bad-number"),
    (b'{"decision": {"model": "a@1", "output": ' + b"1" * 5000 + b"}}", "bad-number"),
    (b'{"decision": {"model": "a@1", "output": 1, "output": 2}}', "bad-value"),
    (b'{"decision": {"model": "a@1", "output": {"$digest": "AA"}}}', "bad-value"),
    (b'{"decision": {"model": "a@1", "output": {"$bytes": "A"}}}', "bad-value"),
    (b'{"decision": {"model": "a@1", "output": "\\ud800"}}', "bad-utf8"),
    (b'{"decision": {"model": "a@1", "urgent": 1}}', "bad-type"),
    (b'{"decision": {"model": "a@1", "constraints": {"v": {"a": 1}}}}', "bad-type"),
    (b'{"decision": {"model": "a@1", "constraints": {"v": [1, "<", 2, {}]}}}', "bad-type"),
    (b'{"decision": {"model": "a@1", "output": ' + b"[" * 60000 + b"}}", "too-deep"),
    (b'{"decision": {"model": "a@1", "output": "' + b"x" * 5000 + b'"}}', "too-large"),
    (b'{"event": {"name": "boot"}}', "bad-value"),
    (b'{"event": {"name": 1}}', "bad-value"),
    (b'{"accept": "no half"}', "bad-value"),
    (b'{"accept": 1}', "bad-type"),
    (b'{"claim": {"profile": "p@1"}}', "bad-value"),
    (b'{"claim": {"profile": "p@1", "role": [], "claim": "c", "peers": {}}}', "bad-type"),
    (b'{"claim": {"profile": "p@1", "role": "r", "claim": "c", "peers": {"x": [1]}}}', "bad-type"),
    (
        b'{"claim": {"profile": "p@1", "role": "r", "claim": "c", "peers": {}, "wait": 1}}',
        "bad-value",
    ),
    (b"x" * (LINE_BYTES_MAX + 1), "too-large"),
]


def test_what_is_wrong_with_a_line_closes_nothing(tmp_path: Path, fleet: Fleet) -> None:
    with serving(tmp_path, fleet.device("one")) as path, Client(path) as client:
        client.send(b"".join(line + b"\n" for line, _ in WRONG))
        reasons = [(client.answer()["error"], line[:60]) for line, _ in WRONG]
        assert [said["reason"] for said, _ in reasons] == [reason for _, reason in WRONG], reasons
        assert all(said["message"] and said["recorded"] is False for said, _ in reasons)
        # Alone, without a newline, and by then the only one recorded.
        client.send(json.dumps({"decision": GRIP}).encode())
        client.link.shutdown(socket.SHUT_WR)
        assert "ok" in client.answer()
        assert client.file.readline() == b""


def test_a_full_journal_and_a_dead_key_are_answered(tmp_path: Path, fleet: Fleet) -> None:
    config = fleet.device("one", journal_bytes=16384, wait_s=0.2)
    big = {"model": "net@1", "context": {str(n): "x" * 1000 for n in range(3)}}
    with serving(tmp_path, config) as path, Client(path) as client:
        for _ in range(10):
            said = client.ask("decision", big)
            if "error" in said:
                break
        assert said["error"]["reason"] == "store-full" and said["error"]["recorded"] is False
    late = fleet.device("two", wait_s=0.2)
    stop = threading.Event()
    with Door(tmp_path / "late", 0o600) as door:
        tally = Recorder.open(late, signer=NeverSigns(late["key"]), background=True)
        thread = threading.Thread(target=Service(door.listen(), tally, ANYONE).run, args=(stop,))
        thread.start()
        with Client(door.path) as client:
            said = client.ask("decision", {**GRIP, "urgent": True})["error"]
            assert said["reason"] == "key-late" and said["recorded"] is True
            assert "ok" in client.ask("decision", GRIP)
        stop.set()
        thread.join(60)
        tally.close()


class NeverSigns:
    """A key whose hardware never answers."""

    waits = 5

    def __init__(self, uri: str) -> None:
        from tallystick.hw.signer import Signer

        self._signer = Signer.from_uri(uri)
        self.alg = self._signer.alg
        self.custody = self._signer.custody

    def __getattr__(self, name: str) -> Any:
        return getattr(self._signer, name)

    def begin(self, message: bytes) -> None: ...

    def poll(self) -> bool:
        return False


def test_clients_that_are_slow_silent_or_many(
    tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LINE_S_MAX", 0.3)
    monkeypatch.setattr(service, "ANSWER_S_MAX", 0.3)
    monkeypatch.setattr(service, "CONNECTIONS_MAX", 3)
    with serving(tmp_path, fleet.device("one")) as path:
        with Client(path) as slow:
            slow.send(b'{"health"')
            assert slow.answer()["error"]["reason"] == "too-late"
            assert slow.file.readline() == b""
        # It asks and asks and reads nothing: the kernel's buffers fill, and it is left.
        with Client(path) as deaf, pytest.raises((BrokenPipeError, ConnectionResetError)):
            deaf.send(b'{"health": true}\n' * 1_000_000)
        with Client(path) as first, Client(path) as second, Client(path) as third:
            for client in (second, third, first):
                assert "ok" in client.ask("health", True)
            with Client(path) as fourth:
                assert fourth.answer()["error"]["reason"] == "over-quota"
            monkeypatch.setattr(service, "SILENT_S_MIN", 0.0)
            with Client(path) as fourth:
                assert "ok" in fourth.ask("health", True)
            assert second.file.readline() == b"", "silent longest"
            assert "ok" in third.ask("health", True)


def test_many_lines_from_many_clients_are_all_recorded(tmp_path: Path, fleet: Fleet) -> None:
    config = fleet.device("one")
    lines = [json.dumps({"decision": {**GRIP, "inputs": {"n": n}}}).encode() for n in range(200)]
    seen: list[int] = []

    def program(path: Path) -> None:
        with Client(path) as client:
            client.send(b"\n".join(lines) + b"\n")
            mine = [client.answer()["ok"]["index"] for _ in lines]
            assert mine == sorted(mine)
            seen.extend(mine)

    with serving(tmp_path, config) as path:
        programs = [threading.Thread(target=program, args=(path,)) for _ in range(5)]
        for one in programs:
            one.start()
        for one in programs:
            one.join(60)
    assert len(seen) == len(set(seen)) == 1000
    records = delivered(fleet, config)
    assert all(isinstance(record.parse(records[index]), Decision) for index in seen)


def test_only_allowed_users_record(tmp_path: Path, fleet: Fleet) -> None:
    here, there = socket.socketpair()
    with here, there:
        peer = peer_of(here)
        assert (peer.pid, peer.user) == (os.getpid(), os.getuid())
        assert peer.groups == {os.getgid(), *os.getgroups()}
        Allowed(frozenset([os.getuid()]), frozenset()).check(peer)
        Allowed(frozenset(), frozenset([max(peer.groups)])).check(peer)
        with pytest.raises(CouldNotCheck, match="may not record"):
            Allowed(frozenset([os.getuid() + 1]), frozenset([12345])).check(peer)


def test_the_socket_is_not_taken_from_anybody(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Door(path, 0o620) as door:
        assert path.stat().st_mode & 0o777 == 0o620
        door.listen()
        with pytest.raises(TransportError, match="another program serves it"):
            Door(path, 0o600)
    assert not path.exists()
    path.write_text("a file")
    with pytest.raises(TransportError, match="no socket"):
        Door(path, 0o600)
    assert path.read_text() == "a file"
    with pytest.raises(Malformed, match="at most 107"):
        Door(tmp_path / ("x" * PATH_BYTES_MAX), 0o600)


def test_lines_are_cut_wherever_bytes_come_apart() -> None:
    data = b"one\n\n" + b"x" * (LINE_BYTES_MAX + 5) + b"\ntwo\nrest"
    for size in (1, 7, 4096, len(data)):
        buffer = LineBuffer()
        found = [
            one for at in range(0, len(data), size) for one in buffer.feed(data[at : at + size])
        ]
        assert found == [b"one", b"", None, b"two"]
        assert buffer.partial and buffer.last() == [b"rest"] and not buffer.partial
    assert parse(b'{"health": true}').kind == "health"


def test_the_examples_of_the_help_work(tmp_path: Path, fleet: Fleet) -> None:
    shown = CliRunner().invoke(cli, ["recorder", "serve", "--help"]).output
    python = shown.partition("python3 -c '...'):\n")[2].partition("From C++:")[0]
    shell = shown.partition("From a shell:\n")[2]
    with serving(tmp_path, fleet.device("one")) as path:
        for command, code in (
            ([sys.executable, "-c"], textwrap.dedent(python)),
            (["/bin/sh", "-c"], textwrap.dedent(shell).replace("python3", sys.executable)),
        ):
            done = subprocess.run(
                [*command, code.replace("/run/tallystick/recorder.sock", str(path))],
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert done.stdout.startswith('{"ok":{'), done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--mode", "0888"), "a mode is octal"),
        (("--mode", "7777"), "a mode is octal"),
        (("--allow-user", "nobody-of-this-name"), "there is no user"),
        (("--allow-group", "nobody-of-this-name"), "there is no group"),
        (("--group", "nobody-of-this-name"), "there is no group"),
    ],
)
def test_a_wrong_option_is_one_sentence(args: tuple[str, str], said: str) -> None:
    done = CliRunner().invoke(cli, ["recorder", "serve", *args])
    assert done.exit_code == 2 and said in done.output


@pytest.fixture
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The example in C, where any user of this machine may run it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler; install the package gcc")
    with tempfile.TemporaryDirectory(prefix="tally-c-") as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "client"
        strict = ["-std=gnu99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
        subprocess.run([compiler, *strict, "-o", program, EXAMPLE], check=True)
        yield program


def run_example(program: Path, path: Path, **how: Any) -> tuple[int, list[dict[str, Any]]]:
    done = subprocess.run(
        [program, path], stdout=subprocess.PIPE, text=True, timeout=90, check=False, **how
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line]


def test_the_example_in_c(tmp_path: Path, fleet: Fleet, example: Path) -> None:
    config = fleet.device("one")
    process, path = start(tmp_path, config)
    code, (first, second) = run_example(example, path)
    assert code == 0
    assert (first["ok"]["signed"], second["ok"]["signed"]) == (False, True)
    process.terminate()
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0 and "0 dropped" in err
    assert run_example(example, path, stderr=subprocess.DEVNULL) == (1, [])
    assert [found.inputs for found in decisions(delivered(fleet, config))] == [
        {"distance_m": Dec(1, -1)},
        {},
    ]


def test_another_user_records_and_never_sees_the_key(
    tmp_path: Path, fleet: Fleet, example: Path
) -> None:
    if os.getuid() != 0:
        # Only root can be two users; the check itself is tested above for everybody.
        return
    config = fleet.device("one")
    other = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    for args, mode, codes in (
        (("--allow-user", str(NOBODY)), "0666", (0, True)),
        (("--allow-group", str(NOBODY)), "0666", (0, True)),
        ((), "0666", (1, False)),
        (("--allow-user", str(NOBODY)), "0600", (1, None)),
        (("--allow-user", str(NOBODY), "--group", str(NOBODY)), "0660", (0, True)),
    ):
        process, _ = start(tmp_path, config, "--mode", mode, *args, socket_in=example.parent)
        code, said = run_example(example, example.parent / "s", **other)
        assert code == codes[0], (args, said)
        assert [("ok" in one) for one in said[:1]] == [one for one in codes[1:] if one is not None]
        process.terminate()
        process.communicate(timeout=90)
        assert process.returncode == 0
    assert (fleet.folder / "one" / "key").stat().st_mode & 0o077 == 0
