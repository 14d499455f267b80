"""What a validator may not see, and what is pruned, becomes hashes: tree and proof stay the same.

Claims and accepted halves stay; runs of other records become aligned subtrees, which tell a reader
nothing but how many records they hold. The seed would give every salt away, so each record that
stays gets its own.
"""

from collections.abc import Callable

from tallystick.evidence import leaf as leaves_of
from tallystick.evidence import record as records
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM, EVENT
from tallystick.evidence.segment import Segment, Stretch
from tallystick.evidence.tree import Tree, subtree_root
from tallystick.gateway.validatorconfig import Send

# How the second byte of what may stay in `claims` reads: most records are looked at no further.
_SENT = {bytes([CLAIM]), bytes([ACCEPTED_HALF])}
Item = bytes | tuple[int, bytes]
# Whether a record at an index stays.
Stays = Callable[[int, bytes], bool]


def for_sending(data: bytes, send: Send) -> bytes:
    """The segment as a validator of this kind gets it."""
    if send == "full":
        return data
    return _elided(data, lambda index, record: _stays(index, record, send))


def without(data: bytes, gone: frozenset[int]) -> bytes:
    """The segment without the bodies of these kinds; an epoch's first record stays."""
    return _elided(data, lambda index, record: index == 0 or _kind(record) not in gone)


def folds(data: bytes, base: Tree, size: int, root: bytes) -> bool:
    """Whether the segment's items lead from a tree to this size and root."""
    tree = base.copy()
    for stretch in segments.parse(data).stretches:
        nth = 0
        for item in stretch.items:
            if isinstance(item, bytes):
                tree.push(leaves_of.leaf(_salt(stretch, tree.size, nth), item))
                nth += 1
            else:
                tree.push_subtree(*item)
    return tree.size == size and tree.root() == root


def _elided(data: bytes, stays: Stays) -> bytes:
    segment = segments.parse(data)
    stretches = [_stretch(stretch, stays) for stretch in segment.stretches]
    return Segment(segment.device, segment.epoch, segment.first, segment.edge, stretches).encode()


def _kind(record: bytes) -> int | None:
    try:
        return records.kind_of(record)
    except Malformed:
        return None


def _salt(stretch: Stretch, index: int, nth: int) -> bytes:
    if isinstance(stretch.secret, bytes):
        return leaves_of.salt(stretch.secret, index)
    return (stretch.secret or [])[nth]


def _stays(index: int, record: bytes, send: Send) -> bool:
    if send == "hashes" or (index and record[1:2] not in _SENT):
        return False
    kind = _kind(record)
    # An epoch's first event names the head of the epoch before it: without it a validator could
    # not tell a lost journal from a fork.
    return kind in {CLAIM, ACCEPTED_HALF} or (index == 0 and kind == EVENT)


def _stretch(stretch: Stretch, stays: Stays) -> Stretch:
    if not stretch.elided and isinstance(stretch.secret, bytes):
        return _whole(stretch, stretch.secret, stays)
    items: list[Item] = []
    salts: list[bytes] = []
    run: list[bytes] = []  # leaf hashes of records that go
    at = stretch.first
    nth = 0
    for item in stretch.items:
        if not isinstance(item, bytes):
            items += _collapsed(at - len(run), run)
            run = []
            items.append(item)
            at += 1 << item[0]
            continue
        salt = _salt(stretch, at, nth)
        nth += 1
        if stays(at, item):
            items += _collapsed(at - len(run), run)
            run = []
            items.append(item)
            salts.append(salt)
        else:
            run.append(leaves_of.leaf(salt, item))
        at += 1
    items += _collapsed(at - len(run), run)
    if len(items) == len(stretch.items) and len(salts) == nth:
        return Stretch(stretch.items, stretch.secret, stretch.checkpoint)
    return Stretch(items, salts or None, stretch.checkpoint)


def _whole(stretch: Stretch, seed: bytes, stays: Stays) -> Stretch:
    # As nearly all come from devices: every body, and one seed; hashed at one go.
    first = stretch.first
    records = [item for item in stretch.items if isinstance(item, bytes)]
    kept = [nth for nth, record in enumerate(records) if stays(first + nth, record)]
    if len(kept) == len(records):
        return Stretch(stretch.items, seed, stretch.checkpoint)
    leaves = leaves_of.leaves(seed, first, records)
    items: list[Item] = []
    begin = 0
    for nth in kept:
        items += _collapsed(first + begin, leaves[begin:nth])
        items.append(records[nth])
        begin = nth + 1
    items += _collapsed(first + begin, leaves[begin:])
    salts = [leaves_of.salt(seed, first + nth) for nth in kept]
    return Stretch(items, salts or None, stretch.checkpoint)


def _collapsed(first: int, leaves: list[bytes]) -> list[Item]:
    """The fewest aligned subtrees over leaves that begin at `first`."""
    found: list[Item] = []
    at = 0
    while at < len(leaves):
        level = 0
        while (first + at) % (2 << level) == 0 and at + (2 << level) <= len(leaves):
            level += 1
        found.append((level, subtree_root(leaves, at, at + (1 << level))))
        at += 1 << level
    return found
