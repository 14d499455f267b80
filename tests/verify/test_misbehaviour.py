"""Proofs of misbehaviour in files: each convicts whom it should; nothing nearly like it does."""

from functools import partial

import pytest

from support import guilt
from support.devices import Device
from support.guilt import Guilt
from support.proven import left, refusal, refused, report, robbed
from support.story import NOW_S, START_MS, Story, StoryValidator, disclose
from tallystick.evidence import cbor, misbehaviour, tree, verdict
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.evidence.entry import LoggedClaim
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.finding import ClaimInput, Finding, FindingInputs
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.headproofs import Equivocation, TwoStories
from tallystick.evidence.verdictproofs import (
    Baseless,
    Disagreement,
    FalseVerdict,
    Ignored,
    Unlogged,
    decided,
)
from tallystick.verify import Policy, check, load_evidence
from tallystick.verify._proofwords import REVOKED
from tallystick.verify.demands import Misbehaved

STORY = guilt.matched()
ACCUSED: dict[str, list[bytes]] = {
    "disorder": [STORY.giver.id],
    "revived": [STORY.giver.id],
    "two-stories": [STORY.gateways["acme"][0].public_key().thumbprint()],
    "missed": [],
    "equivocation": [STORY.validators[0].id],
    "false-verdict": [STORY.validators[1].id],
    "unlogged": [STORY.validators[0].id],
    "ignored": [STORY.validators[0].id],
    "baseless": [STORY.validators[0].id],
    "disagreement": [],
    "premature": [STORY.validators[0].id],
}


@pytest.mark.parametrize("name", sorted(guilt.ALL))
def test_each_is_proven_and_convicts_whom_it_should(name: str) -> None:
    made = guilt.ALL[name]()
    found = report(made.file())
    (proven,) = found.proven
    assert list(proven.accused) == ACCUSED[name]
    assert proven.name == made.proof.NAME
    assert proven.sentence in found.outcome
    assert all(proven.says) and proven.says[0] != proven.says[1] and proven.not_shown
    # A credential that stops before a revocation verifies: that is always said.
    assert (REVOKED in proven.not_shown) is bool(ACCUSED[name])
    Misbehaved().demand(found)


@pytest.mark.parametrize("name", sorted(guilt.ALL))
def test_a_proof_fulfils_no_policy(name: str) -> None:
    # Who asks whether a handover may be relied on must not be told yes for another file.
    with pytest.raises(TallyError) as caught:
        check(load_evidence(guilt.ALL[name]().file().encode()), Policy.parse(STORY.policy), NOW_S)
    assert caught.value.reason == "bad-policy"


def test_a_whole_story_proves_nothing() -> None:
    found = report(STORY.evidence())
    assert found.proven == []
    with pytest.raises(TallyError):
        Misbehaved().demand(found)


def test_a_receipt_revives_too() -> None:
    (proven,) = report(guilt.revived_by_receipt().file()).proven
    assert "names a custody receipt" in proven.says[1]


def signatures(data: bytes) -> list[int]:
    """Where the signatures of statements end in an encoding: the last byte of 64."""
    return [at + 65 for at in range(len(data) - 65) if data[at : at + 2] == b"\x58\x40"]


def proven_of(made: Guilt, data: bytes) -> bool:
    try:
        return bool(report(made.file(misbehaviour.parse(data))).proven)
    except TallyError:
        return False


@pytest.mark.parametrize("name", sorted(set(guilt.ALL) - {"equivocation", "premature"}))
def test_every_signature_is_checked(name: str) -> None:
    made = guilt.ALL[name]()
    data = made.proof.encode()
    places = signatures(data)
    assert places
    for at in places:
        changed = bytearray(data)
        changed[at] ^= 1
        # A disclosed claim is bound by the log entry that names it: nobody need have signed it.
        assert not proven_of(made, bytes(changed)) or name == "ignored"


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("equivocation", 2),
        ("equivocation", 3),
        ("unlogged", -1),
        ("ignored", -1),
        ("missed", -1),
        ("premature", -1),
    ],
)
def test_a_notes_signature_is_checked(name: str, at: int) -> None:
    made = guilt.ALL[name]()
    values = cbor.decode(made.proof.encode())
    # Another log's signature: base64 of a flipped one is mostly refused before.
    other = StoryValidator(STORY.validators[1].fleet, entries=STORY.validators[0].entries)
    of = values[at] if name == "equivocation" else values[at][3]
    body, line = of.rstrip("\n").rsplit(" ", 1)
    foreign = other.note().rstrip("\n").rsplit(" ", 1)[1]
    swapped = f"{body} {line[:6]}{foreign[6:]}\n"
    if name == "equivocation":
        values[at] = swapped
    else:
        values[at][3] = swapped
    proof = misbehaviour.parse(cbor.encode(values))
    assert refusal(made.file(proof)).reason == "bad-signature"


@pytest.mark.parametrize("name", ["disorder", "revived", "two-stories", "missed"])
def test_without_a_credential_nobody_is_convicted(name: str) -> None:
    assert "credential" in left(guilt.ALL[name]()._replace(credentials=[]).file())


VALIDATORS = sorted(set(guilt.ALL) - {"disorder", "revived", "two-stories"})


@pytest.mark.parametrize("name", VALIDATORS)
def test_an_unknown_validator_is_not_convicted(name: str) -> None:
    policy = STORY.policy.split("[validators]")[0]
    assert "no" in left(guilt.ALL[name]().file(), policy)


# --- gateways and logs ----------------------------------------------------------------------------


def test_a_gateways_stolen_key_convicts_it_of_nothing() -> None:
    made = guilt.two_stories()
    credential = guilt.stolen(STORY.acme, made.credentials[0])
    assert "compromised" in left(made._replace(credentials=[credential]).file())


def test_a_device_is_no_gateway() -> None:
    made = guilt.two_stories()
    assert left(made._replace(credentials=[STORY.giver.credential]).file())


def test_a_genesis_of_a_stolen_key_convicts_nobody() -> None:
    # The thief names a note key of his own and signs two logs with it.
    made = guilt.equivocation()
    credential = robbed(STORY.validators[0])
    file = made._replace(credentials=[credential]).file()
    assert "compromised" in left(file, STORY.root_policy)
    # A note key that the relying party pins was in nobody's genesis.
    assert report(file, STORY.policy).proven


def test_a_log_that_grows_is_one_log() -> None:
    log = Story().validators[0]
    first = log.note()
    with pytest.raises(TallyError) as caught:
        Equivocation(first, first, None)
    assert caught.value.reason == "no-contradiction"


# --- validators -----------------------------------------------------------------------------------


def test_a_true_verdict_is_not_false() -> None:
    made = guilt.false_verdict()
    finding = guilt.true_finding()
    true = FalseVerdict(STORY.validators[0].entries[-1], guilt.inputs_of(finding).encode())
    assert refusal(made.file(true)).reason == "no-contradiction"


def test_other_words_are_no_other_verdict() -> None:
    made = guilt.false_verdict()
    finding = guilt.true_finding()
    values = finding.values()[1:]
    values[7] = [[*row[:3], "In other words.", *row[4:]] for row in values[7]]
    said = guilt.said(STORY.validators[1], Finding(*values))
    assert verdict.parse(said).finding != finding
    proof = FalseVerdict(said, guilt.inputs_of(finding).encode())
    assert refusal(made.file(proof)).reason == "no-contradiction"
    with pytest.raises(TallyError) as caught:
        Disagreement(STORY.validators[0].entries[-1], said)
    assert caught.value.reason == "no-contradiction"


@pytest.mark.parametrize("at", [5, 6, 7, 8])
def test_what_a_finding_decides(at: int) -> None:
    finding = guilt.true_finding()
    values = finding.values()[1:]
    values[5 if at == 5 else at] = {
        5: "unresolved",
        6: [["giver", STORY.giver.id, "released", "silent"]],
        7: [[*row[:2], "fail", *row[3:]] for row in values[7]],
        8: [[*row[:4], "rotated", *row[5:]] for row in values[8]],
    }[at]
    assert decided(Finding(*values)) != decided(finding)


def test_undisclosed_claims_leave_a_verdict_unchecked() -> None:
    made = guilt.false_verdict()
    assert "not disclosed" in left(made._replace(halves=made.halves[:1]).file())
    assert "profile" in left(made._replace(profiles=()).file())


def test_inputs_that_the_rules_do_not_use_convict_nobody() -> None:
    # A validator of another version may have named more than it used.
    story = STORY
    made = guilt.false_verdict()
    finding = guilt.true_finding()
    used = guilt.inputs_of(finding)
    more = disclose(story.receiver, 1)
    named = FindingInputs(
        used.profile, used.namespace, used.interaction, used.parties, used.claims,
        [ClaimInput(bytes(32), story.receiver.id, bytes(32), "active", 0, False)], [], None,
    )  # fmt: skip
    values = guilt.lie(finding).values()[1:]
    values[0] = named.digest()
    proof = FalseVerdict(guilt.said(story.validators[1], Finding(*values)), named.encode())
    file = made._replace(halves=(*made.halves, more)).file(proof)
    assert "take up" in left(file)


def test_who_cannot_read_the_profile_is_taken_at_its_word() -> None:
    made = guilt.false_verdict()
    values = guilt.true_finding().values()[1:]
    values[5] = "insufficient"
    row = values[7][0]
    values[7] = [["profile", "known", "not_evaluated", "The profile is not known.", *row[4:]]]
    values[7][0][4] = []
    data = guilt.said(STORY.validators[1], Finding(*values))
    proof = FalseVerdict(data, guilt.inputs_of(guilt.true_finding()).encode())
    assert "cannot read the profile" in left(made.file(proof))


def test_a_validators_stolen_key_convicts_it_of_nothing() -> None:
    made = guilt.disagreement()
    credentials = [STORY.validators[0].credential, robbed(STORY.validators[1])]
    assert "compromised" in left(made._replace(credentials=credentials).file(), STORY.root_policy)


def test_a_receipt_restated_for_another_size_convicts_nobody() -> None:
    # A receipt does not sign its size: what an honest log receipted at 3 says nothing about 4.
    log = StoryValidator(STORY.validators[0].fleet)
    log.genesis()
    log.tick(0)
    log.tick(0)
    receipt = log.receipt(0)
    log.tick(5000)
    extract = guilt.hashes_of(log, {3})
    with pytest.raises(TallyError) as caught:
        Unlogged(log.entries[0], receipt, extract)
    assert caught.value.reason == "no-contradiction"


@pytest.mark.parametrize("ms", [0, 999])
def test_a_log_of_the_same_second_may_be_the_shorter_one(ms: int) -> None:
    entry, receipt, _ = guilt.unlogged().proof.fields()
    log = StoryValidator(STORY.validators[0].fleet)
    log.genesis()
    log.tick(ms)
    with pytest.raises(TallyError, match="past the receipt"):
        Unlogged(entry, receipt, guilt.hashes_of(log, {1}))


def test_anothers_log_convicts_nobody() -> None:
    for made, at in ((guilt.ignored(), 2), (guilt.baseless(), 2)):
        values = made.proof.fields()
        true = verdict.parse(values[0])
        log = STORY.validators[1]
        values[0] = true.sign(log.key, log.name, true.subject())
        proof = misbehaviour.parse(cbor.encode([36, made.proof.TYPE, *values]))
        assert at and refusal(made.file(proof)).reason == "no-contradiction"


def logged(log: StoryValidator, device: Device, index: int) -> int:
    """A claim of a device, logged under a checkpoint of its own."""
    sealed = next(one for one in device.stretches if one.first <= index < one.to)
    at = log.append(sealed.checkpoint)
    path = tree.inclusion_path(device.leaves, index, sealed.to)
    leaf = device.leaves[index]
    return log.append(LoggedClaim(device.id, device.epoch, index, leaf, at, path).encode())


def test_a_claim_that_is_not_the_missing_one_is_not_ignored() -> None:
    story = Story()
    device, log = story.receiver, story.validators[0]
    called = guilt.overlooking(story, 100)
    for task, name in (("order-4712", "acquired"), ("order-4711", "promised")):
        device.claim(task, "receiver", name, story.parties, story.profile.digest, item="x")
    device.seal()
    places = {index: logged(log, device, index) for index in (device.size - 2, device.size - 1)}
    assert story.took is not None
    places[story.took] = guilt.place_of(log, device)
    log.tick(1)
    for index, at in places.items():
        half = disclose(device, index).encode()
        made = partial(Ignored, called, half, guilt.whole(log, at, {at}))
        if index == story.took:
            made()
        else:
            assert refused(made) == "no-contradiction"


def test_a_claim_known_by_its_leaf_is_no_entry() -> None:
    based, claim, extract = guilt.baseless().proof.fields()
    values = verdict.parse(based).finding.values()[1:]
    values[8] = [[*row[:3], "?", *row[4:]] for row in values[8]]
    unread = guilt.said(STORY.validators[0], Finding(*values), 6)
    assert refused(partial(Baseless, unread, claim, extract)) == "no-contradiction"


def test_verdicts_on_other_inputs_may_differ() -> None:
    one, other = STORY.validators[0], Story(x="1.9").validators[1]
    assert guilt.true_finding().state != verdict.parse(other.entries[-1]).finding.state
    made = partial(Disagreement, one.entries[-1], other.entries[-1])
    assert refused(made) == "no-contradiction"


def test_a_claim_below_the_size_must_be_the_one_logged_there() -> None:
    called, half, _ = guilt.ignored().proof.fields()
    log = STORY.validators[0]
    at = guilt.place_of(log, STORY.giver)
    with pytest.raises(TallyError) as caught:
        Ignored(called, half, guilt.whole(log, at, {at}))
    assert caught.value.reason == "no-contradiction"


def test_nothing_follows_from_two_parties() -> None:
    one, other = STORY.gateways["acme"][0], STORY.gateways["borealis"][0]
    made = [
        GatewayHead(3, bytes([at]) * 32, START_MS).sign(key, name, key.public_key().thumbprint())
        for at, (key, name) in enumerate(((one, "acme"), (other, "borealis")))
    ]
    assert refused(partial(TwoStories, made[0], made[1], None)) == "no-contradiction"
    entry, receipt, _ = guilt.unlogged().proof.fields()
    log = StoryValidator(STORY.validators[1].fleet)
    log.genesis()
    log.tick(5000)
    extract = guilt.hashes_of(log, {1})
    assert refused(partial(Unlogged, entry, receipt, extract)) == "no-contradiction"


def test_a_longer_log_does_not_make_a_verdict_baseless() -> None:
    based, claim, _ = guilt.baseless().proof.fields()
    log = STORY.validators[0]
    late = StoryValidator(log.fleet, entries=log.entries)
    # All of the log is shown, and the claim is in it.
    with pytest.raises(TallyError, match="holds the claim"):
        Baseless(guilt.said(late, verdict.parse(based).finding), claim, guilt.whole(late))


@pytest.mark.parametrize("shown", [(0, 1), (2, 3)])
def test_a_convicted_validator_vouches_for_nothing(shown: tuple[int, int]) -> None:
    # Both for a party set and for a record that stands in none.
    whole = STORY.evidence()
    boots_and_claims = [whole.halves[at] for at in (0, 2, 1, 3)]
    entries = [one for one in whole.entries if shown == (2, 3) or one[0] not in verdicts()]
    policy = Policy.parse(STORY.policy.replace("at_least = 2", "at_least = 3"))
    for proofs, refuses in (([], False), ([guilt.ignored().proof.encode()], True)):
        file = EvidenceFile(
            whole.credentials, whole.profiles, [boots_and_claims[at] for at in shown], entries,
            whole.custody, whole.notes, None, whole.heads, proofs=proofs,
        )  # fmt: skip
        loaded = load_evidence(file.encode())
        if refuses:
            with pytest.raises(TallyError, match="2 of the 3"):
                check(loaded, policy, NOW_S)
        else:
            check(loaded, policy, NOW_S)


def verdicts() -> list[bytes]:
    return [log.entries[-1] for log in STORY.validators]


def test_a_receipt_out_of_its_keys_validity_convicts_nobody() -> None:
    log = STORY.validators[0]
    early = (1_600_000_000, START_MS // 1000 - 100)
    credential = log.fleet.enrol(log.key, SUBJECT_VALIDATOR, early)
    file = guilt.unlogged()._replace(credentials=[credential]).file()
    assert "was not valid" in left(file, STORY.root_policy)
