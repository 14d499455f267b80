"""Signatures and credentials that must be refused everywhere (A15, A16, A18), by what is wrong."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from support.devices import VALID_S, Fleet, key
from tallystick.evidence import cbor, cose, enrolment
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import Enrolment, possession_message
from tallystick.evidence.keys import ES256, device_text
from tallystick.hw.signer import Signer

SIGNED_BYTES_MAX = 1 << 24
P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_L = 2**252 + 27742317777372353535851937790883648493
BASE_POINT = bytes.fromhex("58" + 31 * "66")  # RFC 8032, 5.1
# Of order 1, 2, 4 and 8 (RFC 7748 has no name for them), one not canonically encoded.
LOW_ORDER = {
    "identity": bytes([1]) + bytes(31),
    "order 2": bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    "order 4": bytes(32),
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "above p": bytes.fromhex("f0" + 30 * "ff" + "7f"),  # of no low order, and not canonical
    "not canonical": bytes.fromhex(
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
    ),
}


def signatures(signer: Signer, signed: bytes) -> dict[str, bytes]:
    """Statements with the content of `signed` and a signature that must not count."""
    one = cose.parse(signed, SIGNED_BYTES_MAX)
    payload = one.payload or b""
    r, s = one.signature[:32], one.signature[32:]
    made: dict[str, bytes] = {}

    def put(name: str, signature: bytes) -> None:
        made[name] = _raw(one.protected, {}, payload, signature)

    if signer.alg == ES256:
        number = int.from_bytes(s, "big")
        put("high s", r + (P256_N - number).to_bytes(32, "big"))
        put("r is 0", bytes(32) + s)
        put("s is 0", r + bytes(32))
        put("r is the order", P256_N.to_bytes(32, "big") + s)
        der = encode_dss_signature(int.from_bytes(r, "big"), number)
        put("DER", der)
        put("DER, cut to 64", der[:64])
    else:
        number = int.from_bytes(s, "little")
        put("S + L", r + (number + ED25519_L).to_bytes(32, "little"))
        put("S is 0", r + bytes(32))
        put("R of low order", LOW_ORDER["order 2"] + s)
    return made


def _raw(protected: bytes, unprotected: Any, payload: bytes, signature: bytes) -> bytes:
    return b"\xd2" + cbor.encode([protected, unprotected, payload, signature])


def algorithms(signer: Signer, signed: bytes) -> dict[str, bytes]:
    """Statements that the device's key really signed, under headers that confuse algorithms."""
    one = cose.parse(signed, SIGNED_BYTES_MAX)
    payload = one.payload or b""
    headers: dict[int, Any] = cbor.decode(one.protected)
    other = -7 if signer.alg == -8 else -8
    without = {label: value for label, value in headers.items() if label != 1}
    made = {}
    for name, table, unprotected in (
        ("alg of another key type", {**headers, 1: other}, {}),
        ("alg nowhere", without, {}),
        ("alg in the unprotected header only", without, {1: signer.alg}),
        ("alg in both headers", headers, {1: signer.alg}),
        ("alg none", {**headers, 1: 0}, {}),
        ("alg HMAC 256/256", {**headers, 1: 5}, {}),
        ("unknown crit", {**headers, 2: [99], 99: True}, {}),
        ("crit of a known label", {**headers, 2: [1]}, {}),
    ):
        protected = cbor.encode(dict(sorted(table.items())))
        signature = signer.sign(cose.to_be_signed(protected, payload))
        made[name] = _raw(protected, unprotected, payload, signature)
    return made


def forgeries(signer: Signer, signed: bytes) -> dict[str, bytes]:
    """All of them."""
    return signatures(signer, signed) | algorithms(signer, signed)


def credentials(fleet: Fleet) -> dict[str, tuple[list[bytes], str]]:
    """Credentials that the root itself signed, and the reason for which each is refused (A18)."""
    honest = key("holder of the key", ES256)
    public = honest.public_key()
    message = possession_message(public.alg, public.thumbprint(), fleet.name)
    good = honest.sign(message)
    elsewhere = honest.sign(possession_message(public.alg, public.thumbprint(), "globex"))
    thief = key("who has the public key only", ES256).sign(message)

    def signed(values: list[Any], id_: bytes) -> list[bytes]:
        protected = cbor.encode(
            {
                1: fleet.root.public_key().alg,
                4: fleet.root.public_key().kid(),
                15: {1: fleet.name, 2: device_text(id_)},
            }
        )
        payload = cbor.encode(values)
        signature = fleet.root.sign(cose.to_be_signed(protected, payload))
        return [cose.encode(protected, payload, signature)]

    def enrolled(possession: bytes) -> list[Any]:
        return Enrolment(
            enrolment.SUBJECT_DEVICE, public.thumbprint(), public, 0, [], {}, [], 60,
            list(VALID_S), possession,
        ).values()  # fmt: skip

    r, s = good[:32], int.from_bytes(good[32:], "big")
    made: dict[str, tuple[list[bytes], str]] = {}
    for name, possession in (
        ("possession of nothing", bytes(64)),
        ("possession by another key", thief),
        ("possession for another fleet", elsewhere),
        ("possession with a high s", r + (P256_N - s).to_bytes(32, "big")),
    ):
        made[name] = signed(enrolled(possession), public.thumbprint()), "no-possession"
    for name, raw in LOW_ORDER.items():
        # All else is as it should be: with the identity as key, (B, 1) signs whatever there is.
        values = enrolled(BASE_POINT + (1).to_bytes(32, "little"))
        values[3] = {1: 1, -1: 6, -2: raw}
        values[2] = sha256(cbor.encode(values[3]))
        reason = "bad-key" if name == "above p" else "weak-key"
        made[f"weak key: {name}"] = signed(values, values[2]), reason
    values = enrolled(good)
    values[3] = {1: 2, -1: 1, -2: bytes(31) + b"\x01", -3: bytes(31) + b"\x01"}
    made["a point off the curve"] = signed(values, values[2]), "bad-key"
    values = enrolled(good)
    values[3] = {1: 2, -1: 1, -2: public.raw[:32], -3: True}
    made["a compressed point"] = signed(values, values[2]), "bad-key"
    return made
