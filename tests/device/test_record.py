"""Records by kind, events and accepted halves (docs/protocol.md, section 2.1)."""

from _made import refused
from tallystick.evidence import cbor, event, eventwriter, record
from tallystick.evidence.accepted import AcceptedHalf
from tallystick.evidence.event import Event
from tallystick.evidence.number import Dec


def test_the_kind_is_the_second_byte() -> None:
    for kind, data in enumerate(
        (
            cbor.encode([0, 1, ["m", None, None], {}, {}, {}, None]),
            cbor.encode([1] + [0] * 11),
            Event(1, "boot", {}).encode(),
            AcceptedHalf(1, b"half").encode(),
        )
    ):
        assert record.kind_of(data) == kind == data[1]
    for wrong in (b"\x87\x01", b"\x84\x00", b"\x84\x04", b"\x83\x02\x01", b"\xa4\x02"):
        assert refused(record.kind_of, wrong) == "unknown-kind"
        assert refused(record.parse, wrong) == "unknown-kind"
    assert refused(record.kind_of, b"\x87") == "truncated"


def test_events() -> None:
    data = eventwriter.encode_event(7, "acme.level", {"before_mm": 1.5, "after_mm": None})
    assert data == cbor.encode([2, 7, "acme.level", {"before_mm": Dec(15, -1), "after_mm": None}])
    got = record.parse(data)
    assert type(got) is Event and got == event.parse(data)
    assert (got.uptime_ms, got.event, got.details["before_mm"]) == (7, "acme.level", Dec(15, -1))
    event.parse(eventwriter.encode_event(7, "acme.lights", {}))
    for wrong, reason in (("lights", "bad-value"), ("", "bad-value"), (5, "bad-type")):
        assert refused(eventwriter.encode_event, 7, wrong, {}) == reason
        assert refused(event.parse, cbor.encode([2, 7, wrong, {}])) == reason
    assert refused(eventwriter.encode_event, 7, "boot", {"x": b"x" * 4096}) == "too-large"
    event.parse(eventwriter.encode_event(7, "config", {"digest": bytes(32), "gripper": "long"}))
    for digest in (None, b"", bytes(31), "x" * 32):
        named = {} if digest is None else {"digest": digest}
        assert refused(eventwriter.encode_event, 7, "config", named) == "bad-value"
    assert refused(eventwriter.encode_event, -7, "boot", {}) == "bad-value"
    assert refused(event.parse, cbor.encode([2, 7, "boot"])) == "bad-value"


def test_accepted_halves() -> None:
    data = AcceptedHalf(9, b"half").encode()
    assert data == b"\x83\x03\x09\x44half"
    got = record.parse(data)
    assert type(got) is AcceptedHalf and got.half == b"half" and got.uptime_ms == 9
    assert refused(AcceptedHalf, 9, b"") == "bad-value"
    assert refused(AcceptedHalf, 9, b"x" * 4001) == "too-large"
    assert refused(record.parse, b"\x83\x03\x09\x64half") == "bad-type"
