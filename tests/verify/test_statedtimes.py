"""A10: what a device says of the time lies within others' receipts, or is flagged and not used."""

from dataclasses import dataclass

import pytest

from support.devices import WALL_MS, Device, Fleet
from support.story import NOW_S, digest_text, disclose
from tallystick.evidence import claim, custody
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.errors import Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.profile import Profile
from tallystick.verify import Policy, Report, check, check_evidence, profiles
from tallystick.verify.profile_toml import parse_profile
from tallystick.verify.statedtimes import SLACK_MS

HOUR_MS = 3_600_000
ORDER = """
[[checks]]
check = "order"
name = "released-first"
first = "giver.released"
then = "receiver.acquired"
"""
EXCLUSIVE = """
[[checks]]
check = "exclusive"
name = "once"
grant = "giver.released"
resource = "item"
longest = "12 h"
by = "maker"
"""
TIMED = parse_profile(profiles.text("handover") + ORDER)
BOOKED = parse_profile(profiles.text("handover") + ORDER + EXCLUSIVE)
Interval = tuple[int, int]


@dataclass
class Told:
    """A handover; each device has a receipt in its checkpoint before the claim, and one over it."""

    giver_ms: Interval = (10_000, 11_000)  # after WALL_MS, as all times here
    receiver_ms: Interval = (12_000, 13_000)
    named_ms: int = 5_000  # the receipt that the checkpoint before the claims names
    over_ms: int = 20_000  # the receipt over the checkpoint after them
    profile: Profile = TIMED

    def file(self) -> EvidenceFile:
        fleet = Fleet("acme")
        self.gateway, credential = fleet.member("gateway", SUBJECT_GATEWAY)
        giver, receiver = fleet.device("a"), fleet.device("b")
        self.parties = {"giver": [giver.id], "receiver": [receiver.id]}
        self.custody: list[bytes] = []
        halves = []
        sides = (
            (giver, "giver", "released", self.giver_ms),
            (receiver, "receiver", "acquired", self.receiver_ms),
        )
        for device, role, name, interval in sides:
            device.record(1)
            device.custody = self.receipt(device, self.named_ms)
            device.record(1)
            index = self.claim(device, role, name, interval)
            device.seal()
            self.receipt(device, self.over_ms)
            halves += [disclose(device, one) for one in range(index + 1)]
        credentials = [giver.credential, receiver.credential, list(credential)]
        return EvidenceFile(
            credentials, [self.profile.encode()], halves, [], self.custody, [], None, []
        )

    def receipt(self, device: Device, at_ms: int) -> bytes:
        """A custody receipt over all that is sealed; its digest."""
        made = CustodyReceipt(device.epoch, 0, device.size, device.root, True, WALL_MS + at_ms)
        data = made.sign(self.gateway, "acme", device.id)
        self.custody.append(data)
        return custody.parse(data).digest

    def claim(self, device: Device, role: str, name: str, interval: Interval) -> int:
        fields = {"item": "box", "position_m": [1, 2]}
        stated = [WALL_MS + interval[0], WALL_MS + interval[1], 50]
        made = claim.Claim(
            device._tick(), "dock-3", "order-1", self.profile.digest, role, name, fields, {},
            self.parties, stated, [],
        )  # fmt: skip
        device.claims += 1
        index = len(device.leaves)
        device._add(made.encode())
        return index

    @property
    def told_policy(self) -> str:
        return (
            f'roots = ["{Fleet("acme").root_line}"]\ndevices.custody = "software"\n'
            f'[profiles]\ndigests = ["{digest_text(self.profile)}"]\n'
        )

    @property
    def policy(self) -> Policy:
        return Policy.parse(self.told_policy)

    def report(self) -> Report:
        return check_evidence(self.file(), self.policy, NOW_S)

    def refused(self) -> str:
        """What the policy says of it."""
        with pytest.raises(Unverified) as caught:
            check(self.file(), self.policy, NOW_S)
        assert caught.value.reason == "bad-policy"
        return caught.value.message


def test_times_within_their_receipts_are_used() -> None:
    report = check(Told().file(), Told().policy, NOW_S)
    assert report.refuted_times == []
    assert report.party_sets[0].states == ["matched"]


@pytest.mark.parametrize(
    "told",
    [
        Told(receiver_ms=(HOUR_MS, HOUR_MS + 1000)),
        Told(receiver_ms=(20_000 + SLACK_MS + 1_000, HOUR_MS)),
        Told(giver_ms=(-HOUR_MS, -HOUR_MS + 1000)),
        Told(giver_ms=(-HOUR_MS, 5_000 - SLACK_MS - 1_000)),
    ],
    ids=["an hour ahead", "just beyond", "an hour before", "just before"],
)
def test_a_time_outside_them_is_flagged_and_not_used(told: Told) -> None:
    report = told.report()
    # By the claims' words alone the order holds: that is what the lie was for.
    assert report.party_sets[0].states == ["matched"]
    (said,) = report.refuted_times
    assert report.party_sets[0].refuted == [said]
    assert "by a receipt that the device names" in said or "by receipts of 1 of 1" in said
    assert said in told.refused()


def test_the_slack_of_honest_clocks_is_allowed() -> None:
    for told in (
        Told(receiver_ms=(20_000 + SLACK_MS, HOUR_MS)),
        Told(giver_ms=(-HOUR_MS, 5_000 - SLACK_MS)),
    ):
        assert told.report().refuted_times == []


def test_a_booking_speaks_of_a_time_to_come() -> None:
    ahead = (HOUR_MS, HOUR_MS + 1000)
    booked = Told(ahead, (HOUR_MS + 2000, HOUR_MS + 3000), profile=BOOKED)
    (said,) = booked.report().refuted_times
    assert "record 3" in said, "the receiver's, which is no booking"
    past = Told((-HOUR_MS, -HOUR_MS + 1000), profile=BOOKED)
    assert len(past.report().refuted_times) == 1


def test_what_no_check_reads_is_not_held_against_anybody() -> None:
    plain = Told(receiver_ms=(HOUR_MS, HOUR_MS + 1), profile=profiles.load("handover"))
    assert plain.report().refuted_times == []
    check(plain.file(), plain.policy, NOW_S)


def test_a_wall_clock_is_flagged_by_the_receipt_it_names_and_by_the_one_over_it() -> None:
    """Nothing else uses it: order comes from boots, uptimes and indexes."""
    late = Told((HOUR_MS, HOUR_MS), (HOUR_MS, HOUR_MS), named_ms=HOUR_MS, over_ms=HOUR_MS)
    said = late.report().refuted_times
    assert len(said) == 2 * 2
    assert all(one.startswith("checkpoint at ") and "was made after" in one for one in said)
    early = Told((-HOUR_MS,) * 2, (-HOUR_MS,) * 2, named_ms=-HOUR_MS, over_ms=-HOUR_MS)
    said = early.report().refuted_times
    assert all(one.startswith("checkpoint at ") and "was made before" in one for one in said)
    assert len(said) == 2 * 2


def test_a_receipt_for_another_log_bounds_nothing() -> None:
    told = Told(receiver_ms=(HOUR_MS, HOUR_MS + 1000))
    file = told.file()
    other = Fleet("acme").device("c")
    other.record(1)
    told.custody.clear()
    told.receipt(other, 0)
    file.custody = list(told.custody)
    assert check_evidence(file, told.policy, NOW_S).refuted_times == []
