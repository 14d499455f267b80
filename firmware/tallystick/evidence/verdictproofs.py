"""Proofs about what validators say (docs/protocol.md, 9.4): verdicts, and receipts."""

# CPython only

from tallystick.evidence import _shape as shape
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import claim as claims
from tallystick.evidence import finding as findings
from tallystick.evidence import half, receipt
from tallystick.evidence._proofs import WHAT, Proof, extract_in, nothing, verdict_in
from tallystick.evidence.cbor import encode
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry, parse_entry
from tallystick.evidence.errors import Malformed
from tallystick.evidence.extract import Extract
from tallystick.evidence.finding import Finding
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.leaf import leaf
from tallystick.evidence.limits import ENTRY_BYTES_MAX, HALF_BYTES_MAX, RECEIPT_BYTES_MAX
from tallystick.evidence.tree import leaf_hash

# Type checkers take this name as true; the house's files import no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class FalseVerdict(Proof):
    """A verdict and the inputs that it names; the claims stand beside it in the file."""

    TYPE, NAME = 5, "false verdict"

    def __init__(self, verdict_: bytes, inputs: bytes) -> None:
        self.verdict = verdict_in(verdict_)
        self.inputs = findings.parse_inputs(inputs)
        if self.inputs.digest() != self.verdict.finding.inputs:
            raise nothing("these are not the inputs that the verdict names")

    def fields(self) -> "list[Any]":
        return [self.verdict.encode(), self.inputs.encode()]


class Unlogged(Proof):
    """A receipt over an entry that the validator's log, grown past the receipt, does not hold."""

    TYPE, NAME = 6, "receipt without an entry"

    def __init__(self, entry: bytes, receipt_: bytes, extract: "Any") -> None:
        self.entry = shape.blob(entry, ENTRY_BYTES_MAX, WHAT)
        parse_entry(entry)
        self.receipt = receipt.parse(shape.blob(receipt_, RECEIPT_BYTES_MAX, WHAT))
        self.extract = extract_in(extract)
        if self.receipt.sub != self.extract.note.origin:
            raise nothing("the receipt is of another log")
        leaves = self.extract.leaves()
        if leaves is None:
            raise nothing("not every entry of the log is shown, by its hash at least")
        if leaf_hash(entry) in leaves:
            raise nothing("the log holds the entry")
        # A receipt does not sign its size, so only time shows that the log is past it.
        times = [parse_entry(data) for data in self.extract.entries.values()]
        after = [one for one in times if isinstance(one, TimeEntry)]
        if not any(one.time_ms // 1000 > self.receipt.iat for one in after):
            raise nothing("the log is not shown to be past the receipt's time")

    def fields(self) -> "list[Any]":
        return [self.entry, self.receipt.encode(), self.extract.array()]


class Ignored(Proof):
    """A verdict that misses a claim which the validator had logged before."""

    TYPE, NAME = 7, "ignored claim"

    def __init__(self, verdict_: bytes, disclosed: bytes, extract: "Any") -> None:
        self.verdict = verdict_in(verdict_)
        self.half = half.parse(shape.blob(disclosed, HALF_BYTES_MAX, WHAT))
        self.extract = extract_in(extract)
        self.head = checkpoints.parse(self.half.checkpoint)
        claim = claims.parse(self.half.record)
        finding = self.verdict.finding
        ours = (finding.namespace, finding.interaction, finding.profile, finding.parties)
        of = (claim.namespace, claim.interaction_id(), claim.profile, claim.parties)
        if ours != of:
            raise nothing("the claim is of another party set")
        slot = (claim.role, self.head.device, claim.claim)
        if slot not in [(row.role, row.device, row.claim) for row in finding.missing]:
            raise nothing("the verdict does not call the claim missing")
        leaf_ = leaf(self.half.salt, self.half.record)
        reference = claim_reference(self.head.device, self.head.epoch, self.half.index, leaf_)
        self.at = _logged(self.extract, reference)
        if self.at is None or self.at >= self.verdict.size:
            raise nothing("the log does not hold the claim below the size that the verdict read")

    def fields(self) -> "list[Any]":
        return [self.verdict.encode(), self.half.encode(), self.extract.array()]


class Baseless(Proof):
    """A verdict on a claim that the log which it read does not hold."""

    TYPE, NAME = 8, "verdict without its claim"

    def __init__(self, verdict_: bytes, claim: bytes, extract: "Any") -> None:
        self.verdict = verdict_in(verdict_)
        self.claim = shape.octets(claim, shape.HASH_SIZE, WHAT)
        self.extract = extract_in(extract)
        rows = [row for row in self.verdict.finding.claims if row.claim == claim]
        # What is known by its leaf only is no entry (docs/reconciliation.md, 2).
        if not rows or rows[0].name == "?":
            raise nothing("the verdict does not rest on the body of this claim")
        if not self.extract.whole_below(self.verdict.size):
            raise nothing("not every entry that the verdict read is shown")
        at = _logged(self.extract, claim)
        if at is not None and at < self.verdict.size:
            raise nothing("the log holds the claim")

    def fields(self) -> "list[Any]":
        return [self.verdict.encode(), self.claim, self.extract.array()]


def _logged(extract: Extract, reference: bytes) -> "int | None":
    for at in sorted(extract.entries):
        try:
            one = parse_entry(extract.entries[at])
        except Malformed:
            continue  # a log may hold what this version does not know; it is no such claim
        if isinstance(one, LoggedClaim) and one.reference() == reference:
            return at
    return None


class Disagreement(Proof):
    """Two verdicts on equal inputs that decide differently: one of the two does not follow."""

    TYPE, NAME = 9, "two verdicts on equal inputs"

    def __init__(self, first: bytes, second: bytes) -> None:
        self.first, self.second = verdict_in(first), verdict_in(second)
        if self.first.finding.inputs != self.second.finding.inputs:
            raise nothing("the verdicts rest on different inputs")
        if decided(self.first.finding) == decided(self.second.finding):
            raise nothing("the verdicts decide the same")

    def fields(self) -> "list[Any]":
        return [self.first.encode(), self.second.encode()]


class Premature(Proof):
    """A closing that came before the deadline which it names, by the log's own times.

    `closed_ms` is its log time, `first_ms` one that the first claim's is not below.
    """

    TYPE, NAME = 10, "closing before its deadline"

    def __init__(self, at: int, extract: "Any") -> None:
        self.at = shape.uint(at, WHAT)
        self.extract = extract_in(extract)
        given = {index: parse_entry(data) for index, data in self.extract.entries.items()}
        closing = given.get(at)
        if not isinstance(closing, Closing):
            raise nothing("no closing is given at this index")
        self.closing = closing
        back = at - 1
        while back in given and not isinstance(given[back], TimeEntry):
            back -= 1
        before = given.get(back)
        times = [
            one.time_ms
            for index, one in given.items()
            if isinstance(one, TimeEntry) and index < closing.first
        ]
        if not isinstance(before, TimeEntry) or not times:
            raise nothing("the log times of the closing and before the first claim are not shown")
        self.closed_ms = before.time_ms
        self.first_ms = max(times)
        if self.closed_ms >= self.first_ms + closing.deadline_ms:
            raise nothing("the deadline may have passed")

    def fields(self) -> "list[Any]":
        return [self.at, self.extract.array()]


def decided(finding: Finding) -> bytes:
    """What a finding decides, encoded; words and shown values are left out, as they convict nobody.

    So an older or newer program that says the same in another sentence is no liar.
    """
    checks = [[one.check, one.name, one.result, one.blamed] for one in finding.checks]
    missing = [list(row) for row in finding.missing]
    claims = [list(row) for row in finding.claims]
    return encode([finding.state, missing, checks, claims])
