"""What logs say of the same devices and interactions: what contradicts, and what only differs."""

import pytest

from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.tree import consistency_path, leaf_hash, root_of
from tallystick.verify import logcompare
from tallystick.verify.logcheck import LoggedHead, LoggedVerdict, Told

DEVICE = (bytes(32), bytes(8))
SET = ("dock-3", bytes(16), bytes(32), bytes(32))


def leaves(size: int, story: str = "") -> list[bytes]:
    return [leaf_hash(f"{story if at > 4 else ''}{at}".encode()) for at in range(size)]


def head(size: int, story: str = "") -> Told:
    made = LoggedHead(size, root_of(leaves(size, story)), bytes([size] * 32), size)
    return Told({DEVICE: made})


def verdict(state: str, inputs: int = 0, decided: int = 0) -> Told:
    made = LoggedVerdict(state, bytes([inputs] * 32), bytes([decided] * 32), 7)
    return Told({}, {SET: made})


def test_what_is_alike_does_not_differ() -> None:
    for told in (head(8), verdict("matched"), Told()):
        assert logcompare.compare({"a": told, "b": told, "c": told}) == ([], [])
    assert logcompare.compare({"a": head(8), "b": Told()}) == ([], [])


def test_two_roots_of_one_size_contradict() -> None:
    (found,), questions = logcompare.compare({"a": head(8), "b": head(8, "x")})
    assert (found.kind, found.logs, found.contradiction) == ("device-fork", ("a", "b"), True)
    assert questions == []


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_two_sizes_the_log_with_the_larger_is_asked(names: tuple[str, str]) -> None:
    small, large = names
    found, (question,) = logcompare.compare({small: head(6), large: head(9)})
    assert found == []
    assert (question.asked, question.other) == (large, small)
    path = consistency_path(leaves(9), 6)
    assert question.answer(root_of(leaves(6)), path) is None
    # Its tree has another root at the smaller size: the device signed two histories.
    _, (forked,) = logcompare.compare({small: head(6), large: head(9, "x")})
    other = leaves(9, "x")
    difference = forked.answer(root_of(other[:6]), consistency_path(other, 6))
    assert difference is not None
    assert (difference.kind, difference.contradiction) == ("device-fork", True)
    # A path that does not lead from one root to the other says nothing of the device.
    for root, hashes in (
        (root_of(leaves(6)), []),
        (bytes(32), path),
        (root_of(leaves(6)), path[1:]),
    ):
        with pytest.raises((Unverified, Malformed)):
            question.answer(root, hashes)


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
    many = {
        (bytes([at % 256] * 32), at.to_bytes(8, "big")): LoggedHead(1, bytes(32), bytes(32), at)
        for at in range(logcompare.DIFFERENCES_MAX + 10)
    }
    others = {log: LoggedHead(1, bytes([1] * 32), bytes(32), 1) for log in many}
    found, _ = logcompare.compare({"a": Told(many), "b": Told(others)})
    assert len(found) == logcompare.DIFFERENCES_MAX
