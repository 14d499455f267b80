"""A score of validators and gateways over a period (docs/protocol.md, 10), from whole logs alone.

Pure: the same logs, period and proofs give the same score, whoever computes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallystick.evidence import enrolment, genesis, keychange
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.enrolment import SUBJECT_DEVICE, SUBJECT_GATEWAY
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.finding import Finding
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.score import GatewayScore, Score, ScoreLog, ValidatorScore, in_order
from tallystick.evidence.verdict import Verdict
from tallystick.evidence.verdictproofs import decided
from tallystick.verify.devicekeys import Signatures, rotated_key
from tallystick.verify.inputs import SetKey
from tallystick.verify.logcopy import LogCopy
from tallystick.verify.report import Proven

Told = tuple[int, Verdict]  # where it is logged, and what it says


def score(
    logs: Sequence[LogCopy], from_ms: int, to_ms: int, proofs: Iterable[Proven] = ()
) -> Score:
    """The score of a period; Malformed where a log is given twice.

    `proofs` are those that were verified; each counts once against everybody whom it convicts.
    """
    by_digest = {one.digest: one for one in proofs}
    against = [one.accused for _, one in sorted(by_digest.items())]
    if len({log.origin for log in logs}) != len(logs):
        raise Malformed("bad-value", "score: one log is given twice")
    validators = _Validators(logs, from_ms, to_ms)
    gateways = _Gateways(logs, from_ms, to_ms)
    return Score(
        from_ms,
        to_ms,
        in_order([ScoreLog(log.origin, log.size, log.note.root) for log in logs]),
        in_order([validators.row(log, against) for log in logs]),
        in_order(gateways.rows(against)),
        sorted(by_digest),
    )


def validator_of(log: LogCopy) -> bytes | None:
    """The id of the validator whose log it is, by its genesis."""
    return None if log.genesis is None else genesis.parse(log.genesis).device


def compute_delays(found_ms: list[int]) -> list[int] | None:
    """[p50, p95, greatest] by nearest rank; None of none."""
    if not found_ms:
        return None
    ordered = sorted(found_ms)
    ranks = [-(-len(ordered) * share // 100) for share in (50, 95, 100)]
    return [ordered[rank - 1] for rank in ranks]


def _key_of(finding: Finding) -> SetKey:
    return SetKey(finding.namespace, finding.interaction, finding.profile, finding.party_set())


class _Validators:
    def __init__(self, logs: Sequence[LogCopy], from_ms: int, to_ms: int) -> None:
        self.logs = logs
        self.period = range(from_ms, to_ms)
        # The newest verdict in the period on each party set, and the sets with any verdict.
        self.newest: dict[str, dict[SetKey, Told]] = {}
        self.ever: dict[str, set[SetKey]] = {}
        for log in logs:
            newest = self.newest[log.origin] = {}
            ever = self.ever[log.origin] = set()
            for at, verdict in log.verdicts:
                key = _key_of(verdict.finding)
                ever.add(key)
                if log.times_ms[at] in self.period:
                    newest[key] = at, verdict

    def row(self, log: LogCopy, against: list[tuple[bytes, ...]]) -> ValidatorScore:
        own = self.newest[log.origin]
        compared = agreed = 0
        missed: set[SetKey] = set()
        for other in self.logs:
            if other is log:
                continue
            for key, (_, theirs) in self.newest[other.origin].items():
                ours = own.get(key)
                if ours is not None and ours[1].finding.inputs == theirs.finding.inputs:
                    compared += 1
                    agreed += decided(ours[1].finding) == decided(theirs.finding)
                if key not in self.ever[log.origin] and self._held(log, theirs.finding):
                    missed.add(key)
        id_ = validator_of(log)
        return ValidatorScore(
            log.origin,
            len(own),
            compared,
            agreed,
            len(missed),
            compute_delays(self._delays(log)),
            sum(id_ in accused for accused in against),
        )

    def _held(self, log: LogCopy, finding: Finding) -> bool:
        places = [log.claims.get(row.claim) for row in finding.claims]
        return any(at is not None and log.times_ms[at] in self.period for at in places)

    def _delays(self, log: LogCopy) -> list[int]:
        # The first verdict on these claims: later ones follow key changes, not claims.
        found = []
        seen: set[tuple[SetKey, frozenset[bytes], bool]] = set()
        for at, verdict in log.verdicts:
            finding = verdict.finding
            named = frozenset(row.claim for row in finding.claims)
            what = (_key_of(finding), named, bool(finding.missing))
            since = [log.claims[one] for one in named if one in log.claims]
            if finding.missing:
                closing = (finding.namespace, finding.interaction, finding.party_set())
                since += [log.closings[closing]] if closing in log.closings else []
            if what not in seen and since and log.times_ms[at] in self.period:
                found.append(max(0, log.times_ms[at] - log.times_ms[max(since)]))
            seen.add(what)
        return found


class _Gateways:
    def __init__(self, logs: Sequence[LogCopy], from_ms: int, to_ms: int) -> None:
        self.logs = logs
        self.keys: dict[bytes, list[tuple[bytes, PublicKey]]] = {}
        for id_, keys in _keys_of(logs, SUBJECT_GATEWAY).items():
            for key in keys:
                self.keys.setdefault(key.kid(), []).append((id_, key))
        self.devices = _keys_of(logs, SUBJECT_DEVICE)
        self.signatures = Signatures()
        self.heads: dict[bytes, dict[tuple[bytes, bytes, int, bytes], int]] = {}
        seen: set[bytes] = set()
        for log in logs:
            for _, receipt in log.custody:
                if receipt.digest in seen or receipt.time_ms not in range(from_ms, to_ms):
                    continue
                seen.add(receipt.digest)
                gateway = self._signer(receipt)
                if gateway is None:
                    continue
                head = (receipt.device, receipt.epoch, receipt.to, receipt.root)
                known = self.heads.setdefault(gateway, {})
                known[head] = min(receipt.time_ms, known.get(head, receipt.time_ms))

    def _signer(self, receipt: CustodyReceipt) -> bytes | None:
        """The gateway that signed; None where no log has its enrolment, or it did not sign."""
        for id_, key in self.keys.get(receipt.received().kid, ()):
            try:
                receipt.verify(key)
            except TallyError:
                continue
            return id_
        return None

    def rows(self, against: list[tuple[bytes, ...]]) -> list[GatewayScore]:
        return [
            self._row(gateway, heads, sum(gateway in accused for accused in against))
            for gateway, heads in self.heads.items()
        ]

    def _row(
        self, gateway: bytes, heads: dict[tuple[bytes, bytes, int, bytes], int], against: int
    ) -> GatewayScore:
        compared = agreed = missed = 0
        waited: list[int] = []
        for (device, epoch, size, root), dated_ms in heads.items():
            for log in self.logs:
                held = log.heads.get((device, epoch), [])
                there = [(at, one) for at, one in held if one.size == size]
                same = [at for at, one in there if one.root == root]
                if not same and not any(self._signed(one) for _, one in there):
                    missed += self._passed_over(held, size)
                    continue
                compared += 1
                agreed += bool(same)
                if same:
                    waited.append(max(0, log.times_ms[same[0]] - dated_ms))
        return GatewayScore(
            gateway, len(heads), compared, agreed, missed, compute_delays(waited), against
        )

    def _passed_over(self, held: list[tuple[int, Checkpoint]], size: int) -> bool:
        heads = [one for _, one in held]
        return any(one.size < size and self._signed(one) for one in heads) and any(
            one.size > size and self._signed(one) for one in heads
        )

    def _signed(self, head: Checkpoint) -> bool:
        """Whether its device signed it; else it is the log's own word and counts for nothing."""
        keys = self.devices.get(head.device, ())
        return self.signatures.signed(head.encode(), keys) is True


def _keys_of(logs: Sequence[LogCopy], subject: int) -> dict[bytes, list[PublicKey]]:
    """Keys of enrolled gateways or devices by id, as the logs have them."""
    found: dict[bytes, list[PublicKey]] = {}
    for log in logs:
        for id_, statements in log.credentials.items():
            enrolled = enrolment.parse(statements[0])
            if enrolled.subject != subject or enrolled.key.thumbprint() != id_:
                continue
            known = found.setdefault(id_, [])
            known += [key for key in _keys_from(enrolled.key, statements[1:]) if key not in known]
    return found


def _keys_from(first: PublicKey, changes: Iterable[bytes]) -> list[PublicKey]:
    """The key that is the id, and those that it was rotated to, each by the one before it."""
    # A log holds what its validator wrote there: a rotation that the keys did not sign would let
    # one validator speak for any gateway, and spoil its row for everybody who computes the score.
    parsed = [keychange.parse(data) for data in changes]
    rotations = [one for one in parsed if isinstance(one, keychange.Rotation)]
    found = [first]
    for key in found:
        for one in rotations:
            if one.old == key.thumbprint() and one.key not in found:
                try:
                    found.append(rotated_key(one, key))
                except Unverified:
                    continue
    return found
