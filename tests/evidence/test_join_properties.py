"""Objects of joining come back as they were, and no flipped bit of them is believed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import strategies as made
from support import examples as ex
from support import joins
from support.mutants import flips
from tallystick.evidence import invitation, joinanswer, joincode, joinrequest, queueorder
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import b64u

SETTINGS = settings(max_examples=60, deadline=None)
SIXTEEN = st.binary(min_size=16, max_size=16)
CODES = st.builds(
    joincode.Code, st.binary(min_size=15, max_size=15), st.binary(min_size=13, max_size=13)
)
BLOBS = st.binary(min_size=1, max_size=100)
FILES = st.text("abcXYZ019_-@", min_size=1, max_size=20).map(lambda name: f"p{name}.cbor")


@SETTINGS
@given(CODES)
def test_codes_are_typed_in_many_ways_and_are_one(code: joincode.Code) -> None:
    text = code.text()
    for typed in (text, text.upper(), text.replace("-", ""), f" {text.replace('-', ' ')}\n"):
        got = joincode.parse(typed)
        assert (got.text(), got.name()) == (text, code.name())
        assert (got.door_key(), got.fleet_key()) == (code.door_key(), code.fleet_key())
    # What the gateway has, what the fleet has and what travels are three things.
    assert len({code.door_key(), code.fleet_key(), code.name() + bytes(16)}) == 3


def test_every_mistyped_character_is_noticed() -> None:
    """But one in 65,536, which the gateway then does not know."""
    text = joins.code().text()
    for at, char in enumerate(text):
        if char == "-":
            continue
        for other in "abcdefghijklmnopqrstuvwxyz234567":
            if other != char:
                with pytest.raises(Malformed):
                    joincode.parse(text[:at] + other + text[at + 1 :])


@SETTINGS
@given(CODES, SIXTEEN, BLOBS)
def test_requests_round_trip(code: joincode.Code, nonce: bytes, asked: bytes) -> None:
    first = joinrequest.make(code, nonce, asked)
    got = joinrequest.parse(first.encode())
    assert got.values() == first.values() and got.digest == first.digest
    got.verify_door(code.door_key()).verify_fleet(code.fleet_key())
    assert (got.code, got.nonce, got.request) == (code.name(), nonce, asked)


@SETTINGS
@given(SIXTEEN, made.HASHES, st.integers(0, 100_000), made.SIGNERS)
def test_invitations_round_trip(code: bytes, door: bytes, uses: int, by: Any) -> None:
    signer, iss = by
    first = invitation.Invitation(code, door, uses, [1, 2])
    got = invitation.parse(first.sign(signer, iss, b64u(code))).verify(signer.public_key())
    assert (got.values(), got.iss) == (first.values(), iss)


@SETTINGS
@given(made.HASHES, made.HASHES, st.dictionaries(FILES, BLOBS, max_size=16), made.SIGNERS)
def test_answers_round_trip(
    id_: bytes, request: bytes, profiles: dict[str, bytes], by: Any
) -> None:
    signer, iss = by
    first = joinanswer.JoinAnswer(id_, request, [b"x"], '{"namespace": "dock"}', profiles, None)
    got = joinanswer.parse(first.sign(signer, iss, id_)).verify(signer.public_key())
    assert (got.values(), got.iss, got.device) == (first.values(), iss, id_)


@SETTINGS
@given(made.HASHES, made.UINTS, made.HASHES, made.SIGNERS)
def test_orders_round_trip(challenge: bytes, after: int, gateway: bytes, by: Any) -> None:
    signer, iss = by
    first = queueorder.QueueOrder(challenge, after)
    got = queueorder.parse(first.sign(signer, iss, gateway))
    assert got.verify(signer.public_key(), gateway, challenge).values() == first.values()


def verified(name: str, data: bytes) -> None:
    root = ex.GLOBEX_ROOT.public_key()
    if name == "invitation":
        invitation.parse(data).verify(root)
    elif name == "join answer":
        joinanswer.parse(data).verify(root)
    elif name == "queue order":
        queueorder.parse(data).verify(root, ex.GATEWAY.id, joins.CHALLENGE)
    else:
        code = joins.code()
        joinrequest.parse(data).verify_door(code.door_key()).verify_fleet(code.fleet_key())


@pytest.mark.parametrize("example", joins.examples(), ids=lambda example: example[0])
def test_no_flipped_bit_is_believed(example: Any) -> None:
    name, _, data, _ = example
    verified(name, data)
    believed = []
    for flipped in flips(data):
        try:
            verified(name, flipped)
        except (Malformed, Unverified):
            continue
        except TallyError as error:
            raise AssertionError(error.reason) from error
        believed.append(flipped)
    assert believed == []
