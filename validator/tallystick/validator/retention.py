"""How long bodies are kept, by kind, and who may order that they are kept longer."""

import re
from dataclasses import dataclass

import msgspec

from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM, DECISION, EVENT

_DURATION = re.compile(r"([1-9][0-9]{0,8}) (s|min|h|d)")
KIND_NAMES = {DECISION: "decisions", CLAIM: "claims", EVENT: "events", ACCEPTED_HALF: "halves"}
_UNIT_MS = {"s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


class RawRetention(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The `[retention]` table: `"30 d"`, or null where bodies are kept."""

    decisions: str | None = None
    claims: str | None = None
    events: str | None = None
    halves: str | None = None


@dataclass(frozen=True)
class Retention:
    """Milliseconds by kind of record; a kind that is not in it is kept."""

    kept_ms: dict[int, int]

    @property
    def any(self) -> bool:
        """Whether anything is ever erased."""
        return bool(self.kept_ms)


def parse_retention(raw: RawRetention) -> Retention:
    """Malformed names the setting."""
    kept = {}
    for kind, name in KIND_NAMES.items():
        text = getattr(raw, name)
        if text is None:
            continue
        match = _DURATION.fullmatch(text)
        if match is None:
            raise Malformed(
                "bad-value", f'retention.{name}: a time such as "30 d", "12 h", not {text!r}'
            )
        kept[kind] = int(match[1]) * _UNIT_MS[match[2]]
    return Retention(kept)
