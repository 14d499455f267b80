"""Finding verdicts that do not follow, and receipts without an entry (proving.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import Any

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import claim as claims
from tallystick.evidence import custody, extract, receipt
from tallystick.evidence import profile as profiles
from tallystick.evidence._proofs import Proof
from tallystick.evidence.claim import Claim
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.extract import Extract
from tallystick.evidence.finding import ClaimInput, Finding, FindingInputs, TimeInput
from tallystick.evidence.half import Half
from tallystick.evidence.kinds import CLAIM
from tallystick.evidence.profile import Profile
from tallystick.evidence.tree import leaf_hash
from tallystick.evidence.verdict import Verdict
from tallystick.evidence.verdictproofs import (
    Baseless,
    Disagreement,
    FalseVerdict,
    Ignored,
    Premature,
    Unlogged,
    decided,
)
from tallystick.verify._proofwords import by_reference
from tallystick.verify.inputs import KnownClaim, PartySetInputs, TimeEvidence
from tallystick.verify.logcopy import LogCopy
from tallystick.verify.reconcile import UNKNOWN, find

COMBINATIONS_MAX = 64

Disclosed = dict[bytes, tuple[Half, Claim]]
Receipts = dict[bytes, CustodyReceipt]


def unlogged(logs: Sequence[LogCopy], files: Sequence[EvidenceFile]) -> Iterator[Proof]:
    """Receipts in evidence files over entries that the whole log does not hold, one a log."""
    for log in logs:
        leaves = set(log.leaves)
        missing = (
            (entry, data)
            for file in files
            for entry, receipts in file.entries
            if leaf_hash(entry) not in leaves
            for data in receipts
        )
        for entry, data in missing:
            proof = _unlogged(log, entry, data)
            if proof is not None:
                yield proof
                break


def _unlogged(log: LogCopy, entry: bytes, data: bytes) -> Proof | None:
    try:
        given = receipt.parse(data)
        after = next(
            at
            for at, one in enumerate(log.parsed)
            if isinstance(one, TimeEntry) and one.time_ms // 1000 > given.iat
        )
        items = [one if at == after else (0, leaf) for at, (one, leaf) in _with_leaves(log)]
        return Unlogged(entry, data, Extract(0, [], items, log.note))
    except (TallyError, StopIteration):
        return None


def _with_leaves(log: LogCopy) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    return enumerate(zip(log.entries, log.leaves, strict=True))


def disclosed(halves: Sequence[Half]) -> Disclosed:
    """The claims among disclosed records, by reference."""
    found: Disclosed = {}
    for reference, half in by_reference(halves).items():
        if half.record[1:2] == bytes((CLAIM,)):
            found[reference] = half, claims.parse(half.record)
    return found


def ignored(logs: Sequence[LogCopy], halves: Sequence[Half]) -> Iterator[Proof]:
    """Verdicts that call a claim missing which their log held before, as far as disclosed."""
    by_slot: dict[tuple[object, ...], list[tuple[bytes, Half]]] = {}
    for reference, (half, body) in disclosed(halves).items():
        device = checkpoints.parse(half.checkpoint).device
        key = (body.namespace, body.interaction_id(), body.role, device, body.claim)
        by_slot.setdefault(key, []).append((reference, half))
    for log in logs:
        for _, verdict in log.verdicts:
            finding = verdict.finding
            for row in finding.missing:
                key = (finding.namespace, finding.interaction, row.role, row.device, row.claim)
                for reference, half in by_slot.get(key, ()):
                    at = log.claims.get(reference)
                    if at is None or at >= verdict.size:
                        continue
                    cut = extract.cut(log.entries, log.note, at, {at})
                    try:
                        yield Ignored(verdict.encode(), half.encode(), cut)
                    except TallyError:
                        continue


def baseless(logs: Sequence[LogCopy]) -> Iterator[Proof]:
    """The first verdict of each log on a claim that the log did not hold when it was read."""
    for log in logs:
        proof = next(iter(_baseless(log)), None)
        if proof is not None:
            yield proof


def _baseless(log: LogCopy) -> Iterator[Proof]:
    for _, verdict in log.verdicts:
        for row in verdict.finding.claims:
            if row.name != UNKNOWN and log.claims.get(row.claim, log.size) >= verdict.size:
                whole = extract.cut(log.entries, log.note, 0, set(range(verdict.size)))
                try:
                    yield Baseless(verdict.encode(), row.claim, whole)
                except TallyError:
                    continue


def premature(logs: Sequence[LogCopy]) -> Iterator[Proof]:
    """The first closing of each log that came before its deadline."""
    for log in logs:
        for at, entry in enumerate(log.parsed):
            if not isinstance(entry, Closing) or entry.first >= at:
                continue
            if log.times_ms[at] >= log.times_ms[entry.first] + entry.deadline_ms:
                continue
            begin, back = _time_before(log, entry.first), _time_before(log, at)
            wanted = {begin, *range(back, at + 1)}
            try:
                yield Premature(at, extract.cut(log.entries, log.note, begin, wanted))
            except TallyError:
                continue
            break


def _time_before(log: LogCopy, at: int) -> int:
    at -= 1
    while at > 0 and not isinstance(log.parsed[at], TimeEntry):
        at -= 1
    return at


def disagreements(logs: Sequence[LogCopy]) -> Iterator[Proof]:
    """Pairs of verdicts on equal inputs that decide differently, one for each pair of logs."""
    by_inputs: dict[bytes, list[tuple[str, Verdict]]] = {}
    for log in logs:
        for _, verdict in log.verdicts:
            by_inputs.setdefault(verdict.finding.inputs, []).append((log.origin, verdict))
    seen: set[tuple[str, str]] = set()
    for said in by_inputs.values():
        for at, (one_origin, one) in enumerate(said):
            for other_origin, other in said[at + 1 :]:
                pair = (one_origin, other_origin)
                if pair not in seen and decided(one.finding) != decided(other.finding):
                    seen.add(pair)
                    yield Disagreement(one.encode(), other.encode())


# --- false verdicts ---------------------------------------------------------------------------


def false(
    logs: Sequence[LogCopy], files: Sequence[EvidenceFile]
) -> Iterator[tuple[Proof, list[Half], list[bytes]]]:
    """Verdicts that do not follow from their inputs, with the claims and profile that show it."""
    known = disclosed([half for file in files for half in file.halves])
    by_digest: dict[bytes, Profile] = {}
    for file in files:
        for data in file.profiles:
            made = profiles.parse(data)
            by_digest[made.digest] = made
    given = [custody.parse(data) for file in files for data in file.custody]
    for log in logs:
        receipts = {one.digest: one for one in [*given, *(one for _, one in log.custody)]}
        for _, verdict in log.verdicts:
            profile = by_digest.get(verdict.finding.profile)
            if profile is None:
                continue
            found = _judge(log, verdict, profile, known, receipts)
            if found is not None:
                yield found


def _judge(
    log: LogCopy, verdict: Verdict, profile: Profile, known: Disclosed, receipts: Receipts
) -> tuple[Proof, list[Half], list[bytes]] | None:
    finding = verdict.finding
    inputs = _inputs(log, finding, known, receipts)
    if inputs is None:
        return None
    right = find(
        PartySetInputs(
            profile,
            inputs.namespace,
            inputs.interaction,
            inputs.parties,
            [_claim(row, known) for row in inputs.claims],
            [_claim(row, known) for row in inputs.others],
            closed=bool(inputs.closed),
            silence=[TimeEvidence(*row) for row in inputs.times],
        )
    )
    if right.inputs != finding.inputs or decided(right) == decided(finding):
        return None
    rows = [*inputs.claims, *inputs.others]
    halves = [known[row.claim][0] for row in rows if row.claim in known]
    return FalseVerdict(verdict.encode(), inputs.encode()), halves, [profile.encode()]


def _claim(row: ClaimInput, known: Disclosed) -> KnownClaim:
    half, body = known[row.claim] if row.readable else (None, None)
    epoch = bytes(8) if half is None else checkpoints.parse(half.checkpoint).epoch
    at = 0 if half is None else half.index
    return KnownClaim(row.claim, row.device, epoch, at, row.leaf, body, row.status, row.custody)


def _inputs(
    log: LogCopy, finding: Finding, known: Disclosed, receipts: Receipts
) -> FindingInputs | None:
    """The inputs whose digest the finding names; None where they cannot be put together."""
    leaves = {one.reference(): one.leaf for one in log.parsed if isinstance(one, LoggedClaim)}
    rows: list[ClaimInput] = []
    named: list[tuple[Any, bool]] = [(row, row.name != UNKNOWN) for row in finding.claims]
    named += [(row, True) for row in finding.others]
    for given, readable in named:
        leaf = leaves.get(given.claim)
        if leaf is None or (readable and given.claim not in known):
            return None
        made = ClaimInput(given.claim, given.device, leaf, given.status, given.custody, readable)
        rows.append(made)
    own = len(finding.claims)
    closed = True if finding.missing else None
    silent = sorted({row.device for row in finding.missing if row.absence == "silent"})
    choices = [_evidence(log, device, receipts) for device in silent]
    for times in islice(product(*choices), COMBINATIONS_MAX):
        try:
            inputs = FindingInputs(
                finding.profile, finding.namespace, finding.interaction, finding.parties,
                rows[:own], rows[own:], list(times), closed,
            )  # fmt: skip
        except Malformed:
            return None
        if inputs.digest() == finding.inputs:
            return inputs
    return None


def _evidence(log: LogCopy, device: bytes, receipts: Receipts) -> list[TimeInput]:
    return [
        TimeInput(device, head.digest, head.custody, receipts[head.custody].time_ms)
        for (maker, _), heads in log.heads.items()
        if maker == device
        for _, head in heads
        if head.custody in receipts
    ]
