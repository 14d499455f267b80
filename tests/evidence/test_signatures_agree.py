"""The libraries of CPython and the pure code of MicroPython accept and refuse the same.

Long messages have a library of their own; here it decides on every message, too.

Where standards leave room (cofactor, low-order R, second forms) both must decide alike, or a
device and a validator would disagree on one statement.
"""

from collections.abc import Callable
from hashlib import sha256, sha512
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tallystick.evidence import _ed25519 as ed
from tallystick.evidence import _libraries, _p256form, keys
from tallystick.evidence import _p256 as ec
from tallystick.evidence._sha512 import sha512 as stepped_sha512
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.steps import finish

EdPoint = tuple[int, int, int, int]
EcPoint = tuple[int, int, int]


def decide(alg: int, raw: bytes, signature: bytes, message: bytes) -> bool:
    """What all say; fails where they differ."""
    key = keys.from_raw(alg, raw)
    with patch.object(_libraries, "LONG_BYTES_MIN", 0):
        answers = [says(lambda: key.verify(signature, message))]
    answers.append(says(lambda: key.verify(signature, message)))
    answers.append(says(lambda: purely(alg, raw, signature, message)))
    assert len(set(answers)) == 1, (alg, raw.hex(), signature.hex(), message.hex(), answers)
    return answers[0]


def says(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except Unverified:
        return False
    return True


def purely(alg: int, raw: bytes, signature: bytes, message: bytes) -> None:
    keys.check_signature_form(alg, signature)
    steps = keys.pure_verifier(alg, raw, signature, message)
    while not steps.step():
        pass


# --- Ed25519 ---------------------------------------------------------------------------------


def ed_multiple(scalar: int, point: EdPoint) -> EdPoint:
    result = ed._ZERO
    for bit in f"{scalar:b}":
        result = ed._double(result)
        if bit == "1":
            result = ed._add(result, point)
    return result


def ed_bytes(point: EdPoint) -> bytes:
    return bytes(finish(ed._encode(point)))


def ed_challenge(r: bytes, raw: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(r + raw + message).digest(), "little") % ed.L


ED_SECRET = 0x123456789ABCDEF123456789ABCDEF
ED_KEY = ed_multiple(ED_SECRET, ed._BASE)
TORSION = finish(
    ed._decode(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
)
LOW_ORDER = [ed_multiple(n, TORSION) for n in range(8)]


def test_the_torsion_point_has_order_eight() -> None:
    assert [ed_bytes(p) for p in LOW_ORDER].count(ed_bytes(ed._ZERO)) == 1
    assert ed_bytes(ed_multiple(8, TORSION)) == ed_bytes(ed._ZERO)


def test_keys_and_commitments_with_a_small_part_are_decided_without_the_cofactor() -> None:
    accepted = 0
    for key_part in range(8):
        raw = ed_bytes(ed._add(ED_KEY, LOW_ORDER[key_part]))
        for r_part in range(8):
            nonce = 1000 + 8 * key_part + r_part
            r = ed_bytes(ed._add(ed_multiple(nonce, ed._BASE), LOW_ORDER[r_part]))
            for turn in range(4):
                message = b"message %d" % turn
                h = ed_challenge(r, raw, message)
                s = (nonce + h * ED_SECRET) % ed.L
                answer = decide(keys.EDDSA, raw, r + s.to_bytes(32, "little"), message)
                # [s]B = R + [h]A holds exactly when the small parts cancel as well.
                assert answer == ((r_part + h * key_part) % 8 == 0)
                accepted += answer
    assert 4 < accepted < 100


def test_low_order_commitments_are_refused_in_every_encoding() -> None:
    encodings = {ed_bytes(point) for point in LOW_ORDER}
    for y in (0, 1, ed.P - 1, ed.P, ed.P + 1):
        for sign in (0, 1):
            encodings.add((y | sign << 255).to_bytes(32, "little"))
    assert len(encodings) == 14
    for r in encodings:
        for key_part in range(8):
            raw = ed_bytes(ed._add(ED_KEY, LOW_ORDER[key_part]))
            for turn in range(3):
                message = b"message %d" % turn
                s = ed_challenge(r, raw, message) * ED_SECRET % ed.L
                assert not decide(keys.EDDSA, raw, r + s.to_bytes(32, "little"), message)


def test_a_long_message_is_verified_by_its_own_library(monkeypatch: pytest.MonkeyPatch) -> None:
    key = SigningKey(bytes(range(32)))
    public = keys.from_raw(keys.EDDSA, bytes(key.verify_key))
    long = bytes(_libraries.LONG_BYTES_MIN)
    signature = bytes(key.sign(long).signature)
    monkeypatch.setattr(_libraries, "crypto_sign_open", None)
    public.verify(signature, long)
    for wrong in (long + b"\x00", b"\x01" + long[1:]):
        with pytest.raises(Unverified):
            public.verify(signature, wrong)


def test_s_in_its_other_forms_is_refused() -> None:
    key = SigningKey(bytes(range(32)))
    raw, message = bytes(key.verify_key), b"message"
    signature = bytes(key.sign(message).signature)
    assert decide(keys.EDDSA, raw, signature, message)
    s = int.from_bytes(signature[32:], "little")
    for wrong in (
        s + ed.L,
        s + 2 * ed.L,
        s + 15 * ed.L,
        s | 1 << 255,
        s | 1 << 254,
        ed.L,
        2**256 - 1,
    ):
        assert not decide(keys.EDDSA, raw, signature[:32] + wrong.to_bytes(32, "little"), message)
    assert not decide(keys.EDDSA, raw, signature[:32] + bytes(32), message)


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.integers(0, 511))
def test_any_ed25519_key_signs_alike_and_any_wrong_bit_is_refused(
    secret: bytes, message: bytes, bit: int
) -> None:
    key = SigningKey(secret)
    raw = bytes(key.verify_key)
    assert finish(ed.public_key(secret)) == raw
    signature = finish(ed.sign(secret, raw, message))
    assert signature == key.sign(message).signature
    assert decide(keys.EDDSA, raw, signature, message)
    wrong = bytearray(signature)
    wrong[bit >> 3] ^= 1 << (bit & 7)
    assert not decide(keys.EDDSA, raw, bytes(wrong), message)


@given(st.binary(max_size=400))
def test_the_stepped_sha512_is_hashlibs(data: bytes) -> None:
    assert finish(stepped_sha512(data)) == sha512(data).digest()


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=60)
def test_a_key_is_taken_exactly_when_it_decodes(raw: bytes) -> None:
    try:
        keys.from_raw(keys.EDDSA, raw)
        taken = True
    except Malformed as error:
        if error.reason == "weak-key":
            return
        taken = False
    canonical = int.from_bytes(raw, "little") & (2**255 - 1) < ed.P
    assert taken == (canonical and finish(ed._decode(raw)) is not None)


# --- P-256 -----------------------------------------------------------------------------------


def ec_multiple(scalar: int, point: EcPoint) -> EcPoint:
    result = ec._INFINITY
    for bit in f"{scalar:b}":
        result = ec._double(result)
        if bit == "1":
            result = ec._add(result, point)
    return result


def ec_raw(point: EcPoint) -> bytes:
    x, y, z = point
    inverse = pow(z, -1, ec.P)
    return (x * inverse**2 % ec.P).to_bytes(32, "big") + (y * inverse**3 % ec.P).to_bytes(32, "big")


def negative(point: EcPoint) -> EcPoint:
    return point[0], -point[1] % ec.P, point[2]


G = (ec._GX, ec._GY, 1)


def ec_sign(secret: int, nonce: int, message: bytes) -> bytes:
    r = int.from_bytes(ec_raw(ec_multiple(nonce, G))[:32], "big") % ec.N
    e = int.from_bytes(sha256(message).digest(), "big")
    s = pow(nonce, -1, ec.N) * (e + r * secret) % ec.N
    return keys.low_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def test_keys_near_the_generator_meet_every_exception_of_the_addition() -> None:
    # Sums of equal and of opposite points, and sums that start at infinity.
    for secret in (*range(1, 17), *range(ec.N - 16, ec.N)):
        raw = ec_raw(ec_multiple(secret, G))
        for nonce in (1, 2, 3, ec.N - 1, ec.N - 2, 12345):
            signature = ec_sign(secret, nonce, b"message")
            assert decide(keys.ES256, raw, signature, b"message")
            assert not decide(keys.ES256, raw, signature, b"other")


def point_with_x(x: int) -> EcPoint | None:
    square = (x**3 - 3 * x + _p256form._B256) % ec.P
    y = pow(square, (ec.P + 1) // 4, ec.P)
    return (x, y, 1) if y * y % ec.P == square else None


def test_an_x_above_the_order_is_reduced() -> None:
    # x of R lies between n and p, so r = x - n.  The key is made to fit (key recovery).
    found = 0
    x = ec.N
    while found < 3:
        x += 1
        point = point_with_x(x)
        if point is None:
            continue
        found += 1
        r, s, message = x - ec.N, 0x1234567890ABCDEF, b"message"
        e = int.from_bytes(sha256(message).digest(), "big")
        inverse = pow(r, -1, ec.N)
        key = ec._add(ec_multiple(s * inverse % ec.N, point), ec_multiple(-e * inverse % ec.N, G))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert decide(keys.ES256, ec_raw(key), signature, message)
        # x itself, not reduced, is no r; nor is the next number.
        for wrong in (x, r + 1):
            other = wrong.to_bytes(32, "big") + s.to_bytes(32, "big")
            assert not decide(keys.ES256, ec_raw(key), other, message)


def test_a_sum_at_infinity_is_refused() -> None:
    message = b"message"
    e = int.from_bytes(sha256(message).digest(), "big")
    for r in (1, 2, 12345):
        # u1 + u2 * secret = 0 when secret = -e / r.
        secret = -e * pow(r, -1, ec.N) % ec.N
        raw = ec_raw(ec_multiple(secret, G))
        for s in (1, 2, 99):
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
            assert not decide(keys.ES256, raw, signature, message)


def test_high_s_verifies_in_the_library_and_is_refused_by_us() -> None:
    signature = ec_sign(7, 9, b"message")
    raw = ec_raw(ec_multiple(7, G))
    assert decide(keys.ES256, raw, signature, b"message")
    s = int.from_bytes(signature[32:], "big")
    high = signature[:32] + (ec.N - s).to_bytes(32, "big")
    from tallystick.evidence import _libraries

    _libraries.verify(keys.ES256, raw, high, b"message")
    finish(ec.verify(raw, high, b"message"))
    with pytest.raises(Unverified):
        keys.from_raw(keys.ES256, raw).verify(high, b"message")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, ec.N - 1), st.integers(1, ec.N - 1), st.binary(max_size=80), st.integers(0, 511)
)
def test_any_p256_key_signs_alike_and_any_wrong_bit_is_refused(
    secret: int, nonce: int, message: bytes, bit: int
) -> None:
    raw = ec_raw(ec_multiple(secret, G))
    signature = ec_sign(secret, nonce, message)
    assert decide(keys.ES256, raw, signature, message)
    wrong = bytearray(signature)
    wrong[bit >> 3] ^= 1 << (bit & 7)
    assert not decide(keys.ES256, raw, bytes(wrong), message)


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
@settings(max_examples=60)
def test_any_64_bytes_as_signature_are_decided_alike(r: int, s: int) -> None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert not decide(keys.ES256, ec_raw(G), signature, b"message")
    assert not decide(keys.EDDSA, ed_bytes(ED_KEY), signature, b"message")
