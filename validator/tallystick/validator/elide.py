"""A stretch without some of its bodies: their leaf hashes stay, their salts do not."""

from collections.abc import Container, Sequence

from tallystick.evidence.segment import Stretch
from tallystick.validator.devicelog import leaves_in

Item = bytes | tuple[int, bytes]


def kind_of_body(record: bytes) -> int:
    """The record's kind; what cannot be read as another one is as opaque as a decision."""
    return record[1] if len(record) > 1 and record[1] <= 3 else 0


def without(stretch: Stretch, gone: Container[int]) -> Stretch:
    """The stretch, the records at these indexes elided.

    A seed gives every salt, and a salt lets a guessable record be found from its hash: so the
    seed goes, and only the salts of what stays are kept.
    """
    items: list[Item] = []
    salts: list[bytes] = []
    secret = stretch.secret
    nth = 0
    for (at, _, leaf), item in zip(leaves_in(stretch), stretch.items, strict=True):
        if not isinstance(item, bytes):
            items.append(item)
            continue
        if at in gone:
            items.append((0, leaf))
        else:
            items.append(item)
            salts.append(secret[nth] if isinstance(secret, list) else stretch.salt_of(at))
        nth += 1
    made = Stretch(items, salts or None, stretch.checkpoint)
    made.first, made.to = stretch.first, stretch.to
    return made


def bodies(stretch: Stretch) -> list[tuple[int, bytes]]:
    """(index, record) of each body."""
    found = []
    at = stretch.first
    for item in stretch.items:
        if isinstance(item, bytes):
            found.append((at, item))
            at += 1
        else:
            at += 1 << item[0]
    return found


def record_at(items: Sequence[Item], first: int, index: int) -> bytes | None:
    """The body at an index of a stretch's items, the first of which is `first`; None: elided."""
    at = first
    for item in items:
        if isinstance(item, bytes):
            if at == index:
                return item
            at += 1
        else:
            at += 1 << item[0]
    return None
