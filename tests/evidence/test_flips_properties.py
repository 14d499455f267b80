"""Every single-bit flip is refused, or changes nothing that is signed."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from evidence import strategies as made
from support import examples
from support.examples import ACME_ROOT, GATEWAY, GIVER, ROOTS
from support.mutants import flips
from tallystick.evidence import (
    checkpoint,
    credential,
    custody,
    enrolment,
    half,
    hello,
    keychange,
    profile,
    segment,
)
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.tree import Tree

SEGMENTS = 50


def _rotation(data: bytes) -> Any:
    change = keychange.parse(data)
    assert isinstance(change, keychange.Rotation)
    return change.verify(ACME_ROOT.public_key(), GIVER.public_key())


def _other_change(data: bytes) -> Any:
    change = keychange.parse(data)
    if isinstance(change, keychange.Rotation):
        raise Malformed("unknown-kind", "another form of key change")
    return change.verify(ACME_ROOT.public_key())


SIGNED: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
    "checkpoint": (
        lambda: examples.giver_log().checkpoints[0],
        lambda data: checkpoint.parse(data).verify(GIVER.public_key()),
    ),
    "checkpoint by P-256": (
        lambda: examples.receiver_log().checkpoints[0],
        lambda data: checkpoint.parse(data).verify(examples.RECEIVER.public_key()),
    ),
    "custody receipt": (
        lambda: examples.custody_receipt(examples.giver_log()),
        lambda data: custody.parse(data).verify(GATEWAY.public_key()),
    ),
    "enrolment": (
        lambda: examples.enrol(GIVER).encode(),
        lambda data: enrolment.parse(data).verify(ACME_ROOT.public_key()),
    ),
    "rotation": (examples.rotation, _rotation),
    "replacement": (examples.replacement, _other_change),
    "revocation": (examples.revocation, _other_change),
    "profile": (
        lambda: profile.SignedProfile(examples.the_profile()).sign(
            GATEWAY, "acme", profile.SignedProfile(examples.the_profile()).subject()
        ),
        lambda data: profile.parse_statement(data).verify(GATEWAY.public_key()),
    ),
}


@pytest.mark.parametrize("name", SIGNED)
def test_signed_objects(name: str) -> None:
    make, verify = SIGNED[name]
    data = make()
    good = verify(data)
    for flipped in flips(data):
        with pytest.raises((Malformed, Unverified)):
            verify(flipped)
    assert verify(data) == good


def test_halves() -> None:
    for signer in (GIVER, examples.RECEIVER):
        log = examples.giver_log() if signer is GIVER else examples.receiver_log()
        root = ACME_ROOT if signer is GIVER else examples.GLOBEX_ROOT
        enrolled = examples.enrol(signer, 0, log.iss, root)
        data = examples.half_of(log, [enrolled.encode()]).encode()
        good = half.verify_half(half.parse(data), credential.Keyring(ROOTS))
        for flipped in flips(data):
            # A new keyring: a known identity would hide a flip in its own statement's signature.
            with pytest.raises(TallyError):
                half.verify_half(half.parse(flipped), credential.Keyring(ROOTS))
        assert good.reference == examples.reference_of(log)


def test_credentials() -> None:
    data = examples.credential_bytes()
    credential.verify_credential(credential.parse(data), ROOTS)
    for flipped in flips(data):
        with pytest.raises(TallyError):
            credential.verify_credential(credential.parse(flipped), ROOTS)


def test_hellos() -> None:
    # Where a device stands is its own unsigned word; who it is, is signed.
    data = examples.the_hello().encode()
    good = hello.verify_hello(hello.parse(data), credential.Keyring(ROOTS))
    accepted = 0
    for flipped in flips(data):
        try:
            identity = hello.verify_hello(hello.parse(flipped), credential.Keyring(ROOTS))
        except TallyError:
            continue
        accepted += 1
        assert identity.digest == good.digest and identity.id == good.id
    assert 0 < accepted <= 8 * (8 + 1 + 1)


def _refuses_all(data: bytes, key: Any, edge: Tree | None) -> int:
    count = 0
    for flipped in flips(data):
        with pytest.raises((Malformed, Unverified)):
            segment.verify_segment(segment.parse(flipped), key, edge)
        count += 1
    return count


def test_segments_of_the_examples() -> None:
    for log in (examples.giver_log(), examples.receiver_log()):
        key = log.signer.public_key()
        for made_ in (
            examples.segment_of(log),
            examples.later_segment(log),
            examples.elided_segment(log),
        ):
            data = made_.encode()
            assert segment.verify_segment(segment.parse(data), key).to == 5
            assert _refuses_all(data, key, None) == 8 * len(data)
        # A receiver that knows the history checks a carried edge none the less.
        known = Tree()
        known.extend(log.leaves[:3])
        data = examples.later_segment(log).encode()
        assert segment.verify_segment(segment.parse(data), key, known).began is None
        _refuses_all(data, key, known)


@pytest.mark.timeout(300)
@settings(
    max_examples=SEGMENTS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(made.segments(small=True))
def test_every_flip_of_fifty_segments(pair: "tuple[segment.Segment, made.Log]") -> None:
    """A05: one bit anywhere."""
    given_, log = pair
    key = log.signer.public_key()
    data = given_.encode()
    verified = segment.verify_segment(segment.parse(data), key)
    assert verified.to == given_.to and verified.tree.root() == log.tree(given_.to).root()
    _refuses_all(data, key, None)
