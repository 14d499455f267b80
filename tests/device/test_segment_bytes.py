"""The bytes of segments: piece by piece, and what is refused (docs/protocol.md, section 3.2)."""

from _made import EPOCH, refused
from tallystick.evidence import cbor, segment
from tallystick.evidence import segmentwriter as writer
from tallystick.evidence.segment import Edge, Segment, Stretch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEVICE, SEED, HASH = b"d" * 32, b"s" * 32, b"h" * 32
SIZES = (1, 23, 24, 255, 256, 300)


def test_streamed_bytes_are_those_of_the_object() -> None:
    records = [b"r" * size for size in SIZES]
    edge = Edge(b"signed", [HASH, HASH])
    out = writer.open_bytes(DEVICE, EPOCH, 6, (b"signed", [HASH, HASH]), 2)
    out += writer.stretch_head(len(records))
    for record in records:
        out += writer.item_head(len(record)) + record
    out += writer.stretch_tail(SEED, b"checkpoint") + writer.stretch_head(1)
    out += writer.elided_item(2, HASH) + writer.stretch_tail(None, b"second")
    stretches = [Stretch(list(records), SEED, b"checkpoint"), Stretch([(2, HASH)], None, b"second")]
    made = Segment(DEVICE, EPOCH, 6, edge, stretches)
    assert made.encode() == out
    got = segment.parse(out)
    assert got == made and got.to == 6 + len(SIZES) + 4
    plain = cbor.decode(out)
    assert plain[0] == 13 and plain[5][0] == [records, SEED, b"checkpoint"]
    assert plain[4] == [b"signed", [HASH, HASH]]


def encoded(*changed: "Any") -> bytes:
    fields: "list[Any]" = [13, DEVICE, EPOCH, 0, None, [[[b"r"], SEED, b"c"]]]
    for at, item in changed:
        fields[at] = item
    return cbor.encode(fields)


def test_what_a_parser_refuses() -> None:
    segment.parse(encoded())
    for at, wrong, reason in (
        (0, 14, "unknown-kind"),
        (0, b"", "bad-type"),
        (1, b"short", "bad-value"),
        (1, "d" * 32, "bad-type"),
        (2, b"short", "bad-value"),
        (3, -1, "bad-type"),
        (3, 2**63, "too-large"),
        (4, [b"c", []], "bad-edge"),
        (4, [b"c"], "bad-type"),
        (5, [], "too-large"),
        (5, None, "bad-type"),
        (5, [[[b"r"], SEED]], "bad-type"),
        (5, [[[b"r"], None, b"c"]], "bad-stretch"),
        (5, [[[], SEED, b"c"]], "bad-stretch"),
        (5, [[[[0, HASH]], SEED, b"c"]], "bad-stretch"),
        (5, [[[b"r"], [], b"c"]], "bad-stretch"),
        (5, [[[b"r"], [b"s" * 16, b"s" * 16], b"c"]], "bad-stretch"),
        (5, [[[b"r"], [b"s" * 15], b"c"]], "bad-value"),
        (5, [[[b"r"], b"s" * 16, b"c"]], "bad-value"),
        (5, [[["r"], SEED, b"c"]], "bad-type"),
        (5, [[[[0, HASH, 1]], None, b"c"]], "bad-type"),
        (5, [[[[63, HASH]], None, b"c"]], "too-large"),
        (5, [[[[0, b"short"]], None, b"c"]], "bad-value"),
        (5, [[[b"r"], SEED, b"c" * 513]], "too-large"),
        (5, [[[], None, b"c"]] * 65, "too-large"),
    ):
        assert refused(segment.parse, encoded((at, wrong))) == reason, (at, reason)
    assert refused(segment.parse, encoded((3, 3), (4, [b"c", [HASH]]))) == "bad-edge"


def test_framing_is_strict() -> None:
    data = encoded((5, [[[b"r", b"s", [0, HASH]], SEED, b"c"], [[b"r" * 30], SEED, b"c"]]))
    for size in range(len(data)):
        assert refused(segment.parse, data[:size]) in ("truncated", "bad-type"), size
    data = encoded()
    for size in range(len(data)):
        assert refused(segment.parse, data[:size]) in ("truncated", "bad-type"), size
    assert refused(segment.parse, data + b"\x00") == "trailing-bytes"
    for short, long in (
        (b"\x81\x41r", b"\x81\x58\x01r"),
        (b"\x81\x41r", b"\x98\x01\x41r"),
        (b"\x81\x41r", b"\x9f\x41r\xff"),
        (b"\x0d\x58", b"\x18\x0d\x58"),
    ):
        assert refused(segment.parse, data.replace(short, long)) == "non-canonical"
    assert (
        refused(segment.parse, data.replace(b"\x81\x41r", b"\x9a\xff\xff\xff\xff\x41r"))
        == "too-large"
    )
    assert refused(segment.parse, data.replace(b"\x81\x41r", b"\x99\x0f\xff\x41r")) == "truncated"
    assert refused(segment.parse, data.replace(b"\x41r", b"\x5a\x7f\xff\xff\xffr")) == "too-large"
    assert refused(segment.parse, bytearray(data)) == "bad-type"
    assert refused(segment.parse, "text") == "bad-type"
