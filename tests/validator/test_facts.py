"""What was found good before is not verified again, and nothing else passes for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from nacl.bindings import crypto_sign_open

from support.crew import facts_of
from support.devices import Fleet, key
from support.story import disclose
from support.validating import Gateway, Room, handover
from tallystick.evidence import _libraries, segment
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.evidence.segment import verify_segment
from tallystick.evidence.tree import Tree
from tallystick.evidence.vouched import fact, is_known, vouched
from tallystick.validator import ahead, limits


@contextmanager
def counted() -> Iterator[list[int]]:
    """A list that grows by one with each signature that a library verifies."""
    calls: list[int] = []

    def counting(*given: bytes) -> bytes:
        calls.append(1)
        return crypto_sign_open(*given)

    load = _libraries._load_p256

    def loading(raw: bytes) -> object:
        calls.append(1)
        return load(raw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallystick.evidence._libraries.crypto_sign_open", counting)
        patch.setattr(_libraries, "_load_p256", loading)
        yield calls


@pytest.mark.parametrize("alg", [EDDSA, ES256])
def test_bits_that_are_flipped_are_found_whatever_was_found_good(fleet: Fleet, alg: int) -> None:
    """Every bit of two segments: facts of the good ones change no outcome of the bad ones."""
    device = fleet.device(alg=alg)
    handover(device, fleet.device("b"), "order", sides="g")
    device.record(1)
    identity = verify_credential(Credential(device.credential), fleet.roots)
    gateway = Gateway(fleet)
    for good, tree in ((device.segment(0, 1), Tree()), (device.segment(1, 2), device.tree(2))):
        gateway.take(good)
        facts = set(facts_of(gateway.batch(devices=[device])))
        with counted() as calls:
            verify_segment(segment.parse(good), identity, tree)
            assert len(calls) == 1
            with vouched(facts):
                verify_segment(segment.parse(good), identity, tree)
            assert len(calls) == 1
        for bit in range(8 * len(good)):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            with vouched(facts), pytest.raises((Malformed, Unverified)):
                verify_segment(segment.parse(bytes(bad)), identity, tree)


def test_a_key_that_nobody_enrolled_vouches_for_nothing(room: Room, fleet: Fleet) -> None:
    """A stranger enrols the victim's id for its own key: its signatures are good, and by nobody."""
    victim, thief, gateway = fleet.device("victim"), Fleet("acme"), Gateway(fleet)
    thief.__dict__["root"] = key("a root of nobody")
    stolen = thief.device("thief")
    stolen.named = victim.id
    victim.record(1)
    stolen.record(1)
    gateway.take(victim.segment())
    assert room.send(gateway.batch(devices=[victim])).refused == []
    gateway.take(stolen.segment())
    data = gateway.batch(1, devices=[stolen])
    facts = facts_of(data)
    assert len(facts) == 3  # batch, head, and the stranger's checkpoint
    with vouched(set(facts)):
        assert room.send(data).refused == [(1, "wrong-key")]


def test_a_fact_is_of_one_key_one_signature_and_one_message(fleet: Fleet) -> None:
    signer, other = fleet.device("a").signer, fleet.device("b").signer
    mine, theirs = signer.public_key(), other.public_key()
    signature = signer.sign(b"this")
    known = {fact(mine.alg, mine.raw, signature, b"this")}
    with vouched(known), counted() as calls:
        mine.verify(signature, b"this")
        assert calls == []
        for public, made, message in (
            (theirs, signature, b"this"),
            (mine, other.sign(b"this"), b"this"),
            (mine, signature, b"that"),
        ):
            with pytest.raises(Unverified):
                public.verify(made, message)
        assert len(calls) == 3
    with counted() as calls:
        mine.verify(signature, b"this")
    assert len(calls) == 1
    with vouched(known):
        # Another thread has its own.
        found: list[bool] = []
        thread = threading.Thread(
            target=lambda: found.append(is_known(mine.alg, mine.raw, signature, b"this"))
        )
        thread.start()
        thread.join()
        assert (found, is_known(mine.alg, mine.raw, signature, b"this")) == ([False], True)


def test_all_that_is_signed_in_a_batch_is_looked_at(room: Room, fleet: Fleet) -> None:
    """Batch, head, checkpoints, an edge's, custody receipts, and halves with their credentials."""
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    handover(giver, receiver, "order", sides="g")
    receipt = gateway.custody(giver, gateway.time_ms)
    giver.record(1)
    receiver.accept(disclose(giver, 1, embed=True).encode())
    receiver.accept(disclose(giver, 1).encode())
    receiver.seal()
    gateway.take(giver.segment(0, 1), giver.segment(1, 2, edge=True), receiver.segment())
    data = gateway.batch(devices=[giver, receiver], receipts=[receipt])
    with counted() as calls:
        facts = facts_of(data)
    # An edge and two halves have the checkpoint of the first stretch: it is looked at once.
    assert len(set(facts)) == len(facts) == len(calls) == 2 + 1 + 2 + 1
    with counted() as calls, vouched(set(facts)):
        assert room.send(data).refused == []
    # What is left: three enrolments, each by a root and by the key that it names.
    assert len(calls) == 6


def test_facts_that_are_none_are_refused() -> None:
    facts = [bytes([n]) * 32 for n in range(3)]
    assert ahead.unpack(ahead.pack(facts)) == frozenset(facts)
    good = ahead.pack(facts)
    for bad in (b"", good + b"x", good + bytes(32 * limits.AHEAD_FACTS_MAX), b"x" + good[1:]):
        with pytest.raises(Malformed):
            ahead.unpack(bad)
