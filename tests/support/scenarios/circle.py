"""Organisations that exchange peer files; validators that refuse what is too much."""

from typing import Any

from support import circles
from support import examples as ex
from support.scenarios import Scenario, Scenarios, craft, flip, headers_of, key_hex, payload_of
from tallystick.evidence import cbor
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.keys import b64u

VALIDATOR = key_hex(ex.VALIDATOR.public_key())


def _of(data: bytes, signer: ex.Signer, at: int, item: Any, **claims: str) -> bytes:
    values = cbor.decode(payload_of(data))
    headers = headers_of(data)
    for name, value in claims.items():
        headers[15][{"iss": 1, "sub": 2}[name]] = value
    return craft(signer, headers, cbor.encode([*values[:at], item, *values[at + 1 :]]))


def peer_files() -> Scenarios:
    good = circles.peer_file()
    values = cbor.decode(payload_of(good))
    stranger = ex.enrol(ex.GIVER, SUBJECT_GATEWAY, ex.ACME, ex.ACME_ROOT).encode()

    def of(at: int, item: Any, **claims: str) -> bytes:
        return _of(good, ex.INITECH_ROOT, at, item, **claims)

    before, after = circles.VALIDITY
    for name, expect, about, data, at_s in (
        ("good", "ok", "Two roots, a gateway, a validator.", good, ex.TIME_S),
        ("nobody", "ok", "Roots alone.", circles.peer_file(gateways=[], validators=[]), before),
        ("forged", "bad-signature", "One bit of the signature.", flip(good, -40), ex.TIME_S),
        ("expired", "expired", "A second after its validity.", good, after + 1),
        ("early", "expired", "A second before its validity.", good, before - 1),
        ("backwards", "bad-value", "It ends before it begins.", of(3, [2, 1]), ex.TIME_S),
        ("second-root", "wrong-key", "Signed as by its second root.",
         of(4, values[4][::-1]), ex.TIME_S),
        ("other-name", "wrong-key", "Its signer's name is not its root's.",
         of(1, values[1], iss="acme"), ex.TIME_S),
        ("other-subject", "wrong-key", "Its subject is another key.",
         of(1, values[1], sub=b64u(ex.ACME_ROOT.id)), ex.TIME_S),
        ("no-roots", "bad-value", "Nobody vouches.", of(4, []), ex.TIME_S),
        ("one-name", "duplicate-key", "Two roots of one name.", of(4, values[4][:1] * 2),
         ex.TIME_S),
        ("strangers-gateway", "not-enrolled", "A gateway of another organisation.",
         of(5, [[stranger]]), ex.TIME_S),
        ("no-validator", "not-enrolled", "A gateway among the validators.",
         of(6, [[circles.URL, values[5][0]]]), ex.TIME_S),
        ("twice", "already-enrolled", "One gateway twice.", of(5, values[5] * 2), ex.TIME_S),
        ("user-in-url", "bad-value", "An address with a user in it.",
         of(6, [["https://a@b", values[6][0][1]]]), ex.TIME_S),
        ("other-scheme", "bad-value", "An address of a file.",
         of(6, [["file:///etc/passwd", values[6][0][1]]]), ex.TIME_S),
        ("no-name", "bad-value", "An organisation without a name.", of(1, ""), ex.TIME_S),
        ("unprintable", "bad-value", "A name that moves the cursor.", of(1, "a\x1b[2J"),
         ex.TIME_S),
    ):  # fmt: skip  # a row each
        yield Scenario("peer-file", name, "5.6", about, {"data": data.hex(), "at_s": at_s}, expect)


def refusals() -> Scenarios:
    good = circles.refusal()

    def of(at: int, item: Any) -> bytes:
        return _of(good, ex.VALIDATOR, at, item)

    gateway, batch, iss = ex.GATEWAY.id.hex(), circles.BATCH.hex(), ex.INITECH
    for name, expect, about, data, to, over, by in (
        ("good", "ok", "A device sent too much today.", good, gateway, batch, iss),
        ("forged", "bad-signature", "One bit.", flip(good, -40), gateway, batch, iss),
        ("other-gateway", "wrong-device", "For another.", good, ex.GIVER.id.hex(), batch, iss),
        ("other-batch", "replayed", "Of another batch.", good, gateway, bytes(32).hex(), iss),
        ("other-validator", "wrong-key", "By another.", good, gateway, batch, "acme"),
        ("for-ever", "bad-value", "For a day and a millisecond.",
         of(8, ex.TIME_MS + 86_400_001), gateway, batch, iss),
        ("for-no-time", "bad-value", "It ends when it begins.", of(8, ex.TIME_MS), gateway, batch,
         iss),
        ("other-quota", "bad-value", "A quota of no table.", of(4, "claims"), gateway, batch, iss),
        ("other-holder", "bad-value", "Nobody's quota.", of(2, "human"), gateway, batch, iss),
    ):  # fmt: skip  # a row each
        given = {"data": data.hex(), "key": VALIDATOR, "gateway": to, "batch": over, "iss": by}
        yield Scenario("quota-refusal", name, "6.7", about, given, expect)


def policies() -> Scenarios:
    good = circles.policy()
    roots = cbor.decode(payload_of(good))[3]

    def of(at: int, item: Any) -> bytes:
        return _of(good, ex.VALIDATOR, at, item)

    own = ex.VALIDATOR.id.hex()
    for name, expect, about, data, validator in (
        ("good", "ok", "The first policy of a log.", good, own),
        ("next", "ok", "After another one.", circles.policy(previous=bytes(32)), own),
        ("forged", "bad-signature", "One bit.", flip(good, -40), own),
        ("other-log", "wrong-device", "Another validator's.", good, ex.GIVER.id.hex()),
        ("unsorted", "non-canonical", "Roots in another order.", of(3, roots[::-1]), own),
        ("twice", "duplicate-key", "One root twice.", of(3, roots[:1] * 2), own),
        ("endless", "bad-value", "A quota below zero.", of(5, {"device": {"x": -1}}), own),
        ("nobodys", "bad-value", "A quota of nobody.", of(5, {"human": {"x": 1}}), own),
    ):
        given = {"data": data.hex(), "key": VALIDATOR, "validator": validator}
        yield Scenario("registration-policy", name, "6.8", about, given, expect)


def all_scenarios() -> Scenarios:
    """Each names what is wrong with it."""
    yield from peer_files()
    yield from refusals()
    yield from policies()
