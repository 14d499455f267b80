"""All proofs of all trees up to 257 leaves; all their mutations for trees up to 64 (A14)."""

from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256

from tallystick.evidence import proof, tree
from tallystick.evidence.errors import TallyError

SIZE_ALL = 257
SIZE_MUTATED = 64
LEAVES = [tree.leaf_hash(n.to_bytes(2, "big")) for n in range(SIZE_ALL)]


@cache
def naive_root(begin: int, end: int) -> bytes:
    """MTH of RFC 9162, section 2.1.1, as it is written."""
    if end == begin:
        return sha256().digest()
    if end - begin == 1:
        return LEAVES[begin]
    k = 1
    while 2 * k < end - begin:
        k *= 2
    left, right = naive_root(begin, begin + k), naive_root(begin + k, end)
    return sha256(b"\x01" + left + right).digest()


def naive_inclusion(index: int, begin: int, end: int) -> list[bytes]:
    """PATH of RFC 9162, section 2.1.3.1, as it is written."""
    if end - begin == 1:
        return []
    k = 1
    while 2 * k < end - begin:
        k *= 2
    if index < begin + k:
        return [*naive_inclusion(index, begin, begin + k), naive_root(begin + k, end)]
    return [*naive_inclusion(index, begin + k, end), naive_root(begin, begin + k)]


def naive_subproof(m: int, begin: int, end: int, *, known: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162, section 2.1.4.1, as it is written."""
    if m == end - begin:
        return [] if known else [naive_root(begin, end)]
    k = 1
    while 2 * k < end - begin:
        k *= 2
    if m <= k:
        inner = naive_subproof(m, begin, begin + k, known=known)
        return [*inner, naive_root(begin + k, end)]
    inner = naive_subproof(m - k, begin + k, end, known=False)
    return [*inner, naive_root(begin, begin + k)]


def read(level: int, index: int) -> bytes:
    return naive_root(index << level, (index + 1) << level)


EDGES = []
_growing = tree.Tree()
for _leaf in LEAVES:
    EDGES.append(list(_growing.edge))
    _growing.push(_leaf)
EDGES.append(list(_growing.edge))
ROOTS = [naive_root(0, n) for n in range(SIZE_ALL + 1)]


def test_roots_and_edges() -> None:
    for size in range(SIZE_ALL + 1):
        assert tree.fold(EDGES[size]) == ROOTS[size]
        assert tree.root_of(LEAVES[:size]) == ROOTS[size]


def test_every_inclusion_proof_is_the_naive_one_and_verifies() -> None:
    for size in range(1, SIZE_ALL + 1):
        for index in range(size):
            path = tree.proof_from_nodes(read, index, size)
            assert path == naive_inclusion(index, 0, size)
            proof.verify_inclusion(LEAVES[index], index, size, path, ROOTS[size])
    for index in (0, 100, 255, 256):
        assert tree.inclusion_path(LEAVES, index) == naive_inclusion(index, 0, SIZE_ALL)


def test_every_consistency_proof_is_the_naive_one_and_verifies() -> None:
    for new in range(1, SIZE_ALL + 1):
        for old in range(1, new + 1):
            path = tree.consistency_from_nodes(read, old, new)
            assert path == naive_subproof(old, 0, new, known=True)
            proof.verify_consistency(old, ROOTS[old], new, ROOTS[new], path)
    for old in (1, 128, 200, 256):
        assert tree.consistency_path(LEAVES, old) == naive_subproof(old, 0, SIZE_ALL, known=True)


def test_every_prefix_proof_verifies() -> None:
    for new in range(SIZE_ALL + 1):
        for old in range(new + 1):
            path = tree.prefix_from_nodes(read, old, new)
            proof.verify_prefix(EDGES[old], old, new, ROOTS[new], path)
    assert tree.prefix_path(LEAVES, 200) == tree.prefix_from_nodes(read, 200, SIZE_ALL)


def refused(check: Callable[..., None], *arguments: object) -> None:
    try:
        check(*arguments)
    except TallyError:
        return
    raise AssertionError((check.__name__, arguments))


def mutations(path: list[bytes]) -> Iterator[list[bytes]]:
    """Each node with a bit flipped (another bit each time), dropped, added, swapped; and a cut."""
    for at, node in enumerate(path):
        bit = (37 * at + 11 * len(path) + node[0]) % 256
        flipped = bytearray(node)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        yield [*path[:at], bytes(flipped), *path[at + 1 :]]
        yield path[:at] + path[at + 1 :]
        yield [*path[:at], node, *path[at:]]
        yield [*path[:at], node[:31], *path[at + 1 :]]
        if at and path[at - 1] != node:
            yield [*path[: at - 1], node, path[at - 1], *path[at + 1 :]]
    yield [*path, LEAVES[0]]
    yield [LEAVES[0], *path]


def test_every_mutated_inclusion_proof_is_refused() -> None:
    check = proof.verify_inclusion
    for size in range(1, SIZE_MUTATED + 1):
        for index in range(size):
            path = naive_inclusion(index, 0, size)
            for wrong in mutations(path):
                refused(check, LEAVES[index], index, size, wrong, ROOTS[size])
            refused(check, LEAVES[index - 1 if size > 1 else 1], index, size, path, ROOTS[size])
            for other in range(size + 1):
                if other != index:
                    refused(check, LEAVES[index], other, size, path, ROOTS[size])
            for other in range(SIZE_MUTATED + 2):
                # Sizes are signed beside their roots; a size with its own root never passes.
                if other != size:
                    refused(check, LEAVES[index], index, other, path, ROOTS[other])


def test_every_mutated_consistency_proof_is_refused() -> None:
    check = proof.verify_consistency
    for new in range(1, SIZE_MUTATED + 1):
        for old in range(1, new):
            path = naive_subproof(old, 0, new, known=True)
            for wrong in mutations(path):
                refused(check, old, ROOTS[old], new, ROOTS[new], wrong)
            for other in range(SIZE_MUTATED + 2):
                if other != old:
                    refused(check, other, ROOTS[other], new, ROOTS[new], path)
                    refused(check, old, ROOTS[other], new, ROOTS[new], path)
                if other != new:
                    refused(check, old, ROOTS[old], other, ROOTS[other], path)
                    refused(check, old, ROOTS[old], new, ROOTS[other], path)


def test_every_mutated_prefix_proof_is_refused() -> None:
    check = proof.verify_prefix
    for new in range(1, SIZE_MUTATED + 1):
        for old in range(1, new + 1):
            path = tree.prefix_from_nodes(read, old, new)
            edge = EDGES[old]
            for wrong in mutations(path):
                refused(check, edge, old, new, ROOTS[new], wrong)
            for wrong in mutations(edge):
                refused(check, wrong, old, new, ROOTS[new], path)
            for other in range(1, SIZE_MUTATED + 2):
                if other != old:
                    refused(check, edge, other, new, ROOTS[new], path)
                if other != new:
                    refused(check, edge, old, other, ROOTS[other], path)


def test_every_bit_of_every_node_counts() -> None:
    # All 256 bits of each node, for trees small enough to do them all.
    for size in range(1, 17):
        for index in range(size):
            path = naive_inclusion(index, 0, size)
            for at in range(len(path)):
                for bit in range(256):
                    wrong = list(path)
                    flipped = bytearray(path[at])
                    flipped[bit >> 3] ^= 1 << (bit & 7)
                    wrong[at] = bytes(flipped)
                    refused(proof.verify_inclusion, LEAVES[index], index, size, wrong, ROOTS[size])
