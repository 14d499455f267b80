"""Threads that hang: found, repaired where that can be, else the process ends and starts anew."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.hanging import MOST_S
from gateway.test_broker import custody_to
from support.devices import Device, Fleet
from support.rawbroker import RawBroker
from support.site import Radio, Site, until
from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway import limits, lives, pagelimits
from tallystick.gateway.broker import Broker
from tallystick.gateway.config import BrokerConfig
from tallystick.gateway.inbox import Inbox
from tallystick.gateway.service import Gateway
from tallystick.gateway.watchdog import EXIT_CODE, Hang, Hanging, Watchdog, Watched, stack_of
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
HANGING = Path(__file__).with_name("hanging.py")
LARGE = bytes(100_000)
ROBOT = """
import sys, time
from tallystick.recorder import Recorder
tally = Recorder.open(sys.argv[1])
tally.decision("grip@1", {"n": 1})
tally.flush()
time.sleep(600)
"""


@contextlib.contextmanager
def held(lock: Any) -> Iterator[None]:
    """A thread has a lock, and keeps it."""
    has, give = threading.Event(), threading.Event()

    def keep() -> None:
        with lock:
            has.set()
            give.wait()

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    has.wait()
    try:
        yield
    finally:
        give.set()
        thread.join()


def waits(lock: Any) -> None:
    with lock:
        pass


def robot(site: Site, segments: int = 3) -> Device:
    made = ACME.device()
    for _ in range(segments):
        made.record(4)
    site.enrol(made)
    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.05)
    return monkeypatch


def test_a_thread_has_no_sign_of_one_that_ended() -> None:
    # Systems give the number of a thread that ended to the next one, mostly.
    before = threading.Thread(target=lives.Event().wait, args=(0,))
    before.start()
    before.join()
    found: list[lives.Sign | None] = []
    for _ in range(8):
        after = threading.Thread(
            target=lambda: found.append(lives.sign_of(threading.current_thread()))
        )
        after.start()
        after.join()
    assert found == [None] * 8
    assert lives.sign_of(before) is not None


# --- what is found ------------------------------------------------------------------------------


def test_who_moves_or_rests_is_left_alone_and_who_stands_still_is_found() -> None:
    lock, stop, turn = threading.Lock(), lives.Event(), threading.Event()
    secret = "canary-of-the-test"

    def stand(pin: str) -> None:
        lives.moved()
        turn.set()
        with lock:
            assert pin == secret

    still = threading.Thread(target=stand, args=(secret,), name="still", daemon=True)
    rests = threading.Thread(target=stop.wait, name="rests", daemon=True)
    ended: list[Hang] = []
    mine = threading.current_thread()
    found = [Watched(mine, 3.0), Watched(rests, 3.0), Watched(still, 3.0)]
    dog = Watchdog("test", lambda: found, ended.append)
    with held(lock):
        rests.start()
        still.start()
        turn.wait()
        until(lambda: (sign := lives.sign_of(rests)) and sign.resting, "who rests")
        for _ in range(3):
            dog.look(1.0)
            lives.moved()
        # Three looks, two of them after the first: silent for two seconds.
        assert ended == []
        dog.look(1.0)
    assert [one.thread for one in ended] == ["still"]
    assert dog.found is ended[0]
    assert ended[0].silent_s == 3.0
    assert "test_watchdog.py" in ended[0].stack
    assert "stand" in ended[0].stack
    assert secret not in str(ended[0])
    assert "\n" not in str(ended[0])
    stop.set()
    rests.join()
    still.join()
    assert stack_of(still) == "it has ended"


def test_who_is_mended_ends_nothing_and_is_named_while_it_hangs() -> None:
    lock, turn = threading.Lock(), threading.Event()
    lock.acquire()

    def stand() -> None:
        turn.set()
        with lock:
            lives.moved()

    thread = threading.Thread(target=stand)
    thread.start()
    turn.wait()
    dog = Watchdog("test", lambda: [Watched(thread, 2.0, mended=True)])
    for _ in range(3):
        dog.look(1.0)
    assert dog.hanging == {thread}
    assert dog.found is None
    lock.release()
    thread.join()
    dog.look(1.0)
    assert dog.hanging == set()


def test_the_watchdog_outlives_a_look_that_fails(quick: pytest.MonkeyPatch) -> None:
    quick.setattr(limits, "WATCHDOG_TICK_S", 0.01)
    lock, looks, ended = threading.Lock(), iter(range(100)), threading.Event()
    thread = threading.Thread(target=waits, args=(lock,), daemon=True)

    def watched() -> list[Watched]:
        if next(looks) == 0:
            message = "dictionary changed size during iteration"
            raise RuntimeError(message)
        return [Watched(thread, 0.02)]

    with held(lock):
        thread.start()
        Watchdog("test", watched, lambda _: ended.set()).start()
        assert ended.wait(60)
    thread.join()


# --- the process ends, and nothing is lost ------------------------------------------------------


@contextlib.contextmanager
def process(site: Site, how: str, stderr: Any) -> Iterator[subprocess.Popen[bytes]]:
    """As `tally gateway run`; its worker hangs once there is a file `hang`."""
    command = [sys.executable, str(HANGING), str(site.path), how, str(site.folder / "hang")]
    paths = os.pathsep.join(path for path in sys.path if path)
    made = subprocess.Popen(command, stderr=stderr, env=os.environ | {"PYTHONPATH": paths})
    try:
        yield made
    finally:
        made.kill()
        made.wait()


def subscribed(site: Site) -> bool:
    with contextlib.suppress(CouldNotCheck):  # its store is not made yet
        return bool(site.status()["process"].get("connected"))
    return False


def test_a_worker_that_hangs_ends_the_process_which_goes_on_where_it_was(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, "gw-hangs")
    site.with_prefix("tallystick/1/hangs")
    made = robot(site)
    log = tmp_path / "log.txt"
    with Radio(mosquitto.port, made, "tallystick/1/hangs") as radio:
        with log.open("wb") as file, process(site, "lock", file) as running:
            until(lambda: subscribed(site), "the subscription", 60)
            radio.up(made.segments()[0])
            until(lambda: custody_to(radio, site) == made.stretches[0].to, "custody")
            # Stopped as a whole it hangs in no thread, however long that takes.
            running.send_signal(signal.SIGSTOP)
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(2 * MOST_S)
            running.send_signal(signal.SIGCONT)
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(MOST_S / 2)
            (site.folder / "hang").touch()
            radio.up(*made.segments()[1:])
            assert running.wait(60) == EXIT_CODE
        said = json.loads(log.read_bytes().splitlines()[-1])
        assert said["level"] == "critical"
        assert said["thread"] == "gw-hangs: ingest"
        assert said["silent_s"] >= MOST_S
        assert "hanging.py" in said["stack"] and "worker.py" in said["stack"]
        assert custody_to(radio, site) == made.stretches[0].to
        # Whoever supervises starts it again.
        (site.folder / "hang").unlink()
        with log.open("ab") as file, process(site, "lock", file) as running:
            until(lambda: custody_to(radio, site) == made.size, "custody", 60)
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
    assert site.status()["records"] == made.size


@pytest.mark.parametrize("how", ["lock", "gil"])
def test_neither_a_log_that_nobody_reads_nor_python_s_own_lock_keeps_it_alive(
    tmp_path: Path, mosquitto: Mosquitto, how: str
) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, f"gw-{how}")
    site.with_prefix(f"tallystick/1/{how}")
    made = robot(site, 1)
    read, write = os.pipe()
    with Radio(mosquitto.port, made, f"tallystick/1/{how}") as radio:
        with process(site, how, write) as running:
            until(lambda: subscribed(site), "the subscription", 60)
            if how == "lock":
                os.set_blocking(write, False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        os.write(write, bytes(512))
                os.set_blocking(write, True)
            (site.folder / "hang").touch()
            radio.up(*made.segments())
            # faulthandler knows no exit code but 1.
            assert running.wait(60) == (EXIT_CODE if how == "lock" else 1)
        os.close(write)
        if how == "gil":
            with os.fdopen(read, "rb") as rest:
                said = rest.read()
            assert b"Timeout" in said and b"hanging.py" in said and b"worker.py" in said
        else:
            os.close(read)
        assert custody_to(radio, site) == 0


def test_tally_dev_begins_again_by_itself(tmp_path: Path) -> None:
    file, log = tmp_path / "hang", tmp_path / "log.txt"
    file.touch()
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths}
    robots: list[subprocess.Popen[bytes]] = []
    with log.open("wb") as out:
        running = subprocess.Popen(
            [sys.executable, str(HANGING), "dev", "lock", str(file)],
            cwd=tmp_path,
            stdout=out,
            stderr=out,
            env=environment,
        )
    try:
        until(lambda: b"Ctrl-C ends this" in log.read_bytes(), "the start", 60)
        config = str(tmp_path / "tally-dev/devices/robot-1/tallystick.json")
        robots.append(subprocess.Popen([sys.executable, "-c", ROBOT, config], env=environment))
        until(lambda: b"a thread hangs" in log.read_bytes(), "the hang", 60)
        # It goes on with the same folder and port.
        until(lambda: log.read_bytes().count(b"Ctrl-C ends this") == 2, "the start anew", 60)
        assert not file.exists()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
    finally:
        for one in [running, *robots]:
            one.kill()
            one.wait()


# --- the MQTT client ----------------------------------------------------------------------------


def test_a_client_that_hangs_with_its_locks_holds_nobody_and_is_replaced(
    tmp_path: Path, mosquitto: Mosquitto, quick: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, "gw-paho")
    site.with_prefix("tallystick/1/paho")
    made = robot(site)
    with site.running() as gateway, Radio(mosquitto.port, made, "tallystick/1/paho") as radio:
        hung = gateway.broker._client
        assert hung is not None
        # What publish() takes.
        with held(hung._out_message_mutex), held(hung._mid_generate_mutex):
            radio.up(*made.segments())
            # Its own thread comes to a lock; the worker does not, and goes on in its turns.
            until(lambda: site.status()["records"], "what is stored")
            turns = gateway.worker.beat_s
            until(lambda: gateway.worker.beat_s > turns, "the worker's turns")
            quick.setattr(limits, "WATCHDOG_S", 1.5)
            until(lambda: gateway.broker.replaced >= 1, "the watchdog")
            quick.setattr(limits, "WATCHDOG_S", 60.0)
            until(lambda: gateway.broker.subscribed, "the new connection")
            # What waited to be sent waited in our queue, not in the client that hangs.
            until(lambda: custody_to(radio, site) == made.size, "custody")
            assert len(gateway.broker.hung) == gateway.broker.replaced
        until(lambda: not gateway.broker.hung, "the end of the thread that came to life")
        assert gateway.broker.subscribed
        assert hung.socket() is None


def test_clients_that_hang_again_and_again_are_no_repair(
    tmp_path: Path, mosquitto: Mosquitto, quick: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, "gw-again")
    site.with_prefix("tallystick/1/again")
    gateway = Gateway(site.config)
    ended: list[Hang] = []
    gateway.start()
    try:
        until(lambda: gateway.broker.subscribed, "the subscription")
        client = gateway.broker._client
        assert client is not None
        quick.setattr(limits, "CLIENTS_HUNG_MAX", 1)
        quick.setattr(limits, "WATCHDOG_S", 1.5)
        with held(client._msgtime_mutex), pytest.raises(Hanging, match="paho-mqtt-client"):
            gateway.watch(threading.Event(), ends=ended.append)
        assert [one.thread for one in ended] == [f"paho-mqtt-client-{site.config.broker.client_id}"]
    finally:
        gateway.stop()


@pytest.mark.usefixtures("mosquitto")  # which skips where there is none
def test_a_broker_that_is_stopped_with_full_buffers_holds_nobody(
    tmp_path: Path, quick: pytest.MonkeyPatch
) -> None:
    quick.setattr(limits, "KEEPALIVE_S", 1)
    with Mosquitto(tmp_path / "broker") as broker:
        site = Site(tmp_path / "gateway", ACME, broker.port)
        made = robot(site)
        with site.running() as gateway:
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                gateway.down.put([(made.id, LARGE)] * limits.DOWN_IN_FLIGHT_MAX)
                until(lambda: not len(gateway.down), "what was handed over")
                turns = gateway.worker.beat_s
                until(lambda: gateway.worker.beat_s > turns, "the worker's turns")
                until(lambda: gateway.broker.lost == 1, "the loss")
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            until(lambda: gateway.broker.subscribed, "the connection")
            assert gateway.broker.replaced == 0
            with Radio(broker.port, made) as radio:
                radio.up(made.hello(), *made.segments())
                until(lambda: custody_to(radio, site) == made.size, "custody")


def test_a_broker_that_never_reads_is_left_and_tried_again(quick: pytest.MonkeyPatch) -> None:
    quick.setattr(limits, "KEEPALIVE_S", 1)
    raw = RawBroker()
    broker = Broker(BrokerConfig(port=raw.port, client_id="gw"), Inbox())
    broker.start()
    until(lambda: broker.subscribed, "the subscription")
    with raw.deaf():
        for _ in range(limits.DOWN_IN_FLIGHT_MAX):
            assert broker.publish(bytes(32), LARGE)
        until(lambda: broker.lost == 1, "the loss")
    until(lambda: broker.subscribed, "the connection")
    # Nothing waits for a reader at the end, either.
    broker.stop()
    raw.close()


# --- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["server", "looks"])
def test_a_page_that_hangs_is_replaced_and_custody_goes_on(
    tmp_path: Path, mosquitto: Mosquitto, quick: pytest.MonkeyPatch, part: str
) -> None:
    quick.setattr(pagelimits, "IDLE_LOOK_S", 1.0)
    name = f"gw-page-{part}"
    table = '[page]\nbind = "127.0.0.1:0"\n'
    site = Site(tmp_path, ACME, mosquitto.port, name, limits=table)
    site.with_prefix(name)
    made = robot(site)
    with site.running() as gateway, Radio(mosquitto.port, made, name) as radio:
        page = gateway.page
        assert page is not None
        until(lambda: page.watch.newest, "a look")
        lock = threading.Lock()
        with held(lock if part == "server" else page.watch._turn):
            if part == "server":
                page.server.call(lambda: waits(lock))
            quick.setattr(limits, "PAGE_BEAT_S_MAX", 1.0)
            until(lambda: gateway.page is not page and gateway.page.threads, "another")  # type: ignore[union-attr]
            quick.setattr(limits, "PAGE_BEAT_S_MAX", 60.0)
            fresh = gateway.page
            assert fresh is not None
            assert httpx2.get(f"{fresh.url}/v1/status", timeout=60).status_code == 200
            radio.up(*made.segments())
            until(lambda: custody_to(radio, site) == made.size, "custody")
            assert gateway.page_care.replaced >= 1
        for thread in page.threads:
            thread.join(60)
            assert not thread.is_alive()
