"""One validator that is down, slow or flapping (F12), or answers too late (F13); one bad segment
among 500 (F14). Real validators, and a line to one of them that is as bad as a test says."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.test_forward import Sending, get, robot_of, size_at
from support import badline
from support.badline import BadLine
from support.devices import Device, Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from tallystick.evidence import batchanswer, checkpoint, custody, notarised, receipt, segment
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import CHECKPOINT, NOTARISED
from tallystick.gateway import limits
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
WAYS = (badline.DOWN, badline.MUTE, badline.DRIP, badline.FLAP)
GROUP = 4
BODY = b"\r\n\r\n"


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    made = Sending(tmp_path / "gateway")
    yield made
    made.close()


class Ill(Notary):
    """A validator that can be reached over a bad line only."""

    def start(self) -> "Ill":
        super().start()
        self.line = BadLine(self.url)
        self.url = self.line.url
        return self

    def stop(self) -> None:
        self.line.close()
        super().stop()


# --- F12 ---------------------------------------------------------------------------------------


def custody_to(radio: Radio, key: PublicKey) -> int:
    found = 0
    for data in radio.statements():
        try:
            found = max(found, custody.parse(data).verify(key).to)
        except TallyError:
            continue  # a verdict
    return found


def receipted(radio: Radio, device: Device, notary: Notary) -> set[int]:
    """The sizes of which the device was told that this validator has them."""
    heads = {sealed.to: sealed.checkpoint for sealed in device.stretches}
    found = set()
    for data in radio.of_kind(NOTARISED):
        told = notarised.parse(data)
        try:
            receipt.parse(told.receipt).verify(heads[told.size], notary.key)
        except TallyError:
            continue  # another validator's
        found.add(told.size)
    return found


def bodies(line: BadLine) -> list[bytes]:
    """The answers to batches that the validator gave."""
    found = []
    for data in line.answers:
        body = data.partition(BODY)[2] or data  # its head lines may come alone
        try:
            batchanswer.parse(body)
        except TallyError:
            continue  # of another question
        found.append(body)
    return found


def meetings(line: BadLine, how: str) -> int:
    """How often a batch came to what is wrong with the line."""
    return line.connections if how == badline.DOWN else len(bodies(line))


def row_of(site: Site, notary: Notary) -> dict[str, Any]:
    return next(row for row in site.status()["validators"] if row["name"] == notary.name)


def test_one_of_three_validators_is_down_slow_or_flaps_and_the_others_notice_nothing(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever had to wait for the ill one would wait longer than this test does.
    monkeypatch.setattr(limits, "HTTP_READ_S_MAX", 300.0)
    monkeypatch.setattr(limits, "HTTP_ANSWER_S_MAX", 300.0)
    well = [Notary(tmp_path / name, ACME, name=name).start() for name in ("insurer", "city")]
    ill = Ill(tmp_path / "lab", ACME, name="lab").start()
    three = [*well, ill]
    site = Site(
        tmp_path / "gateway",
        ACME,
        mosquitto.port,
        validators="\n".join(notary.toml for notary in three),
    )
    site.with_prefix("tallystick/1/ill")
    robot = ACME.device()
    site.enrol(robot)
    try:
        running = site.running(retry_s_max=0.5)
        with running, Radio(mosquitto.port, robot, "tallystick/1/ill") as radio:
            for how in WAYS:
                ill.line.how = how
                began = len(robot.stretches)
                met = meetings(ill.line, how)
                for _ in range(GROUP):
                    robot.record(3)
                radio.up(robot.segment(began, began + 1))
                # It has met its trouble with the first; then come the others.
                until(lambda: meetings(ill.line, how) > met, f"a try while {how}")  # noqa: B023
                radio.up(*robot.segments()[began + 1 :])
                until(lambda: custody_to(radio, site.key) == robot.size, f"custody while {how}")
                for notary in well:
                    until(lambda: robot.size in receipted(radio, robot, notary), f"{notary.name}")  # noqa: B023
                    row = row_of(site, notary)
                    assert (row["cursor"], row["error"]) == (len(robot.stretches), None)
                if how != badline.FLAP:
                    assert row_of(site, ill)["cursor"] == began, how
                # What it missed while it was ill comes to it, and to nobody else again.
                ill.line.heal()
                until(lambda: robot.size in receipted(radio, robot, ill), f"the rest after {how}")
    finally:
        for notary in three:
            notary.stop()
    for notary in well:
        assert row_of(site, notary)["batches"] <= len(robot.stretches)


def test_a_validator_that_drips_is_given_up_told_and_asked_again(
    sending: Sending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes within the time of a read, so that alone would wait for ever."""
    monkeypatch.setattr(limits, "HTTP_ANSWER_S_MAX", 0.5)
    ill = Ill(tmp_path / "notary", ACME).start()
    ill.line.how = badline.DRIP
    robot = robot_of(sending)
    sending.give(robot, *robot.segments())
    sending.add(ill)
    until(lambda: "no whole answer within 0.5 s" in str(sending.validator()["error"]), "the error")
    monkeypatch.setattr(limits, "HTTP_ANSWER_S_MAX", 60.0)
    ill.line.heal()
    sending.sent(5)
    assert size_at(ill, robot) == (20, 21)
    ill.stop()


# --- F13 ---------------------------------------------------------------------------------------


def receipts_of(sending: Sending) -> dict[bytes, bytes]:
    reader = sending.gate.store.reader()
    rows = dict(reader.execute("SELECT statement, receipt FROM receipts").fetchall())
    reader.close()
    return rows


def test_a_time_out_after_the_validator_committed_changes_no_index_and_no_receipt(
    sending: Sending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HTTP_READ_S_MAX", 0.5)
    ill = Ill(tmp_path / "notary", ACME).start()
    robot = robot_of(sending)
    sending.add(ill)
    until(lambda: sending.forwarders[0]._compared, "the first question")
    ill.line.how = badline.MUTE
    sending.give(robot, *robot.segments())
    until(lambda: len(bodies(ill.line)) >= 2, "an answer that nobody gets, twice")
    assert sending.validator()["cursor"] == 0
    lost = bodies(ill.line)
    # After a time-out only one segment is risked. Of what was sent twice, the receipts are one.
    first, second = (dict(batchanswer.parse(one).receipts) for one in lost[:2])
    assert second
    assert second.items() <= first.items()
    # The gateway is started again meanwhile, and has more: the batch is another one.
    sending.restart()
    robot.record(3)
    sending.gate.give(robot, robot.segment(5))
    monkeypatch.setattr(limits, "HTTP_READ_S_MAX", 60.0)
    ill.line.heal()
    sending.add(ill)
    sending.sent(6)
    for digest, data in batchanswer.parse(lost[0]).receipts:
        assert receipts_of(sending).get(digest, data) == data
    heads = [checkpoint.parse(sealed.checkpoint).digest for sealed in robot.stretches]
    assert set(heads) == set(receipts_of(sending))
    entries: Any = get(ill, "/v1/entries?count=1000")["entries"]
    kinds = [entry["kind"] for entry in entries]
    assert kinds.count(CHECKPOINT) == 6, "each checkpoint has one index"
    assert size_at(ill, robot) == (23, 24)
    ill.stop()


# --- F14 ---------------------------------------------------------------------------------------

ROBOTS, EACH = 10, 50
BAD_AT = 237


def spoil(sending: Sending, how: str) -> None:
    """One stored segment of 500 becomes bad, and the store does not know."""
    with sending.gate.store.write() as connection:
        (data,) = connection.execute("SELECT data FROM segments WHERE at = ?", (BAD_AT,)).fetchone()
        if how == "unreadable":
            data = b"\x87" + data[1:]
        else:
            record = segment.parse(data).stretches[0].items[0]
            assert isinstance(record, bytes)
            at = data.index(record) + len(record) - 1
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        connection.execute(
            "UPDATE segments SET data = ?, crc = ? WHERE at = ?", (data, zlib.crc32(data), BAD_AT)
        )


@pytest.mark.parametrize(("how", "reason"), [("unreadable", "bad-type"), ("wrong", "bad-root")])
def test_of_500_segments_499_are_accepted_and_the_bad_one_is_set_aside(
    sending: Sending, tmp_path: Path, how: str, reason: str
) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    robots = [ACME.device(f"robot-{n}") for n in range(ROBOTS)]
    sending.gate.know(*robots)
    for robot in robots:
        for _ in range(EACH):
            robot.record(2)
    # One after the other, as they come on a site: no two in a row are of one device.
    for n in range(EACH):
        for robot in robots:
            sending.gate.send(robot, robot.segment(n, n + 1))
    sending.gate.turn()
    spoil(sending, how)
    sending.add(notary)
    sending.sent(ROBOTS * EACH)
    reader = sending.gate.store.reader()
    rows = reader.execute("SELECT at, reason FROM set_aside").fetchall()
    (kept,) = reader.execute("SELECT count(*) FROM segments WHERE data IS NOT NULL").fetchone()
    reader.close()
    assert rows == [(BAD_AT, reason)]
    assert kept == ROBOTS * EACH, "none is deleted"
    assert len(receipts_of(sending)) == ROBOTS * EACH - 1
    bad, at = robots[BAD_AT % ROBOTS], BAD_AT // ROBOTS
    for robot in robots:
        missing = 2 if robot is bad else 0
        assert size_at(notary, robot) == (2 * EACH - missing, robot.size)
    # The validator says which part of that device's log it does not hold.
    logs: Any = get(notary, f"/v1/devices/{bad.text}")["logs"]
    assert (logs[0]["began"], logs[0]["size"], logs[0]["covered"]) == (0, bad.size, bad.size - 2)
    assert bad.stretches[at].to - bad.stretches[at].first == 2
    notary.stop()
