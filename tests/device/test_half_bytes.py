"""The bytes of halves (docs/protocol.md, section 4.2)."""

from _made import refused
from tallystick.evidence import cbor, half
from tallystick.evidence.half import Half

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SALT, HASH = b"s" * 16, b"h" * 32


def good() -> "list[Any]":
    return [b"record", SALT, 3, [HASH, HASH], b"checkpoint", [b"enrolment"]]


def test_round_trip() -> None:
    by_digest = good()[:5] + [HASH]
    for fields in (good(), by_digest, good()[:3] + [[]] + good()[4:]):
        data = cbor.encode([14] + fields)
        got = half.parse(data)
        assert got == Half(*fields) and got.values() == [14] + fields


def test_fields_that_are_refused() -> None:
    for at, wrong, reason in (
        (0, b"", "bad-value"),
        (0, "record", "bad-type"),
        (1, b"short", "bad-value"),
        (2, -1, "bad-value"),
        (3, [b"short"], "bad-value"),
        (3, [HASH] * 64, "too-large"),
        (3, None, "bad-type"),
        (4, b"", "bad-value"),
        (4, b"c" * 513, "too-large"),
        (5, b"short", "bad-value"),
        (5, [], "bad-value"),
        (5, [b"x"] * 17, "too-large"),
        (5, None, "bad-type"),
    ):
        fields = good()
        fields[at] = wrong
        assert refused(half.parse, cbor.encode([14] + fields)) == reason, (at, reason)


def test_it_is_bounded() -> None:
    fields = good()
    fields[5] = [bytes(1000)] * 4
    assert refused(Half(*fields).encode) == "too-large"
    assert refused(half.parse, cbor.encode([14] + fields)) == "too-large"
