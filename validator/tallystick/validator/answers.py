"""What the read interface answers, as types: the OpenAPI document is made of them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{43}$", description="32 bytes, base64url")]
Digest = Id
Epoch = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{11}$", description="8 bytes, base64url")]
InteractionId = Annotated[
    str, Meta(pattern="^[A-Za-z0-9_-]{22}$", description="16 bytes, base64url")
]
Octets = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]*$", description="bytes, base64url")]
Index = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[int, Meta(ge=0, description="since 1970-01-01 UTC")]
STATES = ("pending", "matched", "conflicting", "one_sided", "insufficient", "unresolved")
Custody = Literal["software", "pkcs11", "tpm", "secure-element"]
State = Literal["pending", "matched", "conflicting", "one_sided", "insufficient", "unresolved"]


class Problem(Struct, omit_defaults=True):
    """A refusal; `size` tells a gateway from where to send, `refusals` how long not to."""

    reason: str
    title: str
    status: int
    size: int | None = None
    refusals: list[Octets] = []


class Health(Struct):
    """Alive."""

    status: Literal["ok"]


class Entry(Struct):
    """One entry of the log."""

    index: Index
    kind: Index
    time_ms: Milliseconds
    leaf: Digest
    data: Octets


class Entries(Struct):
    """Entries from `start` on; `size` is that of the newest published checkpoint."""

    size: Index
    start: Index
    entries: list[Entry]


class DeviceLog(Struct):
    """One epoch of a device: what is known of its log."""

    epoch: Epoch
    size: Index
    began: Index
    covered: Index
    claims: Index
    claims_signed: Index
    complete: bool
    lost_at: Index | None
    checkpoint: Digest | None


class EvidenceLeft(Struct):
    """Evidence of custody that was not checked, and so counts for nothing."""

    type: str
    why: str


class HeldKey(Struct):
    """One key: `custody` is what counts (docs/protocol.md, 5.3), `claimed` what its root says."""

    key: Digest
    alg: Literal["ES256", "EdDSA"]
    status: Literal["active", "rotated", "retired", "lost", "compromised"]
    custody: Custody
    claimed: Custody
    shown: list[str]
    not_proven: list[str]
    not_checked: list[EvidenceLeft]


class Device(Struct):
    """Who it is, what is held of it, and what it contradicted; `custody` of its current key."""

    id: Id
    subject: Literal["device", "gateway", "validator"]
    iss: str
    status: Literal["active", "retired", "lost", "compromised", "suspect", "unvouched"]
    suspect: str | None
    custody: Custody
    keys: list[HeldKey]
    decisions: Index
    claims: Index
    events: Index
    halves: Index
    refused: Index
    forks: Index
    time_evidence_missing: Index
    since_ms: Milliseconds
    heard_ms: Milliseconds | None
    logs: list[DeviceLog]


class Devices(Struct):
    """A page of them; `decisions` is the total of all devices."""

    total: Index
    decisions: Index
    devices: list[Device]
    next: Id | None


class Claim(Struct):
    """A logged claim; its body is in the evidence, for those who may read it."""

    claim: Digest
    device: Id
    epoch: Epoch
    index: Index
    leaf: Digest
    entry: Index
    time_ms: Milliseconds


class PartySet(Struct):
    """One party set and its newest finding."""

    namespace: str
    interaction: InteractionId
    party_set: Digest
    profile: Digest
    parties: dict[str, list[Id]]
    state: State
    first: Index
    due_ms: Milliseconds | None
    closing: Index | None
    verdict: Digest | None
    verdict_entry: Index | None


class Interactions(Struct):
    """A page of party sets, in the order in which they were first heard of."""

    interactions: list[PartySet]
    next: Index | None


class InteractionSet(Struct):
    """A party set with its claims."""

    summary: PartySet
    claims: list[Claim]


class Interaction(Struct):
    """All party sets of one interaction."""

    namespace: str
    interaction: InteractionId
    sets: list[InteractionSet]


class Verdict(Struct):
    """A signed verdict with the receipt that it is logged."""

    entry: Index
    digest: Digest
    state: State
    namespace: str
    interaction: InteractionId
    party_set: Digest
    newest: bool
    statement: Octets
    receipt: Octets


class Verdicts(Struct):
    """Verdicts after an entry; ask again with `after` = `next`."""

    size: Index
    verdicts: list[Verdict]
    next: Index


class Fork(Struct):
    """Two signed heads that contradict each other."""

    id: Id
    epoch: Epoch | None
    reason: str
    ours: Octets | None
    theirs: Octets
    proof: Octets | None
    time_ms: Milliseconds
    # Of a device the fork proof of docs/protocol.md, 5.4; of a gateway the two stories of 9.3.
    portable: Octets | None


class Forks(Struct):
    """What a device or gateway contradicted."""

    forks: list[Fork]


class ForkProof(Struct):
    """A portable fork proof (docs/protocol.md, 5.4)."""

    device: Id
    epoch: Epoch
    proof: Octets
    time_ms: Milliseconds


class ForkProofs(Struct):
    """The newest fork proofs."""

    forks: list[ForkProof]


class SplitView(Struct):
    """Two checkpoints of one size with two roots, both signed by the log."""

    size: Index
    ours: str
    theirs: str
    time_ms: Milliseconds


class WitnessedLog(Struct):
    """What was cosigned last of a log: its checkpoint with both signatures, and when."""

    origin: str
    size: Index
    note: str
    time_s: Annotated[int, Meta(ge=0, description="since 1970-01-01 UTC")]
    split: list[SplitView]


class Witnessed(Struct):
    """The logs that are witnessed here."""

    logs: list[WitnessedLog]


class Head(Struct):
    """The newest signed head of one log; `entry` is where it is logged."""

    device: Id
    epoch: Epoch
    size: Index
    entry: Index
    statement: Octets


class KeyChangeAt(Struct):
    """A key change of an id, by its digest, and where it is logged."""

    id: Id
    digest: Digest
    entry: Index


class Heads(Struct):
    """Heads and key changes logged after an entry; ask again with `after` = `next`."""

    heads: list[Head]
    changes: list[KeyChangeAt]
    next: Index


class Consistency(Struct):
    """The roots of a log at two sizes, and the path between them (RFC 9162, 2.1.4)."""

    device: Id
    epoch: Epoch
    size1: Index
    root1: Digest
    size2: Index
    root2: Digest
    path: list[Digest]


class PublishedCredential(Struct):
    """What became of one credential: where its newest statement is logged, or why it is not."""

    id: str
    digest: Digest | None
    entry: Index | None
    reason: str | None


class Published(Struct):
    """The answer to a publication, in its order."""

    credentials: list[PublishedCredential]


class Erased(Struct):
    """An erasure that was done: its digest, where it is logged, and how many bodies went."""

    digest: Digest
    entry: Index
    bodies: Index


class HoldWanted(Struct, forbid_unknown_fields=True):
    """What is put on hold: one of a fleet, a device, a namespace, and one interaction in it."""

    why: Annotated[str, Meta(min_length=1, max_length=256)]
    fleet: Annotated[str, Meta(pattern="^[a-z0-9.-]{1,20}$")] | None = None
    device: Id | None = None
    namespace: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    interaction: InteractionId | None = None


class Hold(Struct):
    """Bodies that are kept, whatever retention says and whoever asks; `by` an operator's name."""

    name: str
    fleet: str | None
    device: Id | None
    namespace: str | None
    interaction: InteractionId | None
    why: str
    by: str
    since_ms: Milliseconds


class Holds(Struct):
    """All of them."""

    holds: list[Hold]


PeerFileState = Literal["in-force", "expires-soon", "expired", "not-yet", "refused"]


class ImportedPeer(Struct):
    """An organisation of the peers folder: `problem` is why its newest file changes nothing."""

    name: str
    organisation: str
    state: PeerFileState
    valid_until_s: Index | None
    problem: str | None


PeerState = Literal["not-asked", "answers", "away"]
