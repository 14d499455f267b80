"""A gateway holds a device: nothing is freed, over restarts, until it ends or the flash is full."""

from pathlib import Path
from typing import Any

import pytest

from support.fullrobot import Robot
from tallystick.evidence import event
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.devicehold import DeviceHold
from tallystick.evidence.eventdetails import check_details
from tallystick.recorder import freeing, held
from tallystick.recorder.frames import RECORD_MAJOR
from tallystick.recorder.walking import Walker

DAY_MS = 86_400_000
SETTINGS = {"journal_bytes": 1 << 17, "interval_s": 600}


class Site:
    """A robot whose gateway holds it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.robot = Robot(folder, monkeypatch)
        self.robot.config.update({**SETTINGS, **settings})
        self.robot.link.plugged = True
        self.robot.open()
        self.gateway = self.robot.link.gateway
        self.settle()

    @property
    def tally(self) -> Any:
        return self.robot.tally

    @property
    def log(self) -> Any:
        return self.tally._ledger.log

    def statement(self, serial: int, until_ms: int | None, time_ms: int, **by: Any) -> bytes:
        made = DeviceHold(serial, until_ms, time_ms)
        device = by.get("device", self.robot.link.device.id)
        signer = by.get("signer", self.gateway.signing._signer)
        return made.sign(signer, "acme", device)

    def now_ms(self) -> int:
        custody = self.log.custody
        return int(custody[3]) if custody else 1_790_000_000_000

    def hold(self, serial: int, days: float | None = 30, **by: Any) -> None:
        now = self.now_ms()
        until = None if days is None else now + int(days * DAY_MS)
        self.robot.link.deliver(self.statement(serial, until, now, **by))
        self.robot.work()

    def record(self, count: int, size: int = 300) -> None:
        for _ in range(count):
            self.robot.record("decision", size)
            self.robot.work()
            self.robot.link.exchange()
            self.robot.work()
        self.settle()

    def settle(self) -> None:
        """All is sealed, signed and in custody, as far as the link goes."""
        self.tally._ledger.seal()
        for _ in range(3):
            self.robot.work()
            self.robot.link.exchange()
        self.robot.work()

    def receipt(self, time_ms: int) -> None:
        """A custody receipt over all that was sealed, dated so."""
        log = self.log
        made = CustodyReceipt(log.epoch, 0, log.sealed_size, log.sealed_root, True, time_ms)
        self.robot.link.deliver(
            made.sign(self.gateway.signing._signer, "acme", self.robot.link.device.id)
        )
        self.robot.work()

    def first(self) -> int:
        return int(self.tally._ledger.journal.list[0].first)

    def reopen(self) -> None:
        self.tally.close()
        self.robot.open()

    def refused(self) -> dict[str, int]:
        return dict(self.tally.health.refused)

    def told(self) -> list[tuple[str, int]]:
        """(state, serial) of each `hold` event in the journal."""
        return [(one["state"], one["serial"]) for one in self.details()]

    def details(self) -> list[dict[str, Any]]:
        """What each `hold` event in the journal says, as a gateway would read them."""
        found = []
        self.tally._ledger.seal()
        self.robot.work()
        journal = self.tally._ledger.journal
        for file in journal.list:
            walker = Walker(journal.files, file.name)
            while walker.at < file.size and (frame := walker.next()) is not None:
                if frame.major != RECORD_MAJOR:
                    continue
                content = walker.content(frame)
                if content[1] == 2:
                    said = event.parse(content)
                    if said.event == "hold":
                        check_details("hold", said.details)
                        found.append(said.details)
            walker.close()
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


@pytest.fixture
def held_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A held robot whose small journal is some files long."""
    made = Site(tmp_path, monkeypatch, journal_bytes=65536)
    made.hold(1)
    made.record(60)
    return made


def test_without_a_hold_what_is_in_custody_goes(site: Site) -> None:
    site.record(60)
    assert site.first() > 0


def test_while_it_is_in_force_nothing_goes_over_restarts(site: Site) -> None:
    site.hold(1)
    assert site.told() == [("begun", 1)]
    site.record(60)
    assert site.log.custody[0] > 40
    assert site.first() == 0
    site.reopen()
    site.record(40)
    assert (site.first(), site.log.holds[0][1:2]) == (0, [1])
    # Ended: all that is in custody goes at once.
    site.hold(2, None)
    assert site.first() > 0
    assert site.told()[-1] == ("ended", 2)
    # The first one, copied by whoever heard it, begins nothing anew; nor does the second again.
    before = site.first()
    site.hold(1)
    assert site.refused()["replayed"] == 1
    site.record(40)
    assert site.first() > before


def test_it_ends_by_a_receipts_time_and_by_no_clock(site: Site) -> None:
    site.hold(1, 0.5)
    site.record(40)
    site.receipt(site.log.holds[0][2] - 1)
    assert site.first() == 0
    site.robot.tally._ledger.clock.now += 40 * DAY_MS
    site.robot.record("decision", 300)
    site.robot.work()
    assert site.first() == 0
    site.tally._ledger.seal()
    site.robot.work()
    site.receipt(site.log.holds[0][2])
    assert site.first() > 0
    assert site.told() == [] or site.told()[-1] == ("ended", 1)
    assert site.log.holds[0][1:] == [1, 0]


def test_it_is_renewed_and_said_again(site: Site) -> None:
    site.hold(1)
    site.hold(2)
    site.hold(2)
    assert site.told() == [("begun", 1), ("begun", 2)]
    site.tally._ledger.clock.now += 20_000
    site.hold(2)
    assert site.told() == [("begun", 1), ("begun", 2), ("begun", 2)]


def test_who_may_not_hold(site: Site) -> None:
    site.record(3)
    site.hold(1, device=bytes(32))
    stranger = site.robot.link.fleet.member("stranger", 1)[0]
    site.hold(1, signer=stranger)
    data = bytearray(site.statement(1, site.now_ms() + DAY_MS, site.now_ms()))
    data[-1] ^= 1
    site.robot.link.deliver(bytes(data))
    site.robot.work()
    # One that was over before it came.
    now = site.now_ms()
    site.robot.link.deliver(site.statement(1, now - 1, now - DAY_MS))
    site.robot.work()
    assert site.refused() == {"wrong-device": 1, "wrong-key": 1, "bad-signature": 1, "expired": 1}
    assert not site.log.holds


def test_two_gateways_hold_by_themselves(site: Site) -> None:
    log = site.log
    site.hold(5)
    log.holds = [*log.holds, [b"another.", 9, 2**62]]
    site.record(40)
    site.hold(6, None)
    assert site.first() == 0
    assert site.told()[-1] == ("ended", 6)


def test_a_full_journal_breaks_it_before_anything_else_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, monkeypatch, journal_bytes=65536)
    site.hold(1)
    site.record(200)
    assert site.first() > 0
    assert [state for state, _ in site.told()][-1] == "broken"
    # It goes on recording, nothing was given up, and what is left is still held.
    assert site.tally.health.given_up == {}
    assert site.tally.health.dropped == 0
    journal = site.tally._ledger.journal
    assert journal.used > journal.bytes_max // 2
    # Without the gateway bodies go, as ever, and after all that is in custody.
    site.robot.link.plugged = False
    for _ in range(400):
        site.robot.record("decision", 300)
        site.robot.work()
    assert site.tally.health.given_up["decisions"] > 0


def test_who_is_configured_to_refuse_keeps_what_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, monkeypatch, journal_bytes=65536, full="refuse")
    site.hold(1)
    with pytest.raises(Exception, match="the journal is full"):
        site.record(400)
    assert (site.first(), [state for state, _ in site.told()]) == (0, ["begun"])


def test_a_new_epoch_is_held_too(site: Site) -> None:
    from tallystick.recorder import epochs

    site.hold(1)
    epochs.begin(site.tally._ledger, "rollback", None)
    assert site.log.holds[0][1] == 1
    site.reopen()
    assert site.log.holds[0][1] == 1


def test_what_is_left_of_an_epoch_that_was_left_goes_with_a_word(held_site: Site) -> None:
    from tallystick.recorder import epochs

    ledger = held_site.tally._ledger
    left = ledger.log.epoch
    old = [file.name for file in ledger.journal.list]
    assert len(old) > 1
    epochs.begin(ledger, "rollback", None)
    held_site.settle()
    # Full: until a file of the present epoch would go, too.
    while ledger.journal.list[0].epoch == left:
        held_site.robot.record("decision", 300)
        held_site.robot.work()
    broken = held_site.details()
    assert {one["state"] for one in broken} == {"broken"}
    assert [one.get("to") for one in broken][: len(old)] == [None] * len(old)
    assert len(broken) <= len(old) + 1


def test_without_a_hold_such_files_go_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.recorder import epochs

    site = Site(tmp_path, monkeypatch, journal_bytes=65536)
    site.hold(1)
    site.hold(2, None)
    site.record(60)
    ledger = site.tally._ledger
    left = ledger.log.epoch
    site.robot.link.plugged = False
    epochs.begin(ledger, "rollback", None)
    while ledger.journal.list[0].epoch == left:
        site.robot.record("decision", 300)
        site.robot.work()
    assert [state for state, _ in site.told()] == []


def test_a_hold_that_ends_while_a_file_is_let_go_is_not_broken(held_site: Site) -> None:
    ledger = held_site.tally._ledger
    log, journal = ledger.log, ledger.journal
    assert len(journal.list) > 1 and log.custody[0] >= journal.list[1].first
    # A message reads the journal; meanwhile a receipt ends the hold, and frees all that is known.
    held_site.tally._downlink._work = iter(())
    work = held.give_way(held_site.tally)
    next(work)
    kid, serial, _ = log.holds[0]
    held.mark(log, kid, serial, 0)
    freeing.release(journal, log.epoch, log.custody[0], 1 << 32)
    held_site.tally._downlink._work = None
    with pytest.raises(StopIteration):
        next(work)
    assert ("broken", 1) not in held_site.told()


def test_a_file_that_goes_takes_the_senders_place_along(held_site: Site) -> None:
    journal, sender = held_site.tally._ledger.journal, held_site.tally._sender
    assert sender is not None
    # As after a resend request, say.
    sender.rewind(0)
    assert sender.position == (journal.list[0].number, 0)
    work = held.give_way(held_site.tally)
    with pytest.raises(StopIteration):
        next(work)
    oldest = journal.list[0]
    assert oldest.first > 0
    assert (sender.position, sender._first) == ((oldest.number, 0), oldest.first)
