"""What a worker found for a portion of party sets, as it lies in the store."""

from typing import Any

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.validator.findings import Computed, Conclusion

_WHAT = "a worker's proposal"


def pack(found: dict[int, Computed]) -> bytes:
    """The bytes of a row."""
    return cbor.encode(
        [
            [number, one.refused, one.erased, _packed(one.found), _packed(one.closed)]
            for number, one in sorted(found.items())
        ]
    )


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
