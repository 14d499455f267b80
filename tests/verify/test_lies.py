"""Signed lies: every key here is real and enrolled, and what it signed does not hold together."""

from typing import Any

import pytest

from support.devices import Device, Fleet
from support.story import NOW_S, START_MS, Story, disclose
from tallystick.evidence import custody, keychange, receipt, tree, verdict
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.enrolment import SUBJECT_GATEWAY, SUBJECT_VALIDATOR
from tallystick.evidence.entry import LoggedClaim, TimeEntry, parse_entry
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.verify import Policy, check, check_evidence, load_evidence

ONE_SIDED = '[outcome]\nstates = ["one_sided"]\n'


def refusal(story: Story, file: EvidenceFile | None = None, more: str = "") -> TallyError:
    file = file or story.evidence()
    with pytest.raises(TallyError) as caught:
        check(load_evidence(file.encode()), Policy.parse(story.policy + more), NOW_S)
    return caught.value


def rewritten(file: EvidenceFile, **changes: Any) -> EvidenceFile:
    names = ("credentials", "profiles", "halves", "entries", "custody", "notes", "note", "heads")
    return EvidenceFile(*[changes.get(name, getattr(file, name)) for name in names])


def replaced(story: Story, number: int, at: int, data: bytes) -> None:
    """A validator's log with another entry, before anything was published."""
    story.validators[number].entries[at] = data


# --- a validator with two logs (A07) ----------------------------------------------------------


def test_two_entries_at_one_index() -> None:
    story, other = Story(), Story(x="1.7")
    other.validators[0].tick(1)
    file = story.evidence()
    log = other.validators[0]
    entries = [*file.entries, (log.entries[-2], [log.receipt(len(log.entries) - 2)])]
    error = refusal(story, rewritten(file, entries=entries))
    assert (error.reason, "two different entries" in error.message) == ("fork", True)


def test_two_roots_of_one_size() -> None:
    story, other = Story(), Story(x="1.7")
    ours = story.entries(story.validators[0])
    theirs = other.entries(other.validators[0])
    rest = [entry for v in story.validators[1:] for entry in story.entries(v)]
    # Each log shows other indexes, so that only the roots contradict each other.
    file = rewritten(story.evidence(), entries=[*ours[:4], *theirs[6:], *rest], notes=[])
    error = refusal(story, file)
    assert (error.reason, "two different roots" in error.message) == ("fork", True)


def test_two_origins() -> None:
    story = Story()
    log = story.validators[0]
    signed = receipt.sign(log.key, log.name, "other.example/log", 5, tree.root_of(log.leaves))
    path = tree.inclusion_path(log.leaves, 0)
    entries = story.evidence().entries
    entries[0][1].append(signed.inclusion(len(log.leaves), 0, path))
    error = refusal(story, rewritten(story.evidence(), entries=entries))
    assert (error.reason, "two origins" in error.message) == ("fork", True)


def test_a_receipt_with_another_size_than_its_root() -> None:
    story = Story()
    log = story.validators[0]
    size = len(log.leaves)
    signed = receipt.sign(log.key, log.name, log.origin, 5, tree.root_of(log.leaves))
    entries = story.evidence().entries
    # The first leaf's path has as many hashes in a larger tree, so the root is the same.
    path = tree.inclusion_path(log.leaves, 0)
    larger = size + 1 if (size - 1).bit_length() == size.bit_length() else size - 1
    entries[0][1].append(signed.inclusion(larger, 0, path))
    assert refusal(story, rewritten(story.evidence(), entries=entries)).reason == "tampered"


def test_log_times_that_fall() -> None:
    story = Story()
    log = story.validators[0]
    late = len(log.entries) - 2
    assert isinstance(parse_entry(log.entries[late]), TimeEntry)
    replaced(story, 0, late, TimeEntry(START_MS - 1).encode())
    error = refusal(story)
    assert (error.reason, "falls" in error.message) == ("fork", True)


# --- a validator that misreports --------------------------------------------------------------


def test_a_verdict_that_read_more_than_there_was() -> None:
    story = Story()
    log = story.validators[1]
    true = verdict.parse(log.entries[-1])
    false = verdict.Verdict(true.finding, len(log.entries) + 1, None, [], true.time_ms)
    replaced(story, 1, -1, false.sign(log.key, log.name, false.subject()))
    assert refusal(story).reason == "tampered"


def test_a_verdict_under_another_name() -> None:
    story = Story()
    log = story.validators[1]
    true = verdict.parse(log.entries[-1])
    replaced(story, 1, -1, true.sign(log.key, "insurer", true.subject()))
    assert refusal(story).reason == "wrong-key"


def test_a_closing_with_another_deadline() -> None:
    error = refusal(Story(answers=False, closing_ms=1), more=ONE_SIDED)
    assert (error.reason, "another deadline" in error.message) == ("tampered", True)


def test_silence_that_is_dated_before_the_deadline() -> None:
    error = refusal(Story(answers=False, silence_ms=-100), more=ONE_SIDED)
    assert (error.reason, "dated before the deadline" in error.message) == ("tampered", True)


@pytest.mark.parametrize("wrong", ["device", "leaf"])
def test_a_logged_claim_that_leads_elsewhere(wrong: str) -> None:
    story = Story()
    log = story.validators[2]
    at = next(n for n, e in enumerate(log.entries) if isinstance(parse_entry(e), LoggedClaim))
    true = parse_entry(log.entries[at])
    assert isinstance(true, LoggedClaim)
    fields: list[Any] = [true.device, true.epoch, true.index, true.leaf, true.checkpoint, true.path]
    if wrong == "device":
        fields[0] = story.receiver.id
    else:
        fields[3] = bytes(32)
    replaced(story, 2, at, LoggedClaim(*fields).encode())
    expected = {"device": "tampered", "leaf": "bad-inclusion-proof"}[wrong]
    assert refusal(story).reason == expected


# --- gateways ---------------------------------------------------------------------------------


def test_a_gateway_with_two_heads_of_one_size() -> None:
    story = Story()
    signer, _ = story.gateways["acme"]
    head = GatewayHead(1, b"\x01" * 32, START_MS).sign(
        signer, "acme", signer.public_key().thumbprint()
    )
    file = story.evidence()
    assert refusal(story, rewritten(file, heads=[*file.heads, head])).reason == "gateway-fork"


def test_a_custody_receipt_by_no_gateway() -> None:
    story = Story()
    made = CustodyReceipt(story.giver.epoch, 0, 4, story.giver.root, True, START_MS)
    false = made.sign(story.giver.signer, "acme", story.giver.id)
    assert refusal(story, rewritten(story.evidence(), custody=[false])).reason == "wrong-key"


def test_a_checkpoint_that_names_another_devices_custody_receipt() -> None:
    story = Story(answers=False)
    signer, _ = story.gateways["borealis"]
    made = CustodyReceipt(story.giver.epoch, 0, 4, story.giver.root, True, START_MS)
    foreign = made.sign(signer, "borealis", story.giver.id)
    story.receiver.custody = custody.parse(foreign).digest
    story.receiver.seal()
    log = story.validators[0]
    log.append(story.receiver.stretches[-1].checkpoint)
    file = story.evidence()
    error = refusal(story, rewritten(file, custody=[*file.custody, foreign]), ONE_SIDED)
    assert (error.reason, "another device's" in error.message) == ("tampered", True)


# --- devices ----------------------------------------------------------------------------------


def test_a_record_by_something_that_is_no_device() -> None:
    story = Story()
    signer, credential = story.gateways["acme"]
    gateway = Device(story.acme, signer, credential)
    gateway.decision("grip")
    gateway.seal()
    file = story.evidence()
    halves = [*file.halves, disclose(gateway, 1)]
    error = refusal(story, rewritten(file, halves=halves))
    assert "not enrolled as a device" in error.message


def test_a_record_of_a_stranger_spoils_the_file() -> None:
    story = Story()
    stranger = Fleet("nobody").device("ghost")
    stranger.decision("grip")
    stranger.seal()
    file = story.evidence()
    error = refusal(
        story, rewritten(file, halves=[*file.halves, disclose(stranger, 1, embed=True)])
    )
    assert error.reason == "bad-policy"
    assert "is not verified" in error.message


def test_an_enrolment_that_had_expired_when_the_record_was_logged() -> None:
    story = Story()
    story.giver.credential = story.acme.enrol(story.giver.signer, valid_s=(1, 2))
    assert refusal(story).reason == "expired"


@pytest.mark.parametrize("recomputed", ["true", "false"])
def test_a_disclosed_claim_that_no_verdict_took_into_account(recomputed: str) -> None:
    """An older verdict beside the claim that overtook it: the file must not say `matched`."""
    story = Story()
    file = story.evidence()
    at = story._claim(story.giver, "giver", "released", "pallet-9", "1.5")
    story.giver.seal()
    late = rewritten(file, halves=[*file.halves, disclose(story.giver, at)])
    policy = story.policy.replace("at_least = 2", f"at_least = 2\nrecomputed = {recomputed}")
    with pytest.raises(TallyError) as caught:
        check(load_evidence(late.encode()), Policy.parse(policy), NOW_S)
    assert "0 of the 2 validators' organisations" in caught.value.message
    assert "is conflicting" in caught.value.message
    report = check_evidence(load_evidence(late.encode()), Policy.parse(policy), NOW_S)
    assert "conflicting, by the disclosed claims" in report.outcome
    assert any("it would be conflicting" in why for _, why in report.not_checked)


def test_a_claim_that_is_said_again_overtakes_nothing() -> None:
    story = Story()
    file = story.evidence()
    at = story._claim(story.giver, "giver", "released", "pallet-7", "1.5")
    story.giver.seal()
    again = rewritten(file, halves=[*file.halves, disclose(story.giver, at)])
    report = check(load_evidence(again.encode()), Policy.parse(story.policy), NOW_S)
    assert report.party_sets[0].states == ["matched"]


# --- keys of validators and gateways that are good no more ------------------------------------


def spoiled(credential: list[bytes], fleet: Fleet, signer: Any, subject: int, how: str) -> Any:
    """The credential of a key that is compromised, or that was enrolled for another time."""
    if how == "expired":
        return fleet.enrol(signer, subject, valid_s=(1, 2))
    id_ = signer.public_key().thumbprint()
    change = keychange.Revocation(id_, id_, None, keychange.COMPROMISED, START_MS)
    return [*credential, change.sign(fleet.root, fleet.name, id_)]


@pytest.mark.parametrize("how", ["expired", "compromised"])
def test_validators_whose_keys_are_good_no_more_do_not_count(how: str) -> None:
    story = Story()
    for one in story.validators:
        made = spoiled(one.credential, one.fleet, one.key, SUBJECT_VALIDATOR, how)
        one.__dict__["credential"] = made
    with pytest.raises(TallyError) as caught:
        check(load_evidence(story.evidence().encode()), Policy.parse(story.root_policy), NOW_S)
    assert "0 of the 2 validators' organisations" in caught.value.message


@pytest.mark.parametrize("short_first", [True, False])
def test_of_two_credentials_of_a_validator_the_longer_one_counts(short_first: bool) -> None:
    story = Story()
    file = story.evidence()
    longer = [
        spoiled(one.credential, one.fleet, one.key, SUBJECT_VALIDATOR, "compromised")
        for one in story.validators
    ]
    both = [*file.credentials, *longer] if short_first else [*longer, *file.credentials]
    with pytest.raises(TallyError) as caught:
        check(
            load_evidence(rewritten(file, credentials=both).encode()),
            Policy.parse(story.root_policy),
            NOW_S,
        )
    assert "0 of the 2 validators' organisations" in caught.value.message


@pytest.mark.parametrize("how", ["expired", "compromised"])
def test_custody_receipts_of_a_gateway_that_is_good_no_more_show_no_silence(how: str) -> None:
    story = Story(answers=False)
    for name, (signer, credential) in list(story.gateways.items()):
        fleet = next(fleet for fleet in story.fleets if fleet.name == name)
        made = spoiled(credential, fleet, signer, SUBJECT_GATEWAY, how)
        story.gateways[name] = (signer, made)
    assert "0 of the 2 validators" in refusal(story, more=ONE_SIDED).message


def retired(story: Story) -> list[list[bytes]]:
    """The credentials after the giver's key was retired at its first checkpoint."""
    giver = story.giver
    change = keychange.Revocation(
        giver.id,
        giver.id,
        [giver.epoch, 4, tree.root_of(giver.leaves[:4])],
        keychange.RETIRED,
        START_MS,
    )
    statement = change.sign(story.acme.root, "acme", giver.id)
    rest = story.evidence().credentials[1:]
    return [[*giver.credential, statement], *rest]


def test_a_retired_key_keeps_its_prefix() -> None:
    """A17: what lies in the trusted prefix stays good; what comes after does not."""
    story = Story()
    file = rewritten(story.evidence(), credentials=retired(story))
    report = check(load_evidence(file.encode()), Policy.parse(story.policy), NOW_S)
    assert {record.status for record in report.records} == {"retired", "active"}
    story.giver.record(3)
    beyond = disclose(story.giver, 5)
    error = refusal(story, rewritten(file, halves=[*file.halves, beyond]))
    assert "is suspect" in error.message


def test_a_record_under_two_checkpoints_counts_by_the_better_one() -> None:
    story = Story()
    file = rewritten(story.evidence(), credentials=retired(story))
    giver = story.giver
    giver.record(3)
    good = disclose(giver, story.gave)
    path = tree.inclusion_path(giver.leaves, story.gave)
    doubtful = type(good)(
        good.record, good.salt, good.index, path, giver.stretches[1].checkpoint, good.credential
    )
    others = [half for half in file.halves if half.record != good.record]
    for halves in ([good, doubtful], [doubtful, good]):
        both = rewritten(file, halves=[*others, *halves])
        report = check(load_evidence(both.encode()), Policy.parse(story.policy), NOW_S)
        assert len(report.records) == 4
    error = refusal(story, rewritten(file, halves=[*others, doubtful]))
    assert "is suspect" in error.message
