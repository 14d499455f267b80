"""A batch that was built for a validator, and what is common to batches over the same places."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from tallystick.evidence.tree import Tree
from tallystick.gateway.packing import unpacked

Items = list[bytes | tuple[int, bytes]]


class Head(NamedTuple):
    """A device's checkpoint in a batch, for the receipt that comes back."""

    device: bytes
    epoch: bytes
    size: int
    statement: bytes


@dataclass
class Built:
    """A signed batch as it travels, and what its answer is compared with."""

    first: int
    to: int
    packed: bytes
    heads: dict[bytes, Head] = field(default_factory=dict)  # by digest
    told: dict[bytes, bytes] = field(default_factory=dict)  # device -> digest of its credential
    custody: dict[bytes, bytes] = field(default_factory=dict)  # digest -> receipt
    named: dict[bytes, None] = field(default_factory=dict)  # custody receipts, in order
    damaged: list[int] = field(default_factory=list)
    digest: bytes = b""
    tree: Tree = field(default_factory=Tree)  # of the gateway's log, grown by its items
    root: bytes = b""  # of the gateway's log at `to`
    devices: dict[bytes, None] = field(default_factory=dict)  # whose segments are in it
    held: list[tuple[bytes, int]] = field(default_factory=list)  # left out: their device waits
    late: bytes | None = None  # the device whose segments it brings that were left out before
    sent: set[int] = field(default_factory=set)  # which ones
    ahead: dict[int, bytes] | None = None  # it brings these before their turn: place, checkpoint
    built_s: float = 0.0  # when, by the monotonic clock
    full: bool = False  # there was no room for one segment more
    plain: bool = True  # nothing in it is particular to one validator, but what goes along
    after: "Built | None" = None  # it is to go after this one, which is under way

    def seen(self) -> list[bytes]:
        """The devices that it brings something of, or leaves out because they must wait."""
        return [*self.devices, *(device for device, _ in self.held)]

    @property
    def data(self) -> bytes:
        """The batch as it was signed."""
        return unpacked(self.packed)


@dataclass
class Part:
    """What batches over the same places have in common, whoever gets them."""

    built: Built
    begin: Tree
    items: Items
    size: int
    # By what goes along, credentials and receipts: the signed batch as it travels, its digest.
    signed: dict[Hashable, tuple[bytes, bytes]] = field(default_factory=dict)

    def memory(self) -> int:
        """What it takes of memory, about."""
        return self.size + sum(len(packed) for packed, _ in self.signed.values())
