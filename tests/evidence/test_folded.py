"""Segments folded elsewhere: the same tree and the same refusals as when they are read whole."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.devices import Device, Fleet
from tallystick.evidence import segment
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.evidence.errors import Unverified
from tallystick.evidence.folded import (
    Folded,
    FoldedHead,
    FoldedStretch,
    fold,
    gateway_leaf,
    subtrees,
    verify_folded,
)
from tallystick.evidence.gatewaylog import GatewayLeaf
from tallystick.evidence.segment import Segment, Stretch, verify_segment
from tallystick.evidence.tree import Tree

ACME = Fleet("acme")
Keys = list[tuple[int, bytes]]


def identity_of(device: Device) -> Identity:
    return verify_credential(Credential(device.credential), device.fleet.roots)


def keys_of(identity: Identity) -> Keys:
    return [(period.key.alg, period.key.raw) for period in identity.keys]


def robot(*counts: int) -> tuple[Device, Identity]:
    device = ACME.device()
    for count in counts:
        device.record(count)
    return device, identity_of(device)


def folded_of(device: Device, identity: Identity, begin: int, end: int) -> Folded:
    found = fold(device.segment(begin, end), keys_of(identity))
    assert found is not None
    return found


@settings(max_examples=60)
@given(st.integers(0, 300), st.integers(0, 200))
def test_subtrees_give_the_same_tree_as_leaves(first: int, count: int) -> None:
    leaves = [bytes([n & 255, n >> 8]) * 16 for n in range(first + count)]
    whole, part = Tree(), Tree()
    whole.extend(leaves)
    part.extend(leaves[:first])
    found = subtrees(first, leaves[first:])
    for level, node in found:
        part.push_subtree(level, node)
    assert part.edge == whole.edge
    assert len(found) <= 2 * count.bit_length()


def test_what_is_folded_verifies_as_the_whole_does() -> None:
    device, identity = robot(5, 64, 1, 37)
    for begin, end in ((0, 1), (1, 2), (1, 4), (3, 4)):
        edge = device.tree(device.stretches[begin].first)
        whole = verify_segment(segment.parse(device.segment(begin, end)), identity, edge)
        folded = folded_of(device, identity, begin, end)
        tree = verify_folded(folded, identity, edge)
        assert (tree.size, tree.edge) == (whole.tree.size, whole.tree.edge)
        assert [
            (head.data, head.digest, head.root, head.boot, head.uptime_ms, head.custody)
            for head in (stretch.head for stretch in folded.stretches)
        ] == [
            (head.encode(), head.digest, head.root, head.boot, head.uptime_ms, head.custody)
            for head in (stretch.checkpoint for stretch in whole.stretches)
        ]
        assert (folded.first, folded.to, folded.device) == (whole.first, whole.to, device.id)
        assert folded.last == device.stretches[end - 1].records[-1][:2]
        head = whole.checkpoint
        leaf = GatewayLeaf(
            device.id, whole.epoch, whole.first, whole.to, head.root, head.digest
        ).leaf_hash()
        assert gateway_leaf(folded) == leaf


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_the_leaf_is_the_log_s_at_any_index(first: int, more: int) -> None:
    head = FoldedHead(b"", b"d" * 32, "", b"", (-8, b""), b"r" * 32, 0, 0, None)
    to = min(first + more, 2**63 - 1)
    stretch = FoldedStretch(0, [], head)
    folded = Folded(b"i" * 32, b"e" * 8, first, to, [stretch], b"", 0)
    leaf = GatewayLeaf(folded.device, folded.epoch, first, to, head.root, head.digest)
    assert gateway_leaf(folded) == leaf.leaf_hash()


def test_what_is_not_the_common_case_is_left() -> None:
    device, identity = robot(5, 64)
    keys = keys_of(identity)
    good = device.segment(1, 2)
    whole = segment.parse(good)
    salted = [
        Stretch(s.items, [s.salt_of(s.first + n) for n in range(len(s.items))], s.checkpoint)
        for s in whole.stretches
    ]
    (stretch,) = whole.stretches
    items = [(0, device.leaves[whole.first]), *stretch.items[1:]]
    partly = Stretch(items, stretch.secret, stretch.checkpoint)
    device.seal()  # a head alone
    flipped = bytearray(good)
    flipped[-1] ^= 1
    left = [
        device.segment(1, 2, edge=True),
        device.segment(1, 2, elide=True),
        device.segment(2, 3),
        device.segment(1, 3),
        Segment(whole.device, whole.epoch, whole.first, None, salted).encode(),
        Segment(whole.device, whole.epoch, whole.first, None, [partly]).encode(),
        bytes(flipped),
        good[:-1],
        good + b"\x00",
        b"",
    ]
    assert fold(good, keys) is not None
    assert [fold(data, keys) for data in left] == [None] * len(left)
    stranger = identity_of(ACME.device("another"))
    assert fold(good, keys_of(stranger)) is None
    assert fold(good, []) is None
    assert fold(good, [*keys_of(stranger), *keys]) is not None


def test_a_fold_is_refused_as_the_segment_would_be() -> None:
    device, identity = robot(5, 64, 9)
    edge = device.tree(6)
    folded = folded_of(device, identity, 1, 3)
    first, second = folded.stretches
    swapped = [(level, bytes(32)) for level, _ in first.subtrees]
    stranger = identity_of(ACME.device("another"))
    key = stranger.key

    def headed(**other: Any) -> Folded:
        return folded._replace(stretches=[first._replace(head=first.head._replace(**other))])

    wrong = [
        ("no-history", folded._replace(first=7), identity, edge),
        ("no-history", folded, identity, Tree()),
        ("wrong-device", folded._replace(device=bytes(32)), identity, edge),
        ("bad-root", folded._replace(stretches=[first._replace(subtrees=swapped)]), identity, edge),
        ("bad-root", folded._replace(stretches=[second, first]), identity, edge),
        ("wrong-device", folded, stranger, edge),
        ("wrong-key", headed(iss="another"), identity, edge),
        ("wrong-key", headed(kid=bytes(8)), identity, edge),
        ("wrong-key", headed(key=(key.alg, key.raw)), identity, edge),
        ("wrong-key", headed(kid=key.kid(), key=(key.alg, key.raw)), identity, edge),
    ]
    for reason, data, who, tree in wrong:
        with pytest.raises(Unverified) as caught:
            verify_folded(data, who, tree)
        assert caught.value.reason == reason
    other = Tree(6, [bytes(32)] * len(edge.edge))
    with pytest.raises(Unverified, match="signed root"):
        verify_folded(folded, identity, other)


def test_of_two_keys_with_one_hint_only_the_newest_can_be_meant() -> None:
    device, identity = robot(5, 64)
    folded = folded_of(device, identity, 1, 2)
    newest = copy.copy(identity.keys[0])
    newest.key = copy.copy(identity_of(ACME.device("another")).key)
    newest.key._thumbprint = identity.key.thumbprint()
    identity.keys.append(newest)
    with pytest.raises(Unverified, match="no key of this identity"):
        verify_folded(folded, identity, device.tree(6))


def test_what_the_other_process_checks_by_itself_is_not_folded() -> None:
    device, identity = robot(5, 64, 9)
    keys = keys_of(identity)
    whole = segment.parse(device.segment(1, 3))
    assert fold(device.segment(1, 3), keys) is not None
    another = ACME.device("another")
    another.record(5)
    another.record(64)
    first, second = whole.stretches
    theirs = segment.parse(another.segment(1, 2)).stretches[0]
    heads = [
        # of another device; of another size; of another epoch
        (whole.device, whole.epoch, [Stretch(first.items, first.secret, theirs.checkpoint)]),
        (whole.device, whole.epoch, [Stretch(first.items[:-1], first.secret, first.checkpoint)]),
        (whole.device, bytes(8), [first]),
        (another.id, whole.epoch, [first]),
    ]
    both = [*keys, *keys_of(identity_of(another))]
    for sub, epoch, stretches in heads:
        assert fold(Segment(sub, epoch, whole.first, None, stretches).encode(), both) is None
    good = [Stretch(s.items, s.secret, s.checkpoint) for s in (first, second)]
    assert fold(Segment(whole.device, whole.epoch, whole.first, None, good).encode(), both)


def test_heads_must_follow_one_another() -> None:
    device, identity = robot(5, 64)
    device.boot = 0  # no device counts back
    device.record(9)
    assert fold(device.segment(1, 3), keys_of(identity)) is None
    with pytest.raises(Unverified, match="boot count falls"):
        verify_segment(segment.parse(device.segment(1, 3)), identity, device.tree(6))
