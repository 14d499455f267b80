"""What a validator may not see is replaced by hashes: the tree, and so the proof, stays the same.

Claims and accepted halves stay; runs of other records become aligned subtrees, which tell a reader
nothing but how many records they hold. The seed would give every salt away, so each record that
stays gets its own.
"""

from tallystick.evidence import leaf as leaves_of
from tallystick.evidence import record as records
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM, EVENT
from tallystick.evidence.segment import Segment, Stretch
from tallystick.evidence.tree import subtree_root
from tallystick.gateway.config import Send

Item = bytes | tuple[int, bytes]


def for_sending(data: bytes, send: Send) -> bytes:
    """The segment as a validator of this kind gets it."""
    if send == "full":
        return data
    segment = segments.parse(data)
    stretches = [_stretch(stretch, send) for stretch in segment.stretches]
    return Segment(segment.device, segment.epoch, segment.first, segment.edge, stretches).encode()


def _stays(index: int, record: bytes, send: Send) -> bool:
    if send == "hashes":
        return False
    try:
        kind = records.kind_of(record)
    except Malformed:
        return False
    # An epoch's first event names the head of the epoch before it: without it a validator could
    # not tell a lost journal from a fork.
    return kind in {CLAIM, ACCEPTED_HALF} or (index == 0 and kind == EVENT)


def _stretch(stretch: Stretch, send: Send) -> Stretch:
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
        salt = (
            leaves_of.salt(stretch.secret, at)
            if isinstance(stretch.secret, bytes)
            else (stretch.secret or [])[nth]
        )
        nth += 1
        if _stays(at, item, send):
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
