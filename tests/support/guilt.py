"""One of each misbehaviour by the parties of story.py, with the evidence file that proves it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from support.devices import WALL_MS, Device, Fleet
from support.story import START_MS, Story, StoryValidator, disclose
from tallystick.evidence import (
    custody,
    enrolment,
    extract,
    keychange,
    misbehaviour,
    note,
    score,
    tree,
    verdict,
)
from tallystick.evidence._proofs import Proof
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.deviceproofs import Disorder, Missed, Revived
from tallystick.evidence.entry import Closing, LoggedClaim, parse_entry
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.extract import Extract
from tallystick.evidence.finding import ClaimInput, Finding, FindingInputs, Missing
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.half import Half
from tallystick.evidence.headproofs import Equivocation, TwoStories
from tallystick.evidence.score import Score
from tallystick.evidence.verdict import Verdict
from tallystick.evidence.verdictproofs import (
    Baseless,
    Disagreement,
    FalseVerdict,
    Ignored,
    Premature,
    Unlogged,
)


class Guilt(NamedTuple):
    """A proof, and what stands beside it in its file."""

    story: Story
    proof: Proof
    credentials: list[list[bytes]]
    halves: tuple[Half, ...] = ()
    profiles: tuple[bytes, ...] = ()

    def file(self, *proofs: Proof) -> EvidenceFile:
        """The evidence file with this proof, or with others in its place."""
        entries: list[Any] = [(one.entries[0], []) for one in self.story.validators]
        return EvidenceFile(
            self.credentials, list(self.profiles), list(self.halves), entries, [], [], None, [],
            proofs=[one.encode() for one in proofs or (self.proof,)],
        )  # fmt: skip


@cache
def matched() -> Story:
    """A handover that matched, three validators' verdicts on it."""
    return Story()


# --- devices ------------------------------------------------------------------------------------


def put_back() -> tuple[Device, bytes, bytes]:
    """A device whose memory was put back: a later boot signed, then an earlier one, further on."""
    device = matched().acme.device("arm-1")
    device.record(3)
    image = device.clone()
    device.boot = 3
    late = device.record(2).checkpoint
    image.boot = 2
    return device, late, image.record(4).checkpoint


@cache
def disorder() -> Guilt:
    device, first, second = put_back()
    return Guilt(matched(), Disorder(first, second), [device.credential])


def two_epochs(*, counted: bool) -> tuple[Device, Device, Half]:
    """A device, itself in its next epoch, and the first record of that."""
    device = matched().acme.device("arm-1")
    device.counter = 7 if counted else None
    device.record(3)
    later = device.new_epoch(b"epoch--2")
    later.counter = 8 if counted else None
    later.record(2)
    return device, later, disclose(later, 0)


@cache
def revived() -> Guilt:
    device, _, first = two_epochs(counted=True)
    device.counter = 9
    head = device.record(1).checkpoint
    return Guilt(matched(), Revived(head, [first.encode()], None), [device.credential])


def chain(epochs: int) -> Revived:
    """A head signed so many epochs too late."""
    first = device = matched().acme.device("arm-1")
    device.counter = 7
    device.record(1)
    lineage = []
    for number in range(epochs):
        device = device.new_epoch(b"epoch" + number.to_bytes(3, "big"))
        device.counter = 7
        device.record(1)
        lineage.append(disclose(device, 0).encode())
    first.counter = 8
    return Revived(first.record(1).checkpoint, lineage, None)


@cache
def revived_by_receipt() -> Guilt:
    device, later, first = two_epochs(counted=False)
    signer, _ = matched().gateways["acme"]
    made = CustodyReceipt(later.epoch, 0, later.size, later.root, True, START_MS)
    data = made.sign(signer, "acme", device.id)
    device.custody = custody.parse(data).digest
    head = device.record(1).checkpoint
    return Guilt(matched(), Revived(head, [first.encode()], data), [device.credential])


def log_with_a_gap(
    steps_s: tuple[int, ...] = (50, 50, 50), *, back: bool = True
) -> tuple[Device, StoryValidator]:
    """A validator's log that hears a device, then for some time not; `back`: and then again."""
    story = matched()
    log = StoryValidator(story.validators[0].fleet)
    device = story.acme.device("arm-1")
    log.genesis()
    log.tick(0)
    log.append(device.seal().checkpoint)
    for step_s in steps_s:
        log.tick(step_s * 1000)
    if back:
        log.append(device.record(1).checkpoint)
        log.tick(0)
    return device, log


def whole(log: StoryValidator, first: int = 0, wanted: set[int] | None = None) -> Extract:
    """An extract of everything from `first` on, or of some entries."""
    size = len(log.entries)
    chosen = set(range(first, size)) if wanted is None else wanted
    return extract.cut(log.entries, note.parse(log.note()), first, chosen)


@cache
def missed() -> Guilt:
    device, log = log_with_a_gap()
    return Guilt(matched(), Missed(device.id, whole(log, 1)), [device.credential])


# --- gateways and logs ----------------------------------------------------------------------------


def leaves(text: bytes, count: int) -> list[bytes]:
    return [tree.leaf_hash(text + bytes([at])) for at in range(count)]


def gateway_head(story_leaves: list[bytes]) -> bytes:
    """A head that the gateway of acme signed."""
    signer, _ = matched().gateways["acme"]
    head = GatewayHead(len(story_leaves), tree.root_of(story_leaves), START_MS)
    return head.sign(signer, "acme", signer.public_key().thumbprint())


@cache
def two_stories() -> Guilt:
    one, other = leaves(b"one", 5), leaves(b"other", 8)
    inside = [tree.root_of(other[:5]), tree.consistency_path(other, 5)]
    proof = TwoStories(gateway_head(one), gateway_head(other), inside)
    return Guilt(matched(), proof, [matched().gateways["acme"][1]])


@cache
def equivocation() -> Guilt:
    one, other = matched().validators[0], Story(x="1.7").validators[0]
    other.tick(1)
    at = len(one.entries)
    inside = [tree.root_of(other.leaves[:at]), tree.consistency_path(other.leaves, at)]
    return Guilt(matched(), Equivocation(one.note(), other.note(), inside), [])


# --- validators -----------------------------------------------------------------------------------


def said(log: StoryValidator, finding: Finding, size: int | None = None) -> bytes:
    """A verdict of a validator."""
    made = Verdict(finding, len(log.entries) if size is None else size, None, [], log.time_ms)
    return made.sign(log.key, log.name, made.subject())


def true_finding(story: Story | None = None) -> Finding:
    """What the validators of the story found."""
    return verdict.parse((story or matched()).validators[0].entries[-1]).finding


def inputs_of(finding: Finding) -> FindingInputs:
    """The inputs that give a finding in which every slot is filled."""
    leaf = {}
    for data in matched().validators[0].entries:
        entry = parse_entry(data)
        if isinstance(entry, LoggedClaim):
            leaf[entry.reference()] = entry.leaf
    rows = [
        ClaimInput(row.claim, row.device, leaf[row.claim], row.status, row.custody, True)
        for row in finding.claims
    ]
    return FindingInputs(
        finding.profile, finding.namespace, finding.interaction, finding.parties, rows, [], [], None
    )


def lie(finding: Finding, state: str = "conflicting") -> Finding:
    """The same finding in another state."""
    values = finding.values()[1:]
    values[5] = state
    return Finding(*values)


def claims_of(
    story: Story,
) -> tuple[list[list[bytes]], tuple[Half, ...], tuple[bytes, ...]]:
    """Credentials of the devices, their claims, and the profile."""
    assert story.took is not None
    halves = (disclose(story.giver, story.gave), disclose(story.receiver, story.took))
    return (
        [story.giver.credential, story.receiver.credential],
        halves,
        (story.profile.encode(),),
    )


@cache
def false_verdict() -> Guilt:
    story = matched()
    finding = true_finding()
    data = said(story.validators[1], lie(finding))
    proof = FalseVerdict(data, inputs_of(finding).encode())
    return Guilt(story, proof, *claims_of(story))


@cache
def unlogged() -> Guilt:
    """A validator that receipted a checkpoint, and whose log then goes on without it."""
    one = matched().validators[0]
    entry = one.entries[3]
    receipt = one.receipt(3)
    other = StoryValidator(one.fleet)
    other.genesis()
    other.tick(0)
    other.tick(5000)
    other.append(one.entries[2])
    return Guilt(matched(), Unlogged(entry, receipt, hashes_of(other, {2})), [])


def hashes_of(log: StoryValidator, given: set[int]) -> Extract:
    """A whole log by the hashes of its entries, some of them in full."""
    items = [
        data if at in given else (0, tree.leaf_hash(data)) for at, data in enumerate(log.entries)
    ]
    return Extract(0, [], items, log.note())


def overlooking(story: Story, size: int | None = None) -> bytes:
    """A verdict that calls the receiver's claim missing."""
    finding = true_finding(story)
    values = finding.values()[1:]
    values[5] = "one_sided"
    values[6] = [list(Missing("receiver", story.receiver.id, "acquired", "unheard"))]
    return said(story.validators[0], Finding(*values), size)


def place_of(log: StoryValidator, device: Device) -> int:
    """Where a device's claim is logged."""
    for at, data in enumerate(log.entries):
        entry = parse_entry(data)
        if isinstance(entry, LoggedClaim) and entry.device == device.id:
            return at
    message = "no claim of the device is logged"
    raise ValueError(message)


@cache
def ignored() -> Guilt:
    story = matched()
    log = story.validators[0]
    at = place_of(log, story.receiver)
    assert story.took is not None
    claim = disclose(story.receiver, story.took)
    proof = Ignored(overlooking(story), claim.encode(), whole(log, at, {at}))
    return Guilt(story, proof, [])


@cache
def baseless() -> Guilt:
    """A verdict on two claims, by a validator whose log holds one."""
    story = matched()
    one = story.validators[0]
    log = StoryValidator(one.fleet, entries=one.entries[: place_of(one, story.receiver)])
    log.tick(20)
    finding = true_finding()
    claim = next(row.claim for row in finding.claims if row.device == story.receiver.id)
    return Guilt(story, Baseless(said(log, finding), claim, whole(log)), [])


@cache
def disagreement() -> Guilt:
    story = matched()
    finding = true_finding()
    first, second = story.validators[0].entries[-1], said(story.validators[1], lie(finding))
    return Guilt(story, Disagreement(first, second), [])


def closed_log(steps_ms: tuple[int, ...] = (20_000, 39_999)) -> StoryValidator:
    """A log with a claim, some time entries, and the closing of its party set (60 s)."""
    story = Story(answers=False)
    log = StoryValidator(story.validators[0].fleet)
    log.genesis()
    log.tick(0)
    true = [parse_entry(data) for data in story.validators[0].entries]
    log.append(next(one.encode() for one in true if isinstance(one, LoggedClaim)))
    for step_ms in steps_ms:
        log.tick(step_ms)
    one = next(one for one in true if isinstance(one, Closing))
    made = Closing(one.namespace, one.interaction, one.party_set, 2, one.deadline_ms)
    log.append(made.encode())
    log.tick(0)
    return log


@cache
def premature() -> Guilt:
    return Guilt(matched(), Premature(5, whole(closed_log(), 1, {1, 4, 5})), [])


def stolen(fleet: Fleet, credential: list[bytes]) -> list[bytes]:
    """The credential, longer by the revocation of its first key as compromised."""
    id_ = enrolment.parse(credential[0]).id
    made = keychange.Revocation(id_, id_, None, keychange.COMPROMISED, WALL_MS)
    return [*credential, made.sign(fleet.root, fleet.name, id_)]


ALL: dict[str, Callable[[], Guilt]] = {
    made.__name__.replace("_", "-"): made
    for made in (
        *(disorder, revived, two_stories, missed, equivocation),
        *(false_verdict, unlogged, ignored, baseless, disagreement, premature),
    )
}


def the_score() -> Score:
    """A score of one log, one validator and one gateway."""
    log, gateway = matched().validators[0], matched().gateways["acme"][0]
    return Score(
        START_MS, START_MS + 60_000,
        [[log.origin, len(log.entries), tree.root_of(log.leaves)]],
        [[log.origin, 3, 2, 1, 1, [10, 20, 30], 0]],
        [[gateway.public_key().thumbprint(), 1, 3, 3, 0, None, 1]],
        [bytes(32)],
    )  # fmt: skip


def scored(proofs: int) -> Score:
    """A score with so many proofs."""
    hashes = [number.to_bytes(32, "big") for number in range(proofs)]
    return Score(0, 1, [["log", 1, bytes(32)]], [], [], hashes)


def signed_score() -> bytes:
    """It, signed by a fleet root."""
    return the_score().sign(matched().acme.root, "acme", "score")


def examples() -> list[tuple[str, str, bytes, Callable[[bytes], Any]]]:
    """One of every type of proof, and a score."""
    found = [
        (f"misbehaviour, {name}", name, made().proof.encode(), misbehaviour.parse)
        for name, made in ALL.items()
    ]
    by_receipt = revived_by_receipt().proof.encode()
    return [
        *found,
        ("misbehaviour, revived by receipt", "revived", by_receipt, misbehaviour.parse),
        ("score", "score", signed_score(), score.parse),
    ]
