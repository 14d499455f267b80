"""Profiles and their statements (docs/protocol.md, section 6.4)."""

from _made import ISS, Key, refused
from tallystick.evidence import cbor, profile
from tallystick.evidence.digest import sha256
from tallystick.evidence.profile import Profile, SignedProfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELD = ["text", None, None, True]


def good() -> "list[Any]":
    return [
        "handover",
        1,
        "acme",
        5000,
        {"giver": [1, 1], "receiver": [1, 2]},
        {"giver": {"released": {"item": FIELD}}, "receiver": {"acquired": {"item": FIELD}}},
        [["agree", "same item", {"field": "item", "claims": ["released", "acquired"]}]],
    ]


def test_its_digest_names_it() -> None:
    made = Profile(*good())
    assert made.encode() == cbor.encode([11] + good())
    assert made.digest == sha256(made.encode())
    assert profile.parse(made.encode()).digest == made.digest
    small = made.device_profile()
    assert small.digest == made.digest and small.claims == made.claims
    assert (small.name, small.version) == ("handover", 1)


def test_signed() -> None:
    key = Key("publisher")
    signed = SignedProfile(Profile(*good()))
    got = profile.parse_statement(signed.sign(key, ISS, signed.subject()))
    assert got.profile == signed.profile
    assert type(got.verify(key.public_key())) is profile.VerifiedProfile
    assert refused(got.verify, Key("other").public_key()) == "wrong-key"
    wrong = signed.sign(key, ISS, "A" * 43)
    assert refused(profile.parse_statement, wrong) == "wrong-device"


def test_fields_that_are_refused() -> None:
    for at, wrong, reason in (
        (0, "", "bad-value"),
        (1, -1, "bad-value"),
        (2, 5, "bad-type"),
        (3, -1, "bad-value"),
        (4, {}, "bad-type"),
        (4, {"giver": [1, 1]}, "bad-value"),  # claims of a role that is not there
        (4, {"giver": [2, 1], "receiver": [1, 1]}, "bad-value"),
        (4, {"giver": [0, 0], "receiver": [1, 1]}, "bad-value"),
        (4, {"giver": [1, 33], "receiver": [1, 1]}, "bad-value"),
        (5, {}, "bad-value"),
        (5, {"giver": {}}, "bad-value"),
        (6, [["agrees", "x", {}]], "bad-value"),
        (6, [["agree", "x"]], "bad-value"),
        (6, [["agree", "x", {}], ["limit", "x", {}]], "duplicate-key"),
        (6, [["agree", "x", []]], "bad-type"),
        (6, [["agree", "x", {}]] * 65, "too-large"),
    ):
        fields = good()
        fields[at] = wrong
        assert refused(profile.parse, cbor.encode([11] + fields)) == reason, (at, wrong)
