"""A score of validators and gateways over a period (docs/protocol.md, 10), a signed statement."""

# CPython only
# ruff: noqa: PYI024  # as its neighbours, without typing

from collections import namedtuple

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.cbor import encode
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import SCORE
from tallystick.evidence.limits import SCORE_ROWS_MAX, TEXT_BYTES_MAX
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; the house's files import no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUBJECT = "score"

# Rows of the CDDL, by its names; a delay is [p50_ms, p95_ms, most_ms] or None.
ScoreLog = namedtuple("ScoreLog", ("origin", "size", "root"))
ValidatorScore = namedtuple(
    "ValidatorScore", ("origin", "verdicts", "compared", "agreed", "missed", "delay", "against")
)
GatewayScore = namedtuple(
    "GatewayScore", ("gateway", "heads", "compared", "agreed", "missed", "delay", "against")
)


class Score(statement.Signed):
    """As received; nothing says that it is right until it is computed again."""

    def __init__(
        self,
        from_ms: int,
        to_ms: int,
        logs: "list[Any]",
        validators: "list[Any]",
        gateways: "list[Any]",
        proofs: list[bytes],
    ) -> None:
        what = "score"
        self.from_ms = shape.uint(from_ms, what)
        self.to_ms = shape.uint(to_ms, what)
        if from_ms >= to_ms:
            raise Malformed("bad-value", "score: its period ends before it begins")
        self.logs = [ScoreLog(*_log(row)) for row in _ordered(logs, 1)]
        self.validators = [
            ValidatorScore(*_scored(row, origin=True)) for row in _ordered(validators)
        ]
        self.gateways = [GatewayScore(*_scored(row, origin=False)) for row in _ordered(gateways)]
        self.proofs = shape.hashes(proofs, SCORE_ROWS_MAX, what)
        shape.ascending([encode(one) for one in proofs], what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            SCORE,
            self.from_ms,
            self.to_ms,
            [list(row) for row in self.logs],
            [list(row) for row in self.validators],
            [list(row) for row in self.gateways],
            self.proofs,
        ]

    def verify(self, key: PublicKey) -> "VerifiedScore":
        """Unverified unless `key`, of who computed it, signed."""
        return self._verified(VerifiedScore, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps."""
        return self._verifier(VerifiedScore, key)


class VerifiedScore(Score):
    """A score that `key` signed."""

    key: PublicKey


def in_order(rows: "list[Any]") -> "list[Any]":
    """Rows as a score has them: in the order of their encodings."""
    return sorted((list(row) for row in rows), key=encode)


def _ordered(rows: "Any", least: int = 0) -> "list[Any]":
    shape.array(rows, "score", least, SCORE_ROWS_MAX)
    made = [list(row) if isinstance(row, tuple) else row for row in rows]
    shape.ascending([encode(row) for row in made], "score")
    return made


def _log(row: "Any") -> "list[Any]":
    what = "score: log"
    origin, size, root = shape.row(row, 3, what)
    shape.text(origin, TEXT_BYTES_MAX, what)
    return [origin, shape.uint(size, what), shape.octets(root, shape.HASH_SIZE, what)]


def _scored(row: "Any", *, origin: bool) -> "list[Any]":
    what = "score: row"
    who, count, compared, agreed, missed, delay, against = shape.row(row, 7, what)
    if origin:
        shape.text(who, TEXT_BYTES_MAX, what)
    else:
        shape.octets(who, shape.ID_SIZE, what)
    for number in (count, compared, agreed, missed, against):
        shape.uint(number, what)
    if agreed > compared:
        raise Malformed("bad-value", "score: more agree than were compared")
    if delay is not None:
        shape.row(delay, 3, what)
        for number in delay:
            shape.uint(number, what)
        if not delay[0] <= delay[1] <= delay[2]:
            raise Malformed("bad-value", "score: delays that fall")
    return [who, count, compared, agreed, missed, delay, against]


def parse(data: bytes) -> Score:
    """A score as received; Malformed with a reason of docs/protocol.md, 1.7."""
    received = statement.parse(data, SCORE)
    score = Score(*shape.row(received.values, 6, "score"))
    if received.sub != SUBJECT:
        raise Malformed("bad-header", "score: sub must be %r" % SUBJECT)
    score.statement = received
    return score
