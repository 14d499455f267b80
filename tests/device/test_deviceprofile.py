"""Device profiles: what turns a claim's arguments into fields (docs/protocol.md, 6.4)."""

from _made import refused
from tallystick.evidence import cbor, deviceprofile
from tallystick.evidence.deviceprofile import DeviceProfile
from tallystick.evidence.number import Dec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIGEST = b"p" * 32
RULES: "dict[str, Any]" = {
    "item": ["text", None, None, True],
    "position_m": ["numbers", "m", 2, True],
    "speed_m_s": ["number", "m/s", None, False],
    "photo": ["bytes", None, None, False],
    "clear": ["bool", None, None, False],
}
CLAIMS = {"giver": {"released": RULES}}


def test_round_trip() -> None:
    made = DeviceProfile(DIGEST, "handover", 1, CLAIMS)
    got = deviceprofile.parse(made.encode())
    assert got == made and got.encode() == cbor.encode([23, DIGEST, "handover", 1, CLAIMS])
    assert got.rules("giver", "released") == RULES
    assert refused(got.rules, "receiver", "released") == "bad-value"
    assert refused(got.rules, "giver", "acquired") == "bad-value"


def test_arguments_become_canonical_fields() -> None:
    profile = DeviceProfile(DIGEST, "handover", 1, CLAIMS)
    fields = profile.fields(
        "giver",
        "released",
        {
            "item": "pallet-7",
            "position_m": [1.25678, "0.50", (3, -1), 7],
            "speed_m_s": 0.123456,
            "photo": b"\xff",
            "clear": True,
        },
    )
    assert fields == {
        "item": "pallet-7",
        "position_m": [Dec(126, -2), Dec(5, -1), Dec(3, -1), 7],
        "speed_m_s": Dec(123456, -6),
        "photo": b"\xff",
        "clear": True,
    }
    deviceprofile.check_fields(RULES, fields)


def test_arguments_that_are_refused() -> None:
    profile = DeviceProfile(DIGEST, "handover", 1, CLAIMS)

    def fields(**changed: "Any") -> None:
        given: "dict[str, Any]" = {"item": "pallet-7", "position_m": [1, 2]}
        given.update(changed)
        profile.fields("giver", "released", given)

    fields()
    for changed, reason in (
        ({"item": 7}, "bad-type"),
        ({"position_m": 5}, "bad-type"),
        ({"position_m": ["far"]}, "bad-number"),
        ({"speed_m_s": "fast"}, "bad-number"),
        ({"speed_m_s": [1]}, "bad-number"),
        ({"clear": 1}, "bad-type"),
        ({"photo": "text"}, "bad-type"),
        ({"colour": "red"}, "bad-value"),
    ):
        assert refused(fields, **changed) == reason, changed
    assert refused(profile.fields, "giver", "released", {"item": "x"}) == "bad-value"
    colour = {"item": "x", "position_m": [1], "colour": "red"}
    assert refused(deviceprofile.check_fields, RULES, colour) == "bad-value"
    for received in ({"item": "x", "position_m": [1, "2"]}, {"item": "x"}):
        assert refused(deviceprofile.check_fields, RULES, received) in ("bad-type", "bad-value")


def test_what_a_parser_refuses() -> None:
    for claims, reason in (
        ({}, "bad-value"),
        ({"giver": {}}, "bad-value"),
        ({"giver": []}, "bad-type"),
        ({"giver": {"released": {"x": ["text", None, None]}}}, "bad-value"),
        ({"giver": {"released": {"x": ["float", None, None, True]}}}, "bad-value"),
        ({"giver": {"released": {"x": ["number", "", None, True]}}}, "bad-value"),
        ({"giver": {"released": {"x": ["number", None, 16, True]}}}, "bad-value"),
        ({"giver": {"released": {"x": ["number", None, None, 1]}}}, "bad-type"),
        ({"": {"released": {}}}, "bad-value"),
    ):
        data = cbor.encode([23, DIGEST, "handover", 1, claims])
        assert refused(deviceprofile.parse, data) == reason, claims
    assert refused(DeviceProfile, b"short", "handover", 1, CLAIMS) == "bad-value"
