"""What a worker found for a portion of party sets, as it lies in the store."""

from typing import Any

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import FINDING
from tallystick.validator.findings import Computed, Conclusion

_WHAT = "a worker's proposal"
Row = Any  # a row of a query
# Of a finding (docs/protocol.md, 6.5): kind, the digest of its inputs, whose it is, its state.
ARRAY, BYTES = 4, 2  # CBOR's major types
INPUTS_BYTES = 32
_BEGIN = cbor.head(ARRAY, 11) + cbor.encode(FINDING)


def pack(found: dict[int, Computed]) -> bytes:
    """The bytes of a row."""
    return cbor.encode(
        [
            [number, one.refused, one.erased, _packed(one.found), _packed(one.closed)]
            for number, one in sorted(found.items())
        ]
    )


def fits(row: Row, one: Computed) -> bool:
    """Whether what was found is of this set, and in the states that it says; no more is looked at.

    The rest is as this program finds it: of another version nothing is taken (basis.py).
    """
    return all(
        found is None or found.data is None or _begins(row, found)
        for found in (one.found, one.closed)
    )


def _begins(row: Row, found: Conclusion) -> bool:
    data = found.data or b""
    before = _BEGIN + cbor.head(BYTES, INPUTS_BYTES)
    after = len(before) + INPUTS_BYTES
    named = [row.namespace, row.interaction, None, row.profile, found.state]
    parts = [row.parties if part is None else cbor.encode(part) for part in named]
    return data.startswith(before) and data.startswith(b"".join(parts), after)


def _packed(one: Conclusion | None) -> list[Any] | None:
    return None if one is None else [one.state, one.data, one.unheard]


def unpack(data: bytes) -> dict[int, Computed]:
    """What was found, by the party set's number; Malformed where no worker of ours wrote it."""
    try:
        return {
            number: Computed(_unpacked(found), _unpacked(closed), refused=refused, erased=erased)
            for number, refused, erased, found, closed in cbor.decode(data)
        }
    except (TypeError, ValueError) as error:
        raise Malformed("bad-type", f"{_WHAT}: {type(error).__name__}") from None


def _unpacked(value: Any) -> Conclusion | None:
    if value is None:
        return None
    state, data, unheard = value
    return Conclusion(state, data, unheard)
