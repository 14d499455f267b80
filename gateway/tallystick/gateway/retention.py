"""What bodies may go, and when: the [retention] table of gateway.toml. Pure.

[retention]
validators = ["own", "insurer"]     # who must have a segment; all of the file unless named
decisions = "30 d"                  # or events, claims, halves; as long as there is room
by_size = ["decisions", "events"]   # what may go before its time when the store fills; all
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM, DECISION, EVENT
from tallystick.gateway import limits

KINDS = {"decisions": DECISION, "claims": CLAIM, "events": EVENT, "halves": ACCEPTED_HALF}
ALL_KINDS = frozenset(KINDS.values())
# What a validator has the bodies of, by how it is sent segments (elide.py).
SENT_KINDS = {
    "full": ALL_KINDS,
    "claims": frozenset({CLAIM, ACCEPTED_HALF}),
    "hashes": frozenset[int](),
}
_DURATION = re.compile(r"([1-9][0-9]{0,5}) (h|d)")
_HOUR_MS = 3_600_000
_UNITS_MS = {"h": _HOUR_MS, "d": 24 * _HOUR_MS}


class RetentionTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """As it stands in the file."""

    validators: list[str] | None = None
    decisions: str | None = None
    claims: str | None = None
    events: str | None = None
    halves: str | None = None
    by_size: tuple[str, ...] = tuple(KINDS)


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Who must have a segment, how long each kind is kept (ms), which go when the store fills."""

    validators: tuple[str, ...] = ()
    ages_ms: dict[int, int] = field(default_factory=dict)
    by_size: frozenset[int] = ALL_KINDS

    def due(self, age_ms: int, *, filling: bool) -> frozenset[int]:
        """The kinds whose bodies may go from a delivered segment of this age."""
        old = {kind for kind, most_ms in self.ages_ms.items() if age_ms > most_ms}
        return frozenset(old | self.by_size) if filling else frozenset(old)


DEFAULT = Retention()


def resolve(raw: RetentionTable, validators: Iterable[str]) -> Retention:
    """Checked; `validators` are those of the file."""
    known = list(validators)
    named = known if raw.validators is None else raw.validators
    if raw.validators is not None and not named:
        raise Malformed("bad-value", "retention.validators: at least one, or leave it out")
    if len(named) > limits.VALIDATORS_MAX:
        raise Malformed("too-large", f"retention.validators: at most {limits.VALIDATORS_MAX}")
    wrong = [name for name in raw.by_size if name not in KINDS]
    if wrong:
        raise Malformed("bad-value", f"retention.by_size: of {', '.join(KINDS)}, not {wrong[0]!r}")
    ages_ms = {
        kind: _duration_ms(name, getattr(raw, name))
        for name, kind in KINDS.items()
        if getattr(raw, name) is not None
    }
    return Retention(
        validators=tuple(dict.fromkeys(named)),
        ages_ms=ages_ms,
        by_size=frozenset(KINDS[name] for name in raw.by_size),
    )


def _duration_ms(name: str, text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Malformed("bad-value", f'retention.{name}: such as "30 d" or "12 h", not {text!r}')
    found = int(match[1]) * _UNITS_MS[match[2]]
    if found > limits.RETENTION_DAYS_MAX * _UNITS_MS["d"]:
        raise Malformed("bad-value", f"retention.{name}: at most {limits.RETENTION_DAYS_MAX} d")
    return found
