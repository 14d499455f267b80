"""The codec against itself, against cbor2, and against every flipped bit."""

from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.evidence import cbor, number
from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec

ints = st.integers(-(2**64), 2**64 - 1) | st.integers(-300, 300)
texts = st.text(st.characters(codec="utf-8"), max_size=30)


@st.composite
def decs(draw: st.DrawFn) -> Dec:
    mantissa = draw(st.integers(number.INT_MIN, number.INT_MAX).filter(lambda m: m % 10))
    return Dec(mantissa, draw(st.integers(number.EXPONENT_MIN, -1)))


scalars = st.none() | st.booleans() | ints | texts | st.binary(max_size=300) | decs()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(texts, inner, max_size=5)
        | st.dictionaries(ints, inner, max_size=5)
    ),
    max_leaves=20,
)


def same(ours: Any, theirs: Any) -> bool:
    """True when cbor2's value means what ours does; exact about types."""
    if isinstance(ours, Dec):
        sign, digits, exponent = theirs.as_tuple()
        mantissa = int("".join(map(str, digits))) * (-1 if sign else 1)
        return (mantissa, exponent) == (ours.mantissa, ours.exponent)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in ours)
    return type(ours) is type(theirs) and bool(ours == theirs)


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    data = cbor.encode(value)
    assert cbor.decode(data) == value
    assert cbor.encode(cbor.decode(data)) == data
    assert same(cbor.decode(data), cbor2.loads(data))


@given(st.recursive(scalars.filter(lambda v: not isinstance(v, Dec)), st.lists, max_leaves=10))
def test_cbor2_writes_the_same_where_both_orders_agree(value: Any) -> None:
    assert cbor2.dumps(value, canonical=True) == cbor.encode(value)


@given(st.binary(max_size=40))
def test_whatever_is_read_is_written_back_and_cbor2_reads_the_same(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except Malformed:
        return
    assert cbor.encode(value) == data
    assert same(value, cbor2.loads(data))


# Heads that often make well-formed items, so that the search gets past the first byte.
heads = st.sampled_from(
    [bytes([major << 5 | info]) for major in range(8) for info in (0, 1, 2, 23, 24, 25, 27, 31)]
)


@settings(max_examples=1000)
@given(st.lists(heads | st.binary(min_size=1, max_size=2), max_size=12).map(b"".join))
def test_nearly_well_formed_items_agree_with_cbor2(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except Malformed:
        return
    assert cbor.encode(value) == data
    assert same(value, cbor2.loads(data))


@given(values)
@settings(max_examples=60)
def test_every_flipped_bit_is_refused_or_another_value(value: Any) -> None:
    data = cbor.encode(value)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        try:
            other = cbor.decode(bytes(flipped))
        except Malformed:
            continue
        assert cbor.encode(other) == bytes(flipped)


def test_lone_surrogates_have_no_encoding() -> None:
    for text in ("\ud800", "a\udfffb"):
        for value in (text, [text], {text: 1}):
            with pytest.raises(Malformed, match="UTF-8"):
                cbor.encode(value)


def test_subclasses_are_not_their_bases() -> None:
    class Name(str):
        __slots__ = ()

    class Count(int):
        pass

    for value in (Name("x"), Count(1)):
        with pytest.raises(Malformed):
            cbor.encode([value])
