"""What services tell systemd, from real processes; and the units of gateway and validator."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recorder.test_systemd import EXPOSURE_MAX, analyze, commands
from support.devices import Fleet
from support.site import Radio, Site, until
from support.validating import load, write_config
from tallystick.gateway import limits
from tallystick.gateway.service import Gateway
from tallystick.gateway.watchdog import Hanging
from tallystick.tools._notify import STATUS_CHARS_MAX, Notifier
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto
from tallystick.validator import service as validator_service

TOP = Path(__file__).parents[2]
UNITS = [
    TOP / "gateway/systemd/tally-gateway.service",
    TOP / "validator/systemd/tally-validator.service",
]
WAIT_S = 90.0
ACME = Fleet("acme")


class Manager:
    """The socket that systemd would listen on."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(WAIT_S)

    def told(self) -> dict[str, str]:
        lines = self._socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def until(self, name: str) -> dict[str, str]:
        while True:
            told = self.told()
            if name in told:
                return told

    def silent(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_one_that_systemd_takes(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    for command, *words in commands(unit):
        text = text.replace(command, "/bin/true")
        # What it starts is a command of ours, with options that it has.
        group, name, *options = words
        known = cli.get_command(None, group).commands[name]  # type: ignore[arg-type,union-attr]
        named = {option for one in known.params for option in one.opts}
        assert {word for word in options if word.startswith("-")} <= named
    (tmp_path / unit.name).write_text(text)
    assert analyze("verify", "--man=no", str(tmp_path / unit.name)) == ""
    said = analyze("security", "--offline=yes", "--no-pager", str(tmp_path / unit.name))
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert exposure is not None and float(exposure[1]) <= EXPOSURE_MAX
    assert re.search(r"^User=(?!root)\S+$", text, re.MULTILINE)
    assert re.search(r"^Type=notify$", text, re.MULTILINE)
    assert re.search(r"^WatchdogSec=\d+$", text, re.MULTILINE)
    # The gateway's verifying processes may be killed without it.
    assert ("\nOOMPolicy=continue\n" in text) == ("gateway" in unit.name)
    assert unit.relative_to(TOP).as_posix() in (TOP / "docs/operations.md").read_text()


@pytest.mark.parametrize("form", ["path", "abstract"])
def test_a_service_tells_what_its_manager_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    manager = Manager(str(tmp_path / "s") if form == "path" else f"@tally-{os.getpid()}")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    told = Notifier()
    # No child of ours speaks for us.
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
    told.ready("two\nlines " + "x" * 1000)
    said = manager.told()
    assert said["READY"] == "1"
    assert said["STATUS"].startswith("two lines x")
    assert len(said["STATUS"]) == STATUS_CHARS_MAX
    told.alive()
    told.alive()
    assert manager.told() == {"WATCHDOG": "1"}
    told.status("well")
    # The second sign of life was too early to be worth a message.
    assert manager.told() == {"STATUS": "well"}
    told.stopping()
    assert manager.told() == {"STOPPING": "1"}
    manager.close()
    # Nobody listens: nothing happens.
    told.ready("x")


def test_nothing_is_told_where_nobody_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready("x")
    manager = Manager(str(tmp_path / "s"))
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    # Signs of life are another process's to give, or nobody's.
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    Notifier().alive()
    assert manager.silent()
    manager.close()


def test_a_validator_under_systemd(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    path = write_config(tmp_path / "validator", [Fleet("acme")])
    running = subprocess.Popen(
        [sys.executable, "-c", "from tallystick.tools.main import main; main()",
         "validator", "run", "--config", str(path)],
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            "NOTIFY_SOCKET": manager.address,
            "WATCHDOG_USEC": "100000",
        },
    )  # fmt: skip
    try:
        assert "listens on http://127.0.0.1:" in manager.until("READY")["STATUS"]
        assert manager.until("WATCHDOG") == {"WATCHDOG": "1"}
        running.send_signal(signal.SIGTERM)
        assert manager.until("STOPPING") == {"STOPPING": "1"}
        assert running.wait(WAIT_S) == 0
    finally:
        running.kill()
        running.wait()
        manager.close()


def test_a_gateway_lives_while_its_worker_turns_and_its_store_only_fails(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.01)
    monkeypatch.setattr(limits, "WORKER_BEAT_S_MAX", 0.5)
    monkeypatch.setattr(limits, "STORE_RETRY_S_MIN", 0.01)
    monkeypatch.setattr(limits, "STORE_RETRY_S_MAX", 0.01)
    site = Site(tmp_path, ACME, mosquitto.port)
    gateway = Gateway(site.config)
    stop, lives = threading.Event(), threading.Semaphore(0)
    hangs: list[Hanging] = []

    def watched() -> None:
        try:
            gateway.watch(stop, lives.release)
        except Hanging as error:
            hangs.append(error)

    watch = threading.Thread(target=watched)
    gateway.start()
    try:
        until(lambda: gateway.broker.subscribed, "the subscription")
        watch.start()
        for _ in range(3):
            assert lives.acquire(timeout=WAIT_S)

        def full(*_: object) -> None:
            raise OSError(28, "no space")

        # A full disk: it tries again and again, and lives.
        monkeypatch.setattr(gateway.worker, "_group", full)
        robot = ACME.device()
        robot.record(1)
        with Radio(mosquitto.port, robot) as radio:
            radio.up(robot.hello(), *robot.segments())
            until(lambda: gateway.worker.store_error, "the failing store")
            time.sleep(1)
            while lives.acquire(blocking=False):
                pass
            assert lives.acquire(timeout=WAIT_S)
            # A worker that hangs.
            monkeypatch.setattr(gateway.worker, "_group", lambda _group: stop.wait(WAIT_S))
            until(lambda: time.monotonic() - gateway.worker.beat_s > 0.6, "a worker that hangs")
            while lives.acquire(blocking=False):
                pass
            assert not lives.acquire(timeout=0.2)
            until(lambda: hangs, "the watchdog")
            assert "dock-north: ingest hangs since" in hangs[0].message
    finally:
        stop.set()
        watch.join(WAIT_S)
        gateway.stop()


def test_a_validator_lives_while_it_opens_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validator_service, "WATCH_S", 0.01)
    lives, stop = threading.Semaphore(0), threading.Event()
    config = load(tmp_path / "validator", [ACME])
    real = validator_service.Service

    def slow(given: object) -> object:
        # As a migration of a large store; it ends when it was said three times.
        for _ in range(3):
            assert lives.acquire(timeout=WAIT_S)
        return real(given)  # type: ignore[arg-type]

    monkeypatch.setattr(validator_service, "Service", slow)
    validator_service.run(config, stop, lambda _: stop.set(), alive=lives.release)
    assert not any(thread.name == "opening" for thread in threading.enumerate())
