"""Serial ports of a gateway: real pseudo-terminals, noise, cuts, unplugging (fault F22)."""

import contextlib
import os
import re
import select
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support import wire
from support.devices import Fleet
from support.serialsite import decisions, port_state, robot, serial_site
from support.site import Radio, Site, until
from support.wire import Wire
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.evidence.serialline import MESSAGES_MAX
from tallystick.gateway import limits
from tallystick.gateway.check import check
from tallystick.gateway.config import load
from tallystick.gateway.serialport import now_ms
from tallystick.gateway.service import Gateway
from tallystick.gateway.store import open_reader
from tallystick.recorder import Recorder
from tallystick.recorder.serial_uplink import DeviceLine
from tallystick.tools.gateway import gateway as command
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
WAIT_S = 90.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SERIAL_RESCAN_S", 0.1)
    monkeypatch.setattr(limits, "SERIAL_STATE_S", 0.2)
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.1)


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Wire]:
    with Wire(tmp_path / "dev") as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, cable: Wire) -> Site:
    return serial_site(tmp_path / "gateway", ACME, str(cable.gateway.parent / "ttyG*"))


@contextlib.contextmanager
def running(site: Site, **changed: Any) -> Iterator[Gateway]:
    """The gateway in this process; its broker is away."""
    gateway = Gateway(replace(site.config, **changed))
    stop = threading.Event()
    watch = threading.Thread(target=gateway.watch, args=(stop,), daemon=True)
    try:
        gateway.start()
        watch.start()
        yield gateway
    finally:
        stop.set()
        watch.join(WAIT_S)
        gateway.stop()


@contextlib.contextmanager
def recording(site: Site, cable: Wire, folder: Path, **settings: Any) -> Iterator[Recorder]:
    config = robot(site, folder, f"serial:{cable.device}", **settings)
    tally = Recorder.open(config)
    try:
        yield tally
    finally:
        tally.close()


def record(tally: Recorder, first: int, until_n: int, size: int = 200) -> None:
    for number in range(first, until_n):
        tally.decision("m@1", {"n": number, "blob": bytes(range(200)) * (size // 200)})
    tally.flush()


def delivered(tally: Recorder) -> None:
    until(lambda: not tally.backlog(), "custody", WAIT_S)


def test_the_whole_way(site: Site, cable: Wire, tmp_path: Path) -> None:
    with running(site), recording(site, cable, tmp_path / "robot") as tally:
        record(tally, 0, 100)
        delivered(tally)
        until(lambda: port_state(site).get("messages", 0) > 1, "the counts")
        state = port_state(site)
        assert (state["open"], state["session"], state["devices"]) == (True, True, 1)
        assert (state["sessions"], state["bad_frames"], state["error"]) == (1, 0, "")
    assert decisions(site) == list(range(100))
    # A gateway that hears of a log for the first time asks for what is coming already.
    assert set(site.status()["refused"]) <= {"replayed"}


def test_a_noisy_line_costs_time_and_nothing_else(site: Site, cable: Wire, tmp_path: Path) -> None:
    cable.up, cable.down = wire.noisy(1, 1000), wire.noisy(2, 1000)
    with running(site), recording(site, cable, tmp_path / "robot") as tally:
        record(tally, 0, 200)
        delivered(tally)
        until(lambda: port_state(site).get("bad_frames", 0) > 0, "bad frames")
        assert port_state(site)["resyncs"] > 0
    assert decisions(site) == list(range(200))
    # A CRC let nothing through that a signature would have had to refuse.
    assert set(site.status()["refused"]) <= {"replayed"}


@pytest.mark.parametrize("wires", ["both", "up", "down"])
def test_a_line_that_is_cut_resumes_from_the_last_receipt(
    site: Site, cable: Wire, tmp_path: Path, wires: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tallystick.recorder.serial_uplink.SILENT_MS_MAX", 1500)
    monkeypatch.setattr("tallystick.evidence.serialline.IDLE_MS", 300)
    monkeypatch.setattr(limits, "SERIAL_SILENT_MS_MAX", 1500)
    with running(site) as gateway, recording(site, cable, tmp_path / "robot") as tally:
        record(tally, 0, 50)
        delivered(tally)
        if wires != "down":
            cable.up = wire.dead
        if wires != "up":
            cable.down = wire.dead
        record(tally, 50, 100)
        until(lambda: not tally.health.connected, "the device's notice", WAIT_S)
        cable.mend()
        delivered(tally)
        (port,) = gateway.serial.state()
        assert port["sessions"] >= 2
    assert decisions(site) == list(range(100))


def test_unplugged_and_plugged_in_again(site: Site, cable: Wire, tmp_path: Path) -> None:
    with running(site) as gateway, recording(site, cable, tmp_path / "robot") as tally:
        record(tally, 0, 50)
        delivered(tally)
        cable.unplug()
        until(lambda: gateway.serial.state() == [], "the gateway's notice")
        record(tally, 50, 100)
        until(lambda: not tally.health.connected, "the device's notice")
        cable.plug()
        delivered(tally)
    assert decisions(site) == list(range(100))
    # What the first receipts covered was not sent again.
    assert site.refused("replayed") <= 1


def test_a_gateway_that_was_started_again_is_found_at_once(
    site: Site, cable: Wire, tmp_path: Path
) -> None:
    with recording(site, cable, tmp_path / "robot") as tally:
        with running(site):
            record(tally, 0, 30)
            delivered(tally)
        record(tally, 30, 60)
        with running(site):
            delivered(tally)
    assert decisions(site) == list(range(60))


def test_the_largest_segments_pass_a_buffer_of_512_bytes(tmp_path: Path) -> None:
    with Wire(tmp_path / "dev", buffer_bytes=512) as cable:
        site = serial_site(tmp_path / "gateway", ACME, str(cable.gateway))
        with (
            running(site),
            recording(
                site, cable, tmp_path / "robot", checkpoint_records=64, checkpoint_s=2
            ) as tally,
        ):
            record(tally, 0, 60, size=3600)
            delivered(tally)
        assert decisions(site) == list(range(60))
        largest = max(length for (length,) in lengths(site))
        assert largest > 200_000


def lengths(site: Site) -> list[tuple[int]]:
    connection = open_reader(site.config.store)
    rows: list[tuple[int]] = connection.execute("SELECT length(data) FROM segments").fetchall()
    connection.close()
    return rows


def test_several_ports_and_several_devices(tmp_path: Path) -> None:
    with Wire(tmp_path / "a") as a, Wire(tmp_path / "b") as b:
        site = serial_site(tmp_path / "gateway", ACME, str(a.gateway), str(tmp_path / "b/ttyG*"))
        with (
            running(site) as gateway,
            recording(site, a, tmp_path / "one") as one,
            recording(site, b, tmp_path / "two") as two,
        ):
            record(one, 0, 40)
            record(two, 100, 140)
            delivered(one)
            delivered(two)
            assert [row["devices"] for row in gateway.serial.state()] == [1, 1]
    assert sorted(decisions(site)) == [*range(40), *range(100, 140)]


def test_a_full_inbox_makes_the_line_wait(
    site: Site, cable: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(site) as gateway, recording(site, cable, tmp_path / "robot") as tally:
        monkeypatch.setattr(gateway.inbox, "offer", lambda _delivery: False)
        record(tally, 0, 400)
        until(lambda: len(gateway.serial._ports) == 1, "the port")
        (port,) = gateway.serial._ports.values()
        until(lambda: port.line.messages, "a message")
        assert len(port.line.messages) <= MESSAGES_MAX + limits.SERIAL_CREDIT
        monkeypatch.undo()
        delivered(tally)
    assert decisions(site) == list(range(400))


def test_what_is_no_message_is_refused_and_counted(site: Site, cable: Wire) -> None:
    line, messages = (
        DeviceLine(0, 8, 66_048),
        [b"", b"hello", bytes(300), b"\x86\x0f\x58\x20" + bytes(32)],
    )
    with running(site), cable.device.open("r+b", buffering=0) as port:
        line.begin(b"abcd", now_ms())

        def told() -> bool:
            line.wait(now_ms())
            if messages and line.send(len(messages[0]), (messages[0],)):
                messages.pop(0)
            while frame := line.output(now_ms()):
                port.write(frame)
            ready, _, _ = select.select([port], [], [], 0.01)
            if ready:
                line.feed(os.read(port.fileno(), 4096), now_ms())
            return not messages and site.refused("wrong-topic") == 3

        until(told, "the refusals")
        # Of one whose device nobody knows it is the credential that is wrong, or missing.
        until(lambda: sum(row["count"] for row in site.status()["refused"].values()) == 4)


def test_the_ports_are_checked_and_named(site: Site, cable: Wire, tmp_path: Path) -> None:
    (found,) = [item for item in check(site.config) if item.name == "serial"]
    assert found.good
    assert found.found == str(cable.gateway)
    cable.unplug()
    (found,) = [item for item in check(site.config) if item.name == "serial"]
    assert found.good
    assert "looked for each second" in found.found
    (cable.gateway).write_text("a file")
    (found,) = [item for item in check(site.config) if item.name == "serial"]
    assert not found.good
    assert "is no serial port" in found.found
    with running(site):
        until(lambda: port_state(site).get("error"), "the error")
    named = serial_site(tmp_path / "named", ACME, "/dev/tty-that-is-not-there")
    with running(named):
        until(lambda: port_state(named).get("error") == "is not there", "the error")
    shown = CliRunner().invoke(command, ["status", "--config", str(named.path)])
    assert "tty-that-is-not-there" in shown.output, shown.output


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('port = "ttyACM0"', "serial.port: a path"),
        ('port = "/dev/tty0"\nbaud = 0', "serial.baud"),
        ('port = "/dev/tty0"\nspeed = 9600', "`speed`"),
        ('port = "/dev/tty0"\n[[serial]]\nport = "/dev/tty0"', "two tables"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, table: str, says: str) -> None:
    site = Site(tmp_path, ACME, 1883, limits=f"[[serial]]\n{table}")
    with pytest.raises(Malformed, match=re.escape(says)):
        load(site.path)


def test_a_rate_is_kept(site: Site, cable: Wire, tmp_path: Path) -> None:
    rate = 10_000
    uplink = f"serial:{cable.device}"
    config = robot(site, tmp_path / "robot", uplink, uplink_bytes_s=rate)
    with running(site):
        began_s = time.monotonic()
        tally = Recorder.open(config)
        record(tally, 0, 100)
        delivered(tally)
        took_s = time.monotonic() - began_s
        tally.close()
    assert cable.carried_up > 25_000
    assert cable.carried_up < rate * (took_s + 1)


@pytest.mark.parametrize("uplink", ["serial:uart=1", "serial:stdio"])
def test_a_boards_port_is_refused_on_a_computer(site: Site, tmp_path: Path, uplink: str) -> None:
    with pytest.raises(Malformed, match="microcontroller"):
        Recorder.open(robot(site, tmp_path / "robot", uplink))


def test_without_pyserial_both_sides_say_what_to_install(
    site: Site, cable: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = robot(site, tmp_path / "robot", f"serial:{cable.device}")
    # As on a machine without it: neither found nor imported.
    monkeypatch.setitem(sys.modules, "serial", None)
    monkeypatch.setattr("tallystick.recorder.serial_posix.find_spec", lambda _name: None)
    monkeypatch.setattr("tallystick.gateway.check.find_spec", lambda _name: None)
    with pytest.raises(TransportError, match=re.escape("tallystick[serial]")):
        Recorder.open(config)
    (found,) = [item for item in check(site.config) if item.name == "serial"]
    assert not found.good
    assert "tallystick[serial]" in found.what_to_do
    with running(site):
        until(lambda: "tallystick[serial]" in port_state(site).get("error", ""), "the error")


def test_a_port_takes_nothing_away_from_the_broker(
    mosquitto: Mosquitto, cable: Wire, tmp_path: Path
) -> None:
    # Whoever holds a cable may say that it speaks for a device that is on MQTT.
    prefix = f"tallystick/1/{tmp_path.name}"
    victim = ACME.device("victim")
    victim.record(4)
    tables = f'[[serial]]\nport = "{cable.gateway}"'
    site = Site(tmp_path / "gateway", ACME, mosquitto.port, limits=tables)
    site.with_prefix(prefix)
    site.enrol(victim)
    with (
        site.running() as gateway,
        recording(site, cable, tmp_path / "robot") as tally,
        Radio(mosquitto.port, victim, prefix) as radio,
    ):
        record(tally, 0, 20)
        delivered(tally)
        (port,) = gateway.serial._ports.values()
        port.heard(victim.id)
        radio.up(victim.hello(), *victim.segments())
        until(radio.statements, "custody over MQTT")
