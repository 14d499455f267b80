"""Claims (docs/protocol.md, section 2.1)."""

from _made import refused
from tallystick.evidence import cbor, claim, ids
from tallystick.evidence.claim import Claim, declare
from tallystick.evidence.digest import sha256
from tallystick.evidence.number import Dec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GIVER, RECEIVER, PROFILE = b"g" * 32, b"r" * 32, b"p" * 32


def good() -> "list[Any]":
    return [
        5200,
        "dock-3",
        "order-4711",
        PROFILE,
        "giver",
        "released",
        {"item": "pallet-7", "speed_m_s": Dec(4, -1)},
        {"speed_m_s": ["<=", Dec(5, -1), "m/s", True]},
        {"giver": [GIVER], "receiver": [RECEIVER]},
        [1790000000000, 1790000000800, 50],
        [b"1" * 32, b"2" * 32],
    ]


def test_round_trip() -> None:
    made = Claim(*good())
    assert made.encode() == cbor.encode([1] + good())
    got = claim.parse(made.encode())
    assert got == made and got.parties == made.parties and got.relied == made.relied
    got.check_maker(GIVER)
    assert refused(got.check_maker, RECEIVER) == "not-a-party"
    assert refused(got.check_maker, PROFILE) == "not-a-party"


def test_identifiers() -> None:
    made = Claim(*good())
    wanted = sha256(cbor.encode([PROFILE, "dock-3", "order-4711"]))[:16]
    assert made.interaction_id() == wanted
    fields = good()
    fields[2] = b"0123456789abcdef"
    assert Claim(*fields).interaction_id() == fields[2]
    assert made.party_set() == sha256(cbor.encode(made.parties))
    assert ids.party_set({"receiver": (RECEIVER,), "giver": (GIVER,)}) == made.party_set()  # type: ignore[dict-item]  # a tuple will do
    reference = ids.claim_reference(GIVER, b"epoch-01", 5, PROFILE)
    assert reference == sha256(cbor.encode([GIVER, b"epoch-01", 5, PROFILE]))
    assert refused(ids.interaction_id, PROFILE, "", "task") == "bad-value"
    assert refused(ids.interaction_id, PROFILE, "n", b"short") == "bad-value"


def test_fields_that_are_refused() -> None:
    many = [bytes([n]) * 32 for n in range(33)]
    for at, wrong, reason in (
        (0, -1, "bad-value"),
        (1, "", "bad-value"),
        (1, "n" * 65, "too-large"),
        (2, "", "bad-value"),
        (2, b"short", "bad-value"),
        (2, None, "bad-type"),
        (3, b"p", "bad-value"),
        (4, 5, "bad-type"),
        (5, "", "bad-value"),
        (6, [], "bad-type"),
        (7, [], "bad-type"),
        (7, {"other": ["<", 1, None, True]}, "bad-value"),
        (7, {"item": ["<", 1, None, True]}, "bad-type"),
        (7, {"speed_m_s": ["<", 1, None]}, "bad-value"),
        (8, [], "bad-type"),
        (8, {}, "bad-value"),
        (8, {"giver": []}, "bad-value"),
        (8, {"giver": [b"short"]}, "bad-value"),
        (8, {"giver": [GIVER, GIVER]}, "duplicate-key"),
        (8, {"giver": [RECEIVER, GIVER]}, "non-canonical"),
        (8, {"giver": many}, "too-large"),
        (8, {"giver": many[:16], "receiver": many[:17]}, "too-large"),
        (9, [2, 1, 0], "bad-value"),
        (9, [1, 2], "bad-value"),
        (10, [b"2" * 32, b"1" * 32], "non-canonical"),
        (10, [b"short"], "bad-value"),
        (10, None, "bad-type"),
    ):
        fields = good()
        fields[at] = wrong
        assert refused(Claim, *fields) == reason, (at, wrong)
        assert refused(claim.parse, cbor.encode([1] + fields)) == reason, (at, wrong)
    assert refused(claim.parse, cbor.encode([1] + good()[:10])) == "bad-value"


def test_constraints_are_computed_not_believed() -> None:
    fields = {"speed_m_s": Dec(4, -1), "item": "pallet-7"}
    rules: "Any" = (
        (("<=", "0.5", "m/s"), ["<=", Dec(5, -1), "m/s", True]),
        ((">", 0.5), [">", Dec(5, -1), None, False]),
    )
    for rule, canonical in rules:
        assert declare(fields, {"speed_m_s": rule}) == {"speed_m_s": canonical}
    wrong: "Any" = (
        ("other", ("<", 1), "bad-value"),
        ("item", ("<", 1), "bad-type"),
        ("speed_m_s", ("<",), "bad-type"),
        ("speed_m_s", ["<", 1], "bad-type"),
        ("speed_m_s", ("about", 1), "bad-value"),
        ("speed_m_s", ("<", "fast"), "bad-number"),
    )
    for name, rule, reason in wrong:
        assert refused(declare, fields, {name: rule}) == reason
