"""COSE_Sign1: round trips, flipped bits, and other implementations' eyes."""

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from tallystick.evidence import cose, keys
from tallystick.evidence.errors import Malformed, TallyError, Unverified

BYTES_MAX = 10_000
SIGNER = SigningKey(bytes(32))
KEY = keys.from_raw(keys.EDDSA, bytes(SIGNER.verify_key))

texts = st.text(st.characters(codec="utf-8"), max_size=20)
claims = st.dictionaries(st.integers(1, 10), texts | st.integers(0, 2**40), max_size=3)
payloads = st.binary(max_size=200)


def signed(protected: bytes, payload: bytes, unprotected: dict[int, Any] | None = None) -> bytes:
    signature = SIGNER.sign(cose.to_be_signed(protected, payload)).signature
    return cose.encode(protected, payload, bytes(signature), unprotected)


@given(st.sampled_from((-8, -19)), claims, payloads, st.booleans())
def test_what_is_signed_is_read_and_verified(
    alg: int, claim: dict[int, Any], payload: bytes, with_receipts: bool
) -> None:
    protected = cose.protected_header(alg, KEY.kid(), claim)
    extra = {394: [b"receipt"]} if with_receipts else None
    data = signed(protected, payload, extra)
    got = cose.parse(data, BYTES_MAX).verify(KEY)
    assert got.payload == payload and got.headers[cose.CLAIMS] == claim
    assert cose.encode(got.protected, got.payload, got.signature, got.unprotected) == data
    theirs = cbor2.loads(data)
    assert theirs.tag == 18
    assert [theirs.value[at] for at in (0, 2, 3)] == [protected, payload, got.signature]
    assert list(theirs.value[1]) == list(extra or {})
    structure = cbor2.dumps(["Signature1", protected, b"", payload], canonical=True)
    assert cose.to_be_signed(protected, payload) == structure


@settings(max_examples=20, deadline=None)
@given(claims, st.binary(min_size=1, max_size=60))
def test_every_flipped_bit_is_refused_or_changes_nothing_that_is_signed(
    claim: dict[int, Any], payload: bytes
) -> None:
    protected = cose.protected_header(-8, KEY.kid(), claim)
    data = signed(protected, payload, {394: [b"r"]})
    good = cose.parse(data, BYTES_MAX)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        try:
            got = cose.parse(bytes(flipped), BYTES_MAX).verify(KEY)
        except TallyError:
            continue
        assert got.digest() == good.digest() and got.signature == good.signature
        assert got.statement_bytes() == good.statement_bytes()


@given(st.sampled_from((-7, -9)), st.binary(min_size=64, max_size=64))
def test_an_algorithm_of_the_other_key_type_is_refused_before_the_signature(
    alg: int, signature: bytes
) -> None:
    got = cose.parse(cose.encode(cose.protected_header(alg, None), b"", signature), BYTES_MAX)
    with pytest.raises(Unverified) as raised:
        got.verify(KEY)
    assert raised.value.reason == "wrong-alg"


def test_the_size_is_checked_before_the_content() -> None:
    with pytest.raises(Malformed) as raised:
        cose.parse(b"\xff" * 100, 99)
    assert raised.value.reason == "too-large"
