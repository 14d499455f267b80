"""cbor2, another decoder, reads everything back with the same values, and nothing less strict."""

from decimal import Decimal
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings

from evidence import strategies as made
from support import examples as ex
from tallystick.evidence import cbor, cose
from tallystick.evidence.number import Dec

EVERYTHING = ex.everything()


def plain(value: Any) -> Any:
    """Our values as cbor2 has them: a decimal fraction is a Decimal, a map or list is its own."""
    if isinstance(value, Dec):
        return Decimal(value.mantissa).scaleb(value.exponent)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def strictly(data: bytes) -> Any:
    return cbor2.loads(data, allow_indefinite=False, allow_duplicate_keys=False, max_depth=13)


@pytest.mark.parametrize("example", EVERYTHING, ids=[example.name for example in EVERYTHING])
def test_an_object_is_read_back(example: ex.Example) -> None:
    read = strictly(example.data)
    if not example.signed:
        assert read == plain(cbor.decode(example.data))
        return
    assert read.tag == 18
    protected, unprotected, payload, signature = read.value
    ours = cose.parse(example.data, 1 << 24)
    assert strictly(protected) == ours.headers
    assert (unprotected, payload, signature) == ({}, ours.payload, ours.signature)
    assert strictly(payload) == plain(cbor.decode(ours.payload or b""))
    # The signed bytes, built by the other encoder.
    to_be_signed = cbor2.dumps(["Signature1", protected, b"", payload], canonical=True)
    assert to_be_signed == cose.to_be_signed(ours.protected, ours.payload or b"")


@pytest.mark.parametrize("record", [ex.inclusion_receipt(4, 8), ex.consistency_receipt(3, 8)])
def test_a_receipt_is_read_back(record: bytes) -> None:
    read = strictly(record)
    protected, unprotected, payload, _ = read.value
    assert strictly(protected)[395] == 1
    assert payload is None
    ((label, (proof,)),) = unprotected[396].items()
    assert label in {-1, -2}
    first, second, path = strictly(proof)
    assert 0 <= min(first, second) < max(first, second) == 8
    assert {len(node) for node in path} == {32}


@settings(max_examples=200, deadline=None)
@given(made.VALUES)
def test_any_value_is_read_back(value: Any) -> None:
    assert strictly(cbor.encode(value)) == plain(value)


@settings(max_examples=100, deadline=None)
@given(made.RECORDS)
def test_any_record_is_written_the_same(record: Any) -> None:
    # Length-first order (4.2.3) is bytewise order (4.2.1) where keys are all text.
    values = record.values()
    if "Decimal" not in repr(plain(values)):
        assert cbor2.dumps(values, canonical=True) == record.encode()
