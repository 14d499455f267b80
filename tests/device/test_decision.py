"""Decisions (docs/protocol.md, section 2.1)."""

from binascii import hexlify

from _made import refused
from tallystick.evidence import cbor, decision
from tallystick.evidence.decision import Decision
from tallystick.evidence.decisionwriter import encode_decision
from tallystick.evidence.number import Dec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FRAME = b"f" * 32


def good() -> "list[Any]":
    return [
        5100,
        ["grasp-net", "3f2a91", None],
        {"camera": FRAME},
        {"speed_m_s": [Dec(4, -1), "<=", Dec(5, -1), "m/s", True]},
        {},
        {"action": "grip"},
    ]


def test_known_bytes() -> None:
    data = Decision(*good()).encode()
    assert hexlify(data[:19]) == b"87001913ec836967726173702d6e6574663366"
    assert data == cbor.encode([0] + good())
    got = decision.parse(data)
    assert got == Decision(*good()) and got.output == {"action": "grip"}


def test_straight_from_the_interface() -> None:
    limits = {"speed_m_s": (0.4, "<=", "0.5", "m/s")}
    for _ in range(2):  # from what is kept encoded the second time
        data = encode_decision(
            5100, "grasp-net@3f2a91", {"camera": FRAME}, limits, {}, {"action": "grip"}
        )
        assert data == Decision(*good()).encode()
    assert decision.parse(data).constraints["speed_m_s"][4] is True


def test_forms_of_model_and_constraint() -> None:
    for model, canonical in (
        ("m", ["m", None, None]),
        ("m@1", ["m", "1", None]),
        ("m@1@2", ["m", "1@2", None]),
        (("m", None, FRAME), ["m", None, FRAME]),
        (["m", "1", FRAME], ["m", "1", FRAME]),
    ):
        for _ in range(2):
            got = decision.parse(encode_decision(1, model, {}, {}, {}, None))
            assert got.model == canonical
    rules: "Any" = (
        ((3, "<", 2), [3, "<", 2, None, False]),
        (("0.30", "=", (3, -1)), [Dec(3, -1), "=", Dec(3, -1), None, True]),
        ((1.25, ">", 1.0, "m"), [Dec(125, -2), ">", 1, "m", True]),
    )
    for rule, canonical in rules:
        got = decision.parse(encode_decision(1, "m", {}, {"x": rule}, {}, None))
        assert got.constraints == {"x": canonical}


def test_arguments_that_are_refused() -> None:
    def encode(**changed: "Any") -> None:
        given: "dict[str, Any]" = {
            "uptime_ms": 1,
            "model": "m",
            "inputs": {},
            "constraints": {},
            "context": {},
            "output": None,
        }
        given.update(changed)
        names = ("uptime_ms", "model", "inputs", "constraints", "context", "output")
        encode_decision(*[given[name] for name in names])

    encode()
    for changed, reason in (
        ({"uptime_ms": -1}, "bad-value"),
        ({"model": ""}, "bad-value"),
        ({"model": "m@"}, "bad-value"),
        ({"model": "m" * 65}, "too-large"),
        ({"model": 5}, "bad-type"),
        ({"model": ("m", "1")}, "bad-value"),
        ({"model": ("m", "1", b"short")}, "bad-value"),
        ({"inputs": []}, "bad-type"),
        ({"context": None}, "bad-type"),
        ({"constraints": []}, "bad-type"),
        ({"constraints": {"x": 5}}, "bad-type"),
        ({"constraints": {"x": (1, "<")}}, "bad-type"),
        ({"constraints": {"x": (1, "==", 2)}}, "bad-value"),
        ({"constraints": {"x": ("fast", "<", 2)}}, "bad-number"),
        ({"constraints": {"x": (1, "<", "much")}}, "bad-number"),
        ({"constraints": {"x": (1, "<", 2, "")}}, "bad-value"),
        ({"inputs": {"frame": b"x" * 4096}}, "too-large"),
    ):
        assert refused(encode, **changed) == reason, changed


def test_what_a_parser_refuses() -> None:
    for at, wrong, reason in (
        (0, -1, "bad-value"),
        (1, ["m", None], "bad-value"),
        (1, ["m", None, b"short"], "bad-value"),
        (1, "m", "bad-type"),
        (2, [], "bad-type"),
        (3, [], "bad-type"),
        (3, {"x": [1, "<", 2, None]}, "bad-value"),
        (3, {"x": ["1", "<", 2, None, True]}, "bad-type"),
        (3, {"x": [1, "<", 2, None, 1]}, "bad-type"),
        (4, {"": 1}, "bad-value"),
        (5, "x" * 1025, "too-large"),
    ):
        fields = good()
        fields[at] = wrong
        assert refused(decision.parse, cbor.encode([0] + fields)) == reason, (at, wrong)
    assert refused(decision.parse, cbor.encode([0] + good()[:5])) == "bad-value"
    assert refused(decision.parse, cbor.encode([1] + good())) == "unknown-kind"
    assert refused(decision.parse, b"") == "truncated"
    assert refused(decision.parse, cbor.encode([0] + good()) + b"\x00") == "trailing-bytes"
