"""Evidence files: what holds is accepted, what was changed is refused or reported."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from support import heldkeys
from support.devices import Fleet
from support.story import FIRMWARE, NOW_S, Story, disclose, reencode
from tallystick.evidence import cbor, verdict
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.half import Half
from tallystick.verify import Policy, Report, check, check_evidence, load_evidence

STORY = Story()
SILENT = Story(answers=False)
HELD = Story(held=heldkeys.in_tpm, demanded=2)
FLIPS = 700


def checked(file: EvidenceFile, policy: str = STORY.policy) -> Report:
    return check(load_evidence(file.encode()), Policy.parse(policy), NOW_S)


def refusal(file: EvidenceFile, policy: str = STORY.policy) -> TallyError:
    with pytest.raises(TallyError) as caught:
        checked(file, policy)
    return caught.value


def what_was(pairs: list[tuple[str, str]], begin: str) -> list[str]:
    return [detail for what, detail in pairs if what.startswith(begin)]


def test_the_story_holds() -> None:
    report = checked(STORY.evidence())
    assert report.outcome == (
        "handover@1 order-4711 in dock-3: matched, say 3 validators of 3 organisations, "
        "3 of them recomputed here."
    )
    assert len(report.records) == 4
    assert {record.firmware for record in report.records if record.index > 1} == {FIRMWARE}
    assert len(what_was(report.checked, "receipt of validator")) == 3 * 8
    assert len(what_was(report.checked, "finding of validator")) == 3
    assert len(what_was(report.checked, "log checkpoint of")) == 3
    assert len(what_was(report.checked, "logged claim")) == 6
    assert what_was(report.not_checked, "the note for people") == ["it is signed by nobody"]
    assert report.tolerances[2] == (
        "handover@1 same-place (agree): fields giver.released.position_m "
        "receiver.acquired.position_m, within 0.25"
    )


def test_nothing_is_checked_twice_by_another_clock() -> None:
    late = check(load_evidence(STORY.evidence().encode()), Policy.parse(STORY.policy))
    assert late.outcome == checked(STORY.evidence()).outcome


@pytest.mark.parametrize("accept", ["matched", "conflicting"])
def test_a_conflict_is_verified_and_only_accepted_where_it_is_asked_for(accept: str) -> None:
    story = Story(x="3")
    policy = story.policy + f'[outcome]\nstates = ["{accept}"]\n'
    if accept == "conflicting":
        assert checked(story.evidence(), policy).party_sets[0].states == ["conflicting"]
    else:
        assert refusal(story.evidence(), policy).reason == "bad-policy"


def test_silence_is_checked_against_the_closing() -> None:
    policy = SILENT.policy + '[outcome]\nstates = ["one_sided"]\n'
    report = checked(SILENT.evidence(), policy)
    assert len(what_was(report.checked, "silence of device")) == 3
    assert len(what_was(report.checked, "closing by validator")) == 3
    assert report.party_sets[0].said[0].verdict.finding.missing[0].absence == "silent"


def test_silence_without_its_receipt_is_not_recomputed() -> None:
    file = SILENT.evidence()
    file.custody = []
    policy = SILENT.policy + '[outcome]\nstates = ["one_sided"]\n'
    report = check_evidence(load_evidence(reencode(file)), Policy.parse(policy), NOW_S)
    assert what_was(report.not_checked, "finding of validator insurer") == [
        "the file does not disclose the same inputs"
    ]
    assert refusal(file, policy).reason == "bad-policy"


def test_an_early_closing_is_a_lie() -> None:
    story = Story(answers=False)
    for validator in story.validators:
        validator.entries[-5] = validator.entries[1]  # the clock never went on
        validator.entries[-2] = validator.entries[1]
    policy = story.policy + '[outcome]\nstates = ["one_sided"]\n'
    error = refusal(story.evidence(), policy)
    assert error.reason == "tampered"
    assert "before its deadline" in error.message


def test_a_false_verdict_is_proven() -> None:
    """A08: the validator signs `matched` over inputs that give another state."""
    story = Story(x="3")
    liar = story.validators[1]
    true = verdict.parse(liar.entries[-1])
    honest = Story().validators[1]
    finding = verdict.parse(honest.entries[-1]).finding
    finding.inputs = true.finding.inputs
    finding.claims = true.finding.claims
    finding._data = None
    false = verdict.Verdict(finding, true.size, None, [], true.time_ms)
    liar.entries[-1] = false.sign(liar.key, liar.name, false.subject())
    error = refusal(story.evidence(), story.policy)
    assert error.reason == "tampered"
    assert "validator city is not what its own inputs give" in error.message


def test_a_verdict_on_other_inputs_fulfils_nothing() -> None:
    """A verdict whose digest names inputs that nobody disclosed is not believed."""
    story = Story(x="3")
    for validator in story.validators:
        true = verdict.parse(validator.entries[-1])
        finding = verdict.parse(STORY.validators[0].entries[-1]).finding
        finding.inputs = bytes(32)
        finding.claims = true.finding.claims
        finding._data = None
        false = verdict.Verdict(finding, true.size, None, [], true.time_ms)
        validator.entries[-1] = false.sign(validator.key, validator.name, false.subject())
    assert refusal(story.evidence(), story.policy).reason == "bad-policy"


def test_two_entries_at_one_place_prove_two_logs() -> None:
    file = STORY.evidence()
    other = Story(x="1.7")
    for validator, double in zip(STORY.validators, other.validators, strict=True):
        assert validator.line == double.line
    file.entries += [
        entry for entry in other.entries(other.validators[0]) if entry[0] not in dict(file.entries)
    ]
    assert refusal(file).reason == "fork"


def test_a_device_of_another_fleet_fulfils_nothing() -> None:
    policy = STORY.policy.replace(f', "{STORY.borealis.root_line}"', "")
    report = check_evidence(STORY.evidence(), Policy.parse(policy), NOW_S)
    assert len(report.unverified_records) == 2
    error = refusal(STORY.evidence(), policy)
    assert error.reason == "bad-policy"
    assert "no root of the policy enrolled its device" in error.message


def test_a_root_of_the_same_name_is_not_the_root() -> None:
    false = Fleet("borealis", alg=-7)
    policy = STORY.policy.replace(STORY.borealis.root_line, false.root_line)
    assert refusal(STORY.evidence(), policy).reason in {"wrong-key", "wrong-alg", "bad-signature"}


def test_too_few_validators_are_too_few() -> None:
    """A09, the part that is decided offline: k of n, by organisation."""
    for needed in (1, 2, 3):
        for shown in range(4):
            file = STORY.evidence()
            file.entries = [
                entry
                for validator in STORY.validators[:shown]
                for entry in STORY.entries(validator)
            ]
            policy = STORY.policy.replace("at_least = 2", f"at_least = {needed}")
            if shown >= needed:
                checked(file, policy)
            else:
                assert refusal(file, policy).reason == "bad-policy"


def test_two_validators_of_one_organisation_count_once() -> None:
    policy = STORY.policy.replace('"City"', '"Insurer"')
    file = STORY.evidence()
    file.entries = [e for v in STORY.validators[:2] for e in STORY.entries(v)]
    assert "1 of the 2" in refusal(file, policy).message


def test_validators_may_be_vouched_for_by_a_root() -> None:
    report = checked(STORY.evidence(), STORY.root_policy)
    assert len(what_was(report.checked, "log checkpoint of")) == 3  # note keys by the genesis
    assert refusal(STORY.evidence(credentials=False), STORY.root_policy).reason == "bad-policy"


def test_credentials_may_come_with_the_records() -> None:
    file = STORY.evidence(credentials=False)
    assert refusal(file).reason == "bad-policy"
    took = STORY.took
    assert took is not None
    file.halves = [
        disclose(STORY.giver, STORY.gave, embed=True),
        disclose(STORY.receiver, took, embed=True),
    ]
    assert checked(EvidenceFile(*_fields(file))).party_sets[0].states == ["matched"]


def _fields(file: EvidenceFile) -> list[Any]:
    return [
        file.credentials,
        file.profiles,
        file.halves,
        file.entries,
        file.custody,
        file.notes,
        file.note,
        file.heads,
    ]


def test_what_is_left_out_is_listed_and_fulfils_nothing() -> None:
    file = STORY.evidence()
    file.halves = file.halves[:2]
    report = check_evidence(load_evidence(reencode(file)), Policy.parse(STORY.policy), NOW_S)
    assert "is not disclosed" in what_was(report.not_checked, "finding of validator")[0]
    assert refusal(file).reason == "bad-policy"
    file = STORY.evidence()
    file.profiles = []
    assert refusal(file).reason == "bad-policy"


def test_an_empty_file_fulfils_nothing() -> None:
    empty = EvidenceFile([], [], [], [], [], [], None, [])
    assert refusal(empty).reason == "bad-policy"
    assert "could be verified" in check_evidence(empty, Policy.parse(STORY.policy)).outcome


def test_a_record_alone_needs_receipts_over_its_checkpoint() -> None:
    file = STORY.evidence()
    file.halves = file.halves[:1]
    file.entries = [entry for v in STORY.validators for entry in STORY.entries(v)[1:4]]
    report = checked(EvidenceFile(*_fields(file)))
    assert report.outcome == "Verified: 1 record of 1 device."
    file.entries = file.entries[:3]
    assert "1 of the 2" in refusal(EvidenceFile(*_fields(file))).message


Change = Callable[[Half], Half]


def _half(half: Half, **changes: Any) -> Half:
    fields = {
        name: getattr(half, name)
        for name in ("record", "salt", "index", "path", "checkpoint", "credential")
    }
    return Half(**{**fields, **changes})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("salt", lambda half: _half(half, salt=bytes(16))),
        ("index", lambda half: _half(half, index=half.index - 1)),
        ("path", lambda half: _half(half, path=half.path[:-1])),
        ("record", lambda half: _half(half, record=STORY.giver.stretches[0].records[2])),
        ("checkpoint", lambda half: _half(half, checkpoint=STORY.receiver.stretches[0].checkpoint)),
    ],
)
def test_a_changed_disclosure_is_refused(name: str, change: Change) -> None:
    file = STORY.evidence()
    file.halves[1] = change(file.halves[1])
    assert refusal(EvidenceFile(*_fields(file))).reason != "bad-policy", name


def test_a_maker_outside_its_own_map_is_refused() -> None:
    stray = Fleet("acme").device("stray")
    stray.event("epoch", previous=None, reason="new")
    profile = STORY.profile.digest
    stray.claim("order-4711", "giver", "released", STORY.parties, profile, item="pallet-7")
    stray.seal()
    file = STORY.evidence()
    file.credentials.append(stray.credential)
    file.halves.append(disclose(stray, 1))
    assert refusal(EvidenceFile(*_fields(file))).reason == "not-a-party"


@pytest.mark.parametrize("story", [STORY, SILENT, HELD], ids=["matched", "silent", "held"])
def test_every_changed_byte_is_refused_or_reported(story: Story) -> None:
    """One bit of one byte: refused, or something that was checked no longer is."""
    data = story.evidence().encode()
    policy = Policy.parse(story.root_policy + '[outcome]\nstates = ["matched", "one_sided"]\n')
    whole = check(load_evidence(data), policy, NOW_S)
    note = data.index(b"order 4711")
    rng = random.Random(len(data))
    accepted = 0
    for at in sorted(rng.sample(range(len(data)), FLIPS)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        try:
            report = check(load_evidence(bytes(flipped)), policy, NOW_S)
        except TallyError:
            continue
        accepted += 1
        assert report.outcome.split(",")[0] == whole.outcome.split(",")[0], at
        if not note <= at < note + len(b"order 4711"):
            assert len(report.not_checked) > len(whole.not_checked), at
            assert len(report.checked) < len(whole.checked), at
    assert accepted < FLIPS / 10


def test_every_cut_file_is_refused() -> None:
    data = STORY.evidence().encode()
    for size in range(0, len(data), 97):
        with pytest.raises(Malformed):
            load_evidence(data[:size])
    with pytest.raises(Malformed):
        load_evidence(data + b"\x00")


def test_hostile_text_is_made_harmless() -> None:
    story = Story()
    story.giver.claim(
        "order\x1b[2J\u202e", "giver", "released", story.parties, story.profile.digest, item="x"
    )
    story.giver.seal()
    file = EvidenceFile(
        [story.giver.credential], [], [disclose(story.giver, 4)], [], [], [], None, []
    )
    report = check_evidence(file, Policy.parse(story.policy))
    assert "\x1b" not in report.outcome
    assert "\u202e" not in report.outcome


def test_decoding_costs_no_more_than_the_limits_allow() -> None:
    with pytest.raises(Malformed):
        load_evidence(b"\x83\x16" + b"\x9b" + b"\xff" * 8)
    with pytest.raises(Malformed):
        load_evidence(cbor.encode([22, "tallystick/2", {}]))
    with pytest.raises(Unverified):
        checked(EvidenceFile([], [], [], [], [], [], "only words", []))
