"""A10, the other way round: wrong clocks of gateways and validators refute no honest device."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.devices import WALL_MS, Device, Fleet
from support.story import NOW_S, StoryValidator
from tallystick.evidence import custody
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.errors import Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.verify import AtLeast, Policy, Report, check, check_evidence
from tallystick.verify.demands import TrueTimes
from tallystick.verify.statedtimes import SLACK_MS, Dated, Window, agreeing
from verify.test_statedtimes import HOUR_MS, Interval, Told

BEFORE, AFTER = "before", "after"
AHEAD: Interval = (HOUR_MS, HOUR_MS + 1000)
AGO: Interval = (-HOUR_MS, -HOUR_MS + 1000)


@dataclass
class Attested(Told):
    """A handover of acme's, with receipts by gateways: `named` in checkpoints, `over` its end."""

    named: list[tuple[str, int]] = field(default_factory=lambda: [("acme", 5_000)])
    over: list[tuple[str, int]] = field(default_factory=lambda: [("acme", 20_000)])
    at_least: int = 0

    @property
    def fleets(self) -> list[str]:
        return sorted({"acme"} | {name.split("/")[0] for name, _ in [*self.named, *self.over]})

    def receipt(self, device: Device, at_ms: int) -> bytes:
        digest = b""
        if at_ms == self.over_ms:
            for who, time_ms in self.over:
                digest = self.by(who, device, time_ms)
        else:
            for number, (who, time_ms) in enumerate(self.named):
                if number:
                    device.record(1)
                device.custody = digest = self.by(who, device, time_ms)
        return digest

    def by(self, who: str, device: Device, at_ms: int) -> bytes:
        """A receipt by a gateway; who: its fleet, or fleet/gateway."""
        fleet, _, name = who.partition("/")
        signer, credential = Fleet(fleet).member(name or "gateway", SUBJECT_GATEWAY)
        self.credentials.setdefault(who, list(credential))
        made = CustodyReceipt(device.epoch, 0, device.size, device.root, True, WALL_MS + at_ms)
        data = made.sign(signer, fleet, device.id)
        self.custody.append(data)
        return custody.parse(data).digest

    def file(self) -> EvidenceFile:
        self.credentials: dict[str, list[bytes]] = {}
        file = super().file()
        file.credentials += self.credentials.values()
        return file

    @property
    def trusting(self) -> Policy:
        roots = {name: root for one in self.fleets for name, root in Fleet(one).roots.items()}
        policy = self.policy
        policy = replace(policy, trust=replace(policy.trust, roots=roots))
        return policy.also(AtLeast(self.at_least)) if self.at_least else policy

    def report(self) -> Report:
        return check_evidence(self.file(), self.trusting, NOW_S)


def of_claims(said: list[str]) -> list[str]:
    return [one for one in said if one.startswith("record ")]


def told(side: str, times: list[int], k: int, interval: Interval | None = None) -> Attested:
    """Receipts on one side: after the claims by n fleets, acme's too; before by others only."""
    if side == AFTER:
        over = [("acme" if number == 0 else f"f{number}", at) for number, at in enumerate(times)]
        return Attested(receiver_ms=interval or (12_000, 13_000), over=over, at_least=k)
    named = [(f"f{number}", at) for number, at in enumerate(times)]
    return Attested(giver_ms=interval or (10_000, 11_000), named=named, at_least=k)


CASES = [(side, n, k) for side in (BEFORE, AFTER) for n in (1, 2, 3, 4) for k in range(n + 1)]


@pytest.mark.parametrize(("side", "n", "k"), CASES)
def test_fewer_wrong_clocks_than_must_agree_refute_nothing(side: str, n: int, k: int) -> None:
    right, wrong = (20_000, -HOUR_MS) if side == AFTER else (5_000, HOUR_MS)
    single = side == AFTER and n == 1
    needed = max(k, 1 if single else 2)
    for liars in range(n + 1):
        report = told(side, [wrong] * liars + [right] * (n - liars), k).report()
        refuted, doubted = of_claims(report.refuted_times), of_claims(report.doubted_times)
        if liars < needed:
            assert refuted == []
            assert len(doubted) == (2 if liars else 0), "both devices' claims"
            assert all(f"by receipts of {liars} of {n} organisation" in one for one in doubted)
            assert all("that clock or the device's is wrong" in one for one in doubted)
            TrueTimes().demand(report)
        else:
            assert len(refuted) == 2
            with pytest.raises(Unverified, match="rests on a false time"):
                TrueTimes().demand(report)


@pytest.mark.parametrize(("side", "n", "k"), CASES)
def test_a_false_time_is_refuted_when_enough_attest(side: str, n: int, k: int) -> None:
    """Whatever the others say for the liar."""
    right, lie = (20_000, AHEAD) if side == AFTER else (5_000, AGO)
    needed = max(k, 1 if side == AFTER and n == 1 else 2)
    for attest in range(n + 1):
        with_the_liar = lie[1] if side == AFTER else lie[0]
        times = [with_the_liar] * (n - attest) + [right] * attest
        report = told(side, times, k, lie).report()
        refuted, doubted = of_claims(report.refuted_times), of_claims(report.doubted_times)
        assert bool(refuted) == (attest >= needed)
        assert bool(doubted) == (0 < attest < needed), "it is seen"
        for said in refuted:
            assert f"by receipts of {attest} of {n} organisation" in said
            with pytest.raises(Unverified, match="rests on a false time"):
                TrueTimes().demand(report)


def test_one_slow_gateway_leaves_a_true_interaction_accepted() -> None:
    """The whole policy, with 0 demanded: two fleets are trusted, so two must agree."""
    slow = told(AFTER, [-HOUR_MS, 20_000], 0)
    report = check(slow.file(), slow.trusting, NOW_S)
    assert any("3611.95 s off" in one for one in report.doubted_times), "by how much"


def test_the_own_fleets_gateway_that_was_named_counts_alone_before() -> None:
    """And only before: over the end its clock is one of several."""
    others = [("f1", 20_000), ("f2", 20_000), ("f3", 20_000)]
    for k in (0, 4):
        lied = Attested(giver_ms=AGO, over=others, at_least=k).report()
        (said,) = of_claims(lied.refuted_times)
        assert "by a receipt that the device names" in said
    slow = Attested(over=[("acme", -HOUR_MS), *others]).report()
    assert slow.refuted_times == []
    assert of_claims(slow.doubted_times) != []


def test_a_signer_that_its_organisation_contradicts_refutes_nothing() -> None:
    """Even where one organisation is all that is trusted."""
    veto = Attested(over=[("acme", 20_000), ("acme/rogue", -HOUR_MS)])
    report = check(veto.file(), veto.trusting, NOW_S)
    assert report.refuted_times == []
    assert of_claims(report.doubted_times) != []
    both = Attested(over=[("acme", -HOUR_MS), ("acme/rogue", -HOUR_MS)])
    assert of_claims(both.report().refuted_times) != [], "a single organisation decides alone"


def validated(slow: tuple[str, ...], accepted: dict[str, str]) -> Report:
    """Validators (their organisations, by name) that logged the ends, some with a slow clock."""
    handed = Attested(over=[])
    file = handed.file()
    heads = {half.checkpoint for half in file.halves}
    text = ""
    for name, organisation in accepted.items():
        at_ms = WALL_MS + (-HOUR_MS if name in slow else 20_000)
        validator = StoryValidator(Fleet(name), at_ms)
        for head in sorted(heads):
            validator.append(head)
        file.entries += [(one, [validator.receipt(at)]) for at, one in enumerate(validator.entries)]
        text += (
            f'[[validators.accept]]\norganisation = "{organisation}"\nkey = "{validator.line}"\n'
        )
    policy = Policy.parse(f"{handed.told_policy}[validators]\nat_least = 1\n{text}")
    return check_evidence(file, policy, NOW_S)


def test_validators_count_by_their_organisations() -> None:
    one = validated(("city",), {"city": "City", "lab": "Lab"})
    assert of_claims(one.refuted_times) == []
    assert "validator city of City: before" in of_claims(one.doubted_times)[0]
    two = {"city": "City", "harbour": "City", "lab": "Lab"}
    assert of_claims(validated(("city", "harbour"), two).refuted_times) == [], "one organisation"
    assert of_claims(validated(("city", "lab"), {"city": "City", "lab": "Lab"}).refuted_times)


def test_how_many_must_agree() -> None:
    handed = Attested()
    assert agreeing(handed.trusting) == 1
    assert agreeing(Policy.nothing()) == 1
    assert agreeing(handed.trusting.also(AtLeast(3), AtLeast(2))) == 3
    assert agreeing(Attested(over=[("f1", 1)]).trusting) == 2
    own = StoryValidator(Fleet("acme"))
    text = (
        f'{handed.told_policy}[[validators.accept]]\norganisation = "ACME Ltd"\nkey = "{own.line}"'
    )
    assert agreeing(Policy.parse(text)) == 1, "a fleet and its own validator are one"


CLOCKS = st.lists(st.integers(-SLACK_MS, SLACK_MS), min_size=1, max_size=3)


@given(st.lists(CLOCKS, max_size=5), st.lists(CLOCKS, max_size=3), st.integers(1, 4))
def test_any_wrong_clocks_and_any_right_ones(
    right: list[list[int]], wrong: list[list[int]], needed: int
) -> None:
    """True at 0: refuted only by as many as must agree; false by far: by as many as are right."""
    dated = [
        Dated(f"right {number}", bytes([signer]), "x", at)
        for number, clocks in enumerate(right)
        for signer, at in enumerate(clocks)
    ]
    for sign in (1, -1):  # receipts over it, dated too early; receipts named, dated too late
        lies = [
            Dated(f"wrong {number}", bytes([signer]), "x", at - sign * HOUR_MS)
            for number, clocks in enumerate(wrong)
            for signer, at in enumerate(clocks)
        ]
        said = tuple(dated + lies)
        window = Window(said, (), needed) if sign < 0 else Window((), said, needed)
        true = window.judge(0, 0)
        assert (true.refuted is not None) == (len(wrong) >= needed)
        false = window.judge(sign * HOUR_MS, sign * HOUR_MS)
        assert (false.refuted is not None) == (len(right) + len(wrong) >= needed)
        assert bool(true.doubted) == (0 < len(wrong) < needed)
