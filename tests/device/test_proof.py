"""Inclusion, consistency and prefix proofs (RFC 9162, sections 2.1.3 and 2.1.4)."""

from tallystick.evidence import proof, tree
from tallystick.evidence.errors import Malformed, TallyError, Unverified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HASHES = [tree.leaf_hash(bytes([n])) for n in range(20)]
ROOTS = [tree.root_of(HASHES[:n]) for n in range(21)]


def edge(size: int) -> list[bytes]:
    grown = tree.Tree()
    grown.extend(HASHES[:size])
    return grown.edge


def refused(function: "Any", *arguments: "Any") -> "tuple[type, str]":
    try:
        function(*arguments)
    except TallyError as error:
        return (type(error), error.reason)
    raise AssertionError("accepted: %r" % (arguments,))


def test_every_leaf_is_included() -> None:
    for size in range(1, 21):
        for index in range(size):
            path = tree.inclusion_path(HASHES, index, size)
            proof.verify_inclusion(HASHES[index], index, size, path, ROOTS[size])
            assert proof.root_from_inclusion(HASHES[index], index, size, path) == ROOTS[size]


def test_every_size_is_consistent_with_every_later_one() -> None:
    for new in range(21):
        for old in range(new + 1):
            path = tree.consistency_path(HASHES, old, new)
            proof.verify_consistency(old, ROOTS[old], new, ROOTS[new], path)
            proof.verify_prefix(edge(old), old, new, ROOTS[new], tree.prefix_path(HASHES, old, new))


def test_a_wrong_inclusion_proof_says_which_way_it_is_wrong() -> None:
    path = tree.inclusion_path(HASHES, 5, 20)
    good = (HASHES[5], 5, 20, path, ROOTS[20])
    proof.verify_inclusion(*good)
    wrong = (Unverified, "bad-inclusion-proof")
    shape = (Malformed, "bad-inclusion-proof")
    check = proof.verify_inclusion
    assert refused(check, HASHES[6], 5, 20, path, ROOTS[20]) == wrong
    assert refused(check, HASHES[5], 4, 20, path, ROOTS[20]) == wrong
    assert refused(check, HASHES[5], 5, 20, path, ROOTS[19]) == wrong
    assert refused(check, HASHES[5], 5, 20, path[:-1], ROOTS[20]) == shape
    assert refused(check, HASHES[5], 5, 20, path + path[:1], ROOTS[20]) == shape
    assert refused(check, HASHES[5], 20, 20, path, ROOTS[20]) == shape
    assert refused(check, HASHES[5], 0, 0, [], ROOTS[0]) == shape
    assert refused(check, HASHES[5], -1, 20, path, ROOTS[20]) == (Malformed, "bad-value")
    assert refused(check, HASHES[5], 5, 2**63, path, ROOTS[20]) == (Malformed, "bad-value")
    assert refused(check, HASHES[5], False, 1, [], HASHES[5]) == (Malformed, "bad-value")
    assert refused(check, HASHES[5][:31], 5, 20, path, ROOTS[20]) == (Malformed, "bad-type")
    assert refused(check, HASHES[5], 5, 20, [path[0] + b"x"] + path[1:], ROOTS[20])[0] is Malformed
    assert refused(check, HASHES[5], 5, 20, None, ROOTS[20]) == (Malformed, "bad-type")
    assert refused(check, HASHES[5], 5, 20, path, ROOTS[20][:31]) == (Malformed, "bad-type")


def test_a_leaf_cannot_stand_for_a_node() -> None:
    # Second preimage (A14): an inner node's two children, taken as the data of one leaf.
    inner = HASHES[0] + HASHES[1]
    path = tree.inclusion_path(HASHES, 0, 4)[1:]
    assert (
        refused(proof.verify_inclusion, tree.leaf_hash(inner), 0, 2, path, ROOTS[4])[0]
        is Unverified
    )


def test_a_wrong_consistency_proof_is_refused() -> None:
    check = proof.verify_consistency
    path = tree.consistency_path(HASHES, 6, 20)
    wrong = (Unverified, "bad-consistency-proof")
    shape = (Malformed, "bad-consistency-proof")
    check(6, ROOTS[6], 20, ROOTS[20], path)
    assert refused(check, 6, ROOTS[5], 20, ROOTS[20], path) == wrong
    assert refused(check, 6, ROOTS[6], 20, ROOTS[19], path) == wrong
    assert refused(check, 6, ROOTS[6], 20, ROOTS[20], path[:-1]) == shape
    assert refused(check, 6, ROOTS[6], 20, ROOTS[20], path + path[:1]) == shape
    assert refused(check, 6, ROOTS[6], 20, ROOTS[20], []) == shape
    assert refused(check, 20, ROOTS[20], 6, ROOTS[6], path) == shape
    assert refused(check, 0, ROOTS[0], 6, ROOTS[6], path) == shape
    assert refused(check, 0, ROOTS[1], 6, ROOTS[6], []) == wrong
    assert refused(check, 0, ROOTS[0], 0, ROOTS[1], []) == wrong
    assert refused(check, 6, ROOTS[6], 6, ROOTS[6], path) == shape
    assert refused(check, 6, ROOTS[6], 6, ROOTS[5], []) == wrong


def test_a_wrong_prefix_proof_is_refused() -> None:
    check = proof.verify_prefix
    path = tree.prefix_path(HASHES, 6, 20)
    six = edge(6)
    wrong = (Unverified, "bad-consistency-proof")
    shape = (Malformed, "bad-consistency-proof")
    check(six, 6, 20, ROOTS[20], path)
    assert refused(check, [six[1], six[0]], 6, 20, ROOTS[20], path) == wrong
    assert refused(check, six, 6, 20, ROOTS[19], path) == wrong
    assert refused(check, six, 6, 20, ROOTS[20], path[:-1]) == shape
    assert refused(check, six, 6, 20, ROOTS[20], path + path[:1]) == shape
    assert refused(check, six, 6, 6, ROOTS[6], path) == shape
    assert refused(check, six, 6, 6, ROOTS[5], []) == wrong
    assert refused(check, [], 0, 6, ROOTS[6], path) == shape
    assert refused(check, [], 0, 0, ROOTS[1], []) == wrong
    assert refused(check, six, 7, 20, ROOTS[20], path) == (Malformed, "bad-edge")
    assert refused(check, six, 6, 5, ROOTS[5], []) == (Malformed, "bad-edge")
