"""What the other property tests leave out: every wire object comes back, every flip is seen."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import strategies as made
from support import examples as ex
from support.examples import Example
from support.mutants import flips
from tallystick.evidence import (
    batch,
    cbor,
    cose,
    enrolment,
    gatewayhead,
    kinds,
    profile,
    receipt,
    segment,
    statement,
    tree,
)
from tallystick.evidence.errors import Malformed, Unverified

HASHES, UINTS = made.HASHES, made.UINTS
BLOBS = st.binary(min_size=1, max_size=60)
PATHS = st.lists(HASHES, max_size=5)
SETTINGS = settings(max_examples=60, deadline=None)


def anew(got: Any) -> bytes:
    """The object's own bytes, not those that its parser kept; of a statement the payload."""
    if isinstance(got, segment.Segment):
        return segment.Segment(got.device, got.epoch, got.first, got.edge, got.stretches).encode()
    return cbor.encode(got.values())


@pytest.mark.parametrize("example", ex.everything(), ids=lambda example: example.name)
def test_what_is_made_anew_is_the_same(example: Example) -> None:
    got = example.parse(example.data)
    signed = isinstance(got, statement.Signed)
    assert anew(got) == (got.received().payload if signed else example.data)


def test_every_kind_has_an_example() -> None:
    of = {name: value for name, value in vars(kinds).items() if name.isupper()}
    seen = set()
    for example in ex.everything():
        data = cose.parse(example.data, 1 << 24).payload if example.signed else example.data
        value = cbor.decode(data or b"")
        if type(value[0]) is int:
            seen.add(value[0])
    assert seen == set(of.values())


# Flips of the others are in test_flips_properties.py and test_validator_objects.py, where what
# is accepted is verified too.
UNSIGNED = [
    example
    for example in ex.everything()
    if example.rule
    in {
        *("decision", "claim", "event", "accepted-half", "welcome", "resend", "notarised"),
        *("notice", "device-profile", "profile"),
    }
    and not example.signed
]


@pytest.mark.parametrize("example", UNSIGNED, ids=lambda example: example.name)
def test_every_flip_is_refused_or_another_object(example: Example) -> None:
    good = example.parse(example.data)
    for flipped in flips(example.data):
        try:
            got = example.parse(flipped)
        except Malformed:
            continue
        assert anew(got) == flipped
        assert got != good


SIGNED = [example for example in ex.everything() if example.signed]


def with_headers(data: bytes, headers: dict[int, Any]) -> bytes:
    sign1 = cose.parse(data, 1 << 24)
    return cose.encode(cbor.encode(headers), sign1.payload, sign1.signature, sign1.unprotected)


@pytest.mark.parametrize("example", SIGNED, ids=lambda example: example.name)
def test_a_header_names_its_signer_and_its_subject_and_nothing_else(example: Example) -> None:
    headers = cose.parse(example.data, 1 << 24).headers
    names = headers[15]
    example.parse(with_headers(example.data, headers))
    for wrong in (
        {**headers, 15: {**names, 2: "nobody's id"}},
        {**headers, 15: {**names, 2: names[2] + "A"}},
        {**headers, 15: {**names, 1: "Not A Name"}},
        {**headers, 15: {**names, 6: 1}},
        {**headers, 15: {1: names[1]}},
        {**headers, 395: 1},
        {**headers, 16: "x"},
        {label: value for label, value in headers.items() if label != 4},
        {label: value for label, value in headers.items() if label != 15},
    ):
        with pytest.raises((Malformed, Unverified)) as refused:
            example.parse(with_headers(example.data, wrong))
        assert refused.value.reason in ("bad-header", "wrong-device"), wrong


@SETTINGS
@given(UINTS, HASHES, UINTS, made.SIGNERS)
def test_gateway_heads_round_trip(size: int, root: bytes, time_ms: int, by: Any) -> None:
    signer, iss = by
    first = gatewayhead.GatewayHead(size, root, time_ms)
    got = gatewayhead.parse(first.sign(signer, iss, signer.id)).verify(signer.public_key())
    assert (got.values(), got.iss, got.device) == (first.values(), iss, signer.id)


@st.composite
def _batches(draw: st.DrawFn) -> batch.Batch:
    first = draw(UINTS)
    size = tree.edge_length(first)
    return batch.Batch(
        first,
        draw(st.lists(HASHES, min_size=size, max_size=size)),
        draw(st.lists(st.one_of(BLOBS, st.tuples(st.integers(0, 62), HASHES)), max_size=5)),
        draw(st.lists(st.lists(BLOBS, min_size=1, max_size=3), max_size=3)),
        draw(st.lists(BLOBS, max_size=3)),
        draw(PATHS),
        draw(BLOBS),
    )


@SETTINGS
@given(_batches(), made.SIGNERS)
def test_batches_round_trip(first: batch.Batch, by: Any) -> None:
    signer, iss = by
    data = first.sign(signer, iss, signer.id)
    got = batch.parse(data)
    assert (got.values(), got.encode()) == (first.values(), data)


@SETTINGS
@given(made.PROFILES, made.SIGNERS)
def test_signed_profiles_round_trip(first: profile.Profile, by: Any) -> None:
    signer, iss = by
    signed = profile.SignedProfile(first)
    data = signed.sign(signer, iss, signed.subject())
    got = profile.parse_statement(data).verify(signer.public_key())
    assert (got.profile, got.iss, got.encode()) == (first, iss, data)


@SETTINGS
@given(HASHES, UINTS, UINTS, PATHS, UINTS, made.SIGNERS)
def test_receipts_round_trip(
    root: bytes, first: int, second: int, path: list[bytes], iat: int, by: Any
) -> None:
    signer, iss = by
    signed = receipt.sign(signer, iss, ex.ORIGIN, iat, root)
    included = receipt.parse(signed.inclusion(first, second, path))
    assert (included.size, included.index, included.path) == (first, second, path)
    assert (included.iss, included.sub, included.iat) == (iss, ex.ORIGIN, iat)
    extended = receipt.parse_consistency(signed.consistency(first, second, path))
    assert (extended.size1, extended.size2, extended.path) == (first, second, path)
    for got, make in ((included, signed.inclusion), (extended, signed.consistency)):
        assert got.encode() == make(first, second, path)
        got.sign1.verify(signer.public_key(), root)


@SETTINGS
@given(made.SIGNERS)
def test_requests_for_enrolment_prove_possession_to_one_fleet(by: Any) -> None:
    signer, iss = by
    key, possession = enrolment.request(signer, iss)
    check: Callable[..., Any] = enrolment.check_possession
    assert list(check(key, signer.id, iss, possession)) == []
    for wrong in (
        (ex.GATEWAY.public_key(), signer.id, iss),
        (key, bytes(32), iss),
        (key, signer.id, "other"),
    ):
        with pytest.raises(Unverified) as refused:
            list(check(*wrong, possession))
        assert refused.value.reason == "no-possession"
