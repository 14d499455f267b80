"""What logs say of the same devices and interactions: what contradicts, and what only differs."""

from dataclasses import replace

import pytest

from support.devices import VALID_S, Device, Fleet, key
from support.keychanges import rotate
from tallystick.evidence import checkpoint, enrolment, keychange
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.tree import consistency_path, root_of
from tallystick.verify import logcompare
from tallystick.verify.devicekeys import Signatures
from tallystick.verify.logcheck import LogCheck, LoggedHead, LoggedVerdict, Told

FLEET = Fleet("acme")
SET = ("dock-3", bytes(16), bytes(32), bytes(32))


def a_device(size: int, story: str = "") -> Device:
    """Five records that are the same in every story, then others."""
    made = FLEET.device("arm-1")
    for at in range(size):
        made.decision(story if at > 4 else "", n=at)
    made.seal()
    return made


def log_of(*entries: bytes, enrolled: bool = True) -> Told:
    """What a log tells that holds the device's credential and these entries."""
    check = LogCheck("any", None, first=1)
    given = [*FLEET.device("arm-1").credential, *entries] if enrolled else entries
    for at, data in enumerate(given, 1):
        check.entry(at, data)
    return check.told


def head(size: int, story: str = "") -> Told:
    return log_of(a_device(size, story).stretches[0].checkpoint)


def forged(data: bytes) -> bytes:
    """A checkpoint with another root, under the signature that it had."""
    root = checkpoint.parse(data).root
    return data.replace(root, bytes(32))


def verdict(state: str, inputs: int = 0, decided: int = 0) -> Told:
    made = LoggedVerdict(state, bytes([inputs] * 32), bytes([decided] * 32), 7)
    return Told({}, {SET: made})


def test_what_is_alike_does_not_differ() -> None:
    for told in (head(8), verdict("matched"), Told()):
        assert logcompare.compare({"a": told, "b": told, "c": told}) == ([], [])
    assert logcompare.compare({"a": head(8), "b": Told()}) == ([], [])


def test_two_roots_of_one_size_that_the_device_signed_contradict() -> None:
    (found,), questions = logcompare.compare({"a": head(8), "b": head(8, "x")})
    assert (found.kind, found.logs, found.contradiction) == ("device-fork", ("a", "b"), True)
    assert "its key signed two histories" in found.says
    assert questions == []


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_two_sizes_the_log_with_the_larger_is_asked(names: tuple[str, str]) -> None:
    small, large = names
    found, (question,) = logcompare.compare({small: head(6), large: head(9)})
    assert found == []
    assert (question.asked, question.other) == (large, small)
    leaves = a_device(9).leaves
    size = a_device(6).size
    path = consistency_path(leaves, size)
    assert question.answer(root_of(leaves[:size]), path) == []
    # Its tree has another root at the smaller size: the device signed two histories.
    _, (forked,) = logcompare.compare({small: head(6), large: head(9, "x")})
    other = a_device(9, "x").leaves
    (difference,) = forked.answer(root_of(other[:size]), consistency_path(other, size))
    assert (difference.kind, difference.contradiction) == ("device-fork", True)
    assert difference.logs == ("a", "b")
    # A path that does not lead from one root to the other says nothing of the device.
    right = root_of(leaves[:size])
    for root, hashes in ((right, []), (bytes(32), path), (right, path[1:])):
        with pytest.raises((Unverified, Malformed)):
            question.answer(root, hashes)


# --- a log that lies of a device -------------------------------------------------------------


def by_another_key(data: bytes) -> bytes:
    """The checkpoint of the honest device with another root, signed by a key of the liar's."""
    made = checkpoint.parse(data)
    made.root, made.statement = bytes(32), None
    return made.sign(key("a lying validator's"), "acme", a_device(8).id)


def test_a_head_that_its_device_did_not_sign_is_held_against_the_log() -> None:
    honest = a_device(8).stretches[0].checkpoint
    for names in (("honest", "liar"), ("x", "a")):
        told = dict(zip(names, (log_of(honest), log_of(forged(honest))), strict=True))
        (found,), _ = logcompare.compare(told)
        assert (found.kind, found.logs) == ("head-not-signed", (names[1],))
        assert found.contradiction
        assert "this log is faulty, not the device" in found.says
        assert "two histories" not in found.says


def test_a_head_by_a_key_that_no_log_binds_to_the_device_says_nothing_of_it() -> None:
    honest = a_device(8).stretches[0].checkpoint
    liar = log_of(by_another_key(honest))
    (found,), _ = logcompare.compare({"honest": log_of(honest), "liar": liar})
    assert (found.kind, found.logs) == ("head-not-verified", ("liar",))
    assert not found.contradiction
    # Neither log has the device's key: nothing is known of either head.
    nothing = log_of(honest, enrolled=False), log_of(forged(honest), enrolled=False)
    found_, _ = logcompare.compare({"a": nothing[0], "b": nothing[1]})
    assert {(one.kind, one.logs) for one in found_} == {
        ("head-not-verified", ("a",)),
        ("head-not-verified", ("b",)),
    }
    # One log's enrolment does for both: the id is the thumbprint of the key.
    (found,), _ = logcompare.compare({"a": log_of(honest), "b": nothing[1]})
    assert (found.kind, found.logs) == ("head-not-signed", ("b",))


def test_an_enrolment_of_another_key_binds_nothing() -> None:
    """A log that enrols its own key under the device's id, and signs with it."""
    device, liar = a_device(8), key("a lying validator's")
    honest = device.stretches[0].checkpoint
    own = enrolment.Enrolment(
        0, device.id, liar.public_key(), 0, [], {}, [], 60, VALID_S, bytes(64)
    ).sign(liar, "acme", device.id)
    lying = log_of(own, by_another_key(honest), enrolled=False)
    (found,), _ = logcompare.compare({"honest": log_of(honest), "liar": lying})
    assert (found.kind, found.contradiction) == ("head-not-verified", False)


def test_a_small_head_that_is_forged_is_held_against_its_log() -> None:
    small = a_device(6).stretches[0].checkpoint
    large = a_device(9)
    told = {"honest": log_of(large.stretches[0].checkpoint), "liar": log_of(forged(small))}
    _, (question,) = logcompare.compare(told)
    size = question.small.size
    path = consistency_path(large.leaves, size)
    (found,) = question.answer(root_of(large.leaves[:size]), path)
    assert (found.kind, found.logs) == ("head-not-signed", ("liar",))


@pytest.mark.parametrize("signed", [True, False])
def test_a_rotated_key_is_the_devices_where_the_key_before_it_signed(*, signed: bool) -> None:
    device = a_device(8)
    before = device.stretches[0].checkpoint
    liar = key("a lying validator's")
    after = rotate(device, liar)
    change = after.credential[-1]
    if not signed:
        made = keychange.parse(change)
        assert isinstance(made, keychange.Rotation)
        change = change.replace(made.old_signature, bytes(64))
    other = by_another_key(before)
    found, _ = logcompare.compare({"a": log_of(before), "b": log_of(change, other)})
    kinds = [(one.kind, one.logs) for one in found]
    if signed:
        assert kinds == [("device-fork", ("a", "b"))]
    else:
        assert kinds == [("head-not-verified", ("b",))]


def test_a_log_of_many_forged_heads_hides_no_fork_and_costs_once() -> None:
    honest, liar = Told(), Told()
    data = a_device(8).stretches[0].checkpoint
    real = log_of(data)
    ((device, epoch),) = real.heads
    lie = LoggedHead(6, bytes(32), forged(data), 2)
    for at in range(logcompare.DIFFERENCES_MAX + 10):
        log = (device, at.to_bytes(8, "big"))
        honest.heads[log] = real.heads[device, epoch]
        liar.heads[log] = replace(lie, size=real.heads[device, epoch].size)
    honest.keys = real.keys
    fork = head(8, "x")
    liar.heads[device, epoch], honest.heads[device, epoch] = (
        fork.heads[device, epoch],
        real.heads[device, epoch],
    )
    signatures = Signatures()
    found, _ = logcompare.compare({"honest": honest, "liar": liar}, signatures)
    assert [one.kind for one in found] == ["head-not-signed", "device-fork"]
    # Three checkpoints, however often each stands in a log and however often they are compared.
    assert logcompare.compare({"honest": honest, "liar": liar}, signatures)[0] == found
    assert len(signatures._known) == 3


def test_a_signature_is_known_by_itself_and_not_by_what_it_signs() -> None:
    """Else a copy with a broken signature would clear, or spoil, the head that was signed."""
    told = head(8)
    ((_, keys),) = told.keys.items()
    data = a_device(8).stretches[0].checkpoint
    broken = data[:-1] + bytes([data[-1] ^ 1])
    for order in ((data, broken), (broken, data)):
        signatures = Signatures()
        found = {one: signatures.signed(one, keys) for one in order}
        assert (found[data], found[broken]) == (True, False)


# --- verdicts ------------------------------------------------------------------------------------


def test_other_findings_on_equal_inputs_contradict() -> None:
    one, other = verdict("matched", 1, 1), verdict("conflicting", 1, 2)
    (found,), _ = logcompare.compare({"a": one, "b": other})
    assert (found.kind, found.contradiction) == ("verdicts-differ", True)
    assert "dock-3/" in found.says
    # The same state for other reasons is another finding, too.
    assert logcompare.compare({"a": one, "b": verdict("matched", 1, 2)})[0][0].contradiction


def test_other_states_on_other_inputs_differ_only() -> None:
    (found,), _ = logcompare.compare({"a": verdict("matched", 1), "b": verdict("one_sided", 2, 3)})
    assert (found.kind, found.contradiction) == ("states-differ", False)
    assert logcompare.compare({"a": verdict("matched", 1), "b": verdict("matched", 2)})[0] == []


def test_what_is_listed_is_bounded() -> None:
    one, other = Told(), Told()
    for at in range(logcompare.DIFFERENCES_MAX + 10):
        where = (f"dock-{at}", *SET[1:])
        one.verdicts[where] = LoggedVerdict("matched", bytes(32), bytes(32), 7)
        other.verdicts[where] = LoggedVerdict("matched", bytes(32), bytes([1] * 32), 7)
    found, _ = logcompare.compare({"a": one, "b": other})
    assert len(found) == logcompare.DIFFERENCES_MAX
