"""The growing tree (RFC 9162, section 2.1)."""

from binascii import hexlify, unhexlify

from tallystick.evidence import tree
from tallystick.evidence.errors import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The reference tree of Certificate Transparency implementations.
ENTRIES = (
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def leaves(count: int) -> list[bytes]:
    return [tree.leaf_hash(bytes([n])) for n in range(count)]


def refused(function: "Any", *arguments: "Any") -> str:
    try:
        function(*arguments)
    except Malformed as error:
        return error.reason
    raise AssertionError("accepted: %r" % (arguments,))


def test_published_roots() -> None:
    growing = tree.Tree()
    for size in range(9):
        assert hexlify(growing.root()).decode() == ROOTS[size]
        if size < 8:
            growing.push(tree.leaf_hash(unhexlify(ENTRIES[size])))


def test_every_way_to_grow_gives_one_tree() -> None:
    hashes = leaves(40)
    one_by_one = tree.Tree()
    for size in range(40):
        at_once = tree.Tree()
        at_once.extend(hashes[:size])
        assert at_once.size == one_by_one.size == size
        assert at_once.edge == one_by_one.edge
        assert len(at_once.edge) == tree.edge_length(size)
        assert at_once.root() == tree.fold(at_once.edge) == tree.root_of(hashes[:size])
        for cut in range(size):
            grown = tree.Tree()
            grown.extend(hashes[:cut])
            grown.extend(hashes[cut:size])
            assert grown.edge == one_by_one.edge
        one_by_one.push(hashes[size])


def test_subtrees_stand_for_their_leaves() -> None:
    hashes = leaves(24)
    grown = tree.Tree()
    grown.push_subtree(3, tree.subtree_root(hashes, 0, 8))
    grown.push_subtree(3, tree.subtree_root(hashes, 8, 16))
    grown.push_subtree(2, tree.subtree_root(hashes, 16, 20))
    grown.push_subtree(0, hashes[20])
    grown.push(hashes[21])
    grown.push_subtree(1, tree.subtree_root(hashes, 22, 24))
    assert grown.size == 24 and grown.root() == tree.root_of(hashes)


def test_a_misaligned_subtree_is_refused_and_changes_nothing() -> None:
    grown = tree.Tree()
    grown.extend(leaves(6))
    edge = list(grown.edge)
    for level in (2, 3, 62, 63, -1, True):
        assert refused(grown.push_subtree, level, b"h" * 32) == "misaligned-subtree"
    assert refused(grown.push_subtree, 1, b"h" * 31) == "bad-type"
    assert refused(grown.push, b"h" * 33) == "bad-type"
    assert refused(grown.extend, [b"h" * 32, b""]) == "bad-type"
    assert grown.edge == edge and grown.size == 6


def test_an_edge_must_fit_its_size() -> None:
    assert refused(tree.Tree, 3, [b"h" * 32]) == "bad-edge"
    assert refused(tree.Tree, 0, [b"h" * 32]) == "bad-edge"
    assert refused(tree.Tree, 1, [b"h" * 31]) == "bad-type"
    assert refused(tree.Tree, 1, ["h" * 32]) == "bad-type"
    assert refused(tree.Tree, -1, []) == "bad-value"
    assert refused(tree.Tree, 2**63, [b"h" * 32]) == "bad-value"
    assert refused(tree.Tree, True, [b"h" * 32]) == "bad-value"


def test_a_copy_grows_apart() -> None:
    one = tree.Tree()
    one.extend(leaves(5))
    two = one.copy()
    two.push(b"x" * 32)
    assert (one.size, two.size) == (5, 6)
    assert one.root() == tree.root_of(leaves(5))


def test_ranges_outside_the_tree_are_refused() -> None:
    hashes = leaves(4)
    for function, arguments in (
        (tree.inclusion_path, (hashes, 4)),
        (tree.inclusion_path, (hashes, -1)),
        (tree.inclusion_path, (hashes, 0, 5)),
        (tree.inclusion_path, ([], 0)),
        (tree.consistency_path, (hashes, 3, 5)),
        (tree.consistency_path, (hashes, 3, 2)),
        (tree.consistency_path, (hashes, -1)),
        (tree.prefix_path, (hashes, 5)),
        (tree.subtree_root, (hashes, 1, 5)),
        (tree.subtree_root, (hashes, 3, 1)),
    ):
        assert refused(function, *arguments) == "bad-value"
