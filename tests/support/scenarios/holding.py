"""Holds that reach devices, and segments that a gateway asks back."""

from support import deviceholds
from support import examples as ex
from support.scenarios import Scenario, Scenarios, craft, flip, headers_of, key_hex
from tallystick.evidence import cbor, devicehold
from tallystick.evidence.limits import HOLD_MS_MAX, REQUEST_AGE_MS_MAX

GATEWAY = key_hex(ex.GATEWAY.public_key())
OTHER = key_hex(ex.ACME_ROOT.public_key())


def _changed(data: bytes, at: int, value: object) -> bytes:
    values = devicehold.parse(data).values()
    values[at] = value
    return craft(ex.GATEWAY, headers_of(data), cbor.encode(values))


def holds() -> Scenarios:
    good = deviceholds.hold()
    for name, expect, about, data, key in (
        ("good", "ok", "Until a month later.", good, GATEWAY),
        ("ended", "ok", "The next serial number ends it.", deviceholds.hold(4, None), GATEWAY),
        ("forged", "bad-signature", "One bit of the signature.", flip(good, -10), GATEWAY),
        ("other-key", "wrong-key", "By somebody else.", good, OTHER),
        ("longest", "ok", "As long as may be.",
         deviceholds.hold(3, ex.TIME_MS + HOLD_MS_MAX), GATEWAY),
        ("too-long", "bad-value", "A millisecond longer.",
         _changed(good, 2, ex.TIME_MS + HOLD_MS_MAX + 1), GATEWAY),
        ("no-time", "bad-value", "It ends when it begins.",
         _changed(good, 2, ex.TIME_MS), GATEWAY),
        ("negative", "bad-value", "A serial number below zero.", _changed(good, 1, -1), GATEWAY),
        ("endless", "bad-type", "An end that is a text.", _changed(good, 2, "never"), GATEWAY),
    ):  # fmt: skip  # a row each
        yield Scenario("device-hold", name, "3.6", about, {"data": data.hex(), "key": key}, expect)


def requests() -> Scenarios:
    good = deviceholds.request()
    mine = ex.VALIDATOR.id
    late = ex.TIME_MS + REQUEST_AGE_MS_MAX
    for name, expect, about, data, to, at_ms in (
        ("good", "ok", "Asked just now.", good, mine, ex.TIME_MS),
        ("last-moment", "ok", "As old as may be.", good, mine, late),
        ("old", "expired", "A copy of it, later.", good, mine, late + 1),
        ("of-tomorrow", "expired", "A clock that is ahead.", good, mine,
         ex.TIME_MS - REQUEST_AGE_MS_MAX - 1),
        ("elsewhere", "wrong-device", "Shown to another validator.", good, ex.GIVER.id, late),
        ("forged", "bad-signature", "One bit of the signature.", flip(good, -10), mine, late),
    ):  # fmt: skip  # a row each
        given = {"data": data.hex(), "key": GATEWAY, "validator": to.hex(), "now_ms": at_ms}
        yield Scenario("segment-request", name, "8.8", about, given, expect)


def all_scenarios() -> Scenarios:
    """Each names what is wrong with it."""
    yield from holds()
    yield from requests()
