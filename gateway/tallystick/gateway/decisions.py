"""What the pure core decides: small values that the worker carries out inside a transaction."""

from dataclasses import dataclass
from typing import NamedTuple

from tallystick.gateway.tracks import Track


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or a part of one, was refused (or kept although its device is at fault)."""

    reason: str
    message: str
    device: bytes | None = None  # only of a known device: strangers may not grow the store


@dataclass(frozen=True, slots=True)
class Learned:
    """A device's credential, new or longer than the one before."""

    device: bytes
    iss: str
    credential: bytes  # CBOR array of its statements
    digest: bytes
    thumbprints: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EpochOpened:
    """An epoch of which something was accepted for the first time."""

    device: bytes
    epoch: bytes


@dataclass(frozen=True, slots=True)
class EpochBegan:
    """Its first record is known: the epoch that it names, and the epochs that it freezes."""

    device: bytes
    epoch: bytes
    previous: tuple[bytes, int] | None
    frozen: tuple[tuple[bytes, int], ...]


class Appended(NamedTuple):
    """A segment for the gateway's log; `leaf` is its leaf hash there, `crc` that of `data`."""

    # A tuple, because a frozen dataclass of so many fields takes four times as long to make.

    track: int
    first: int
    to: int
    root: bytes
    checkpoint: bytes  # digest of its last
    edge: bytes  # the device's tree at `first`, hashes joined
    named: bytes  # digests of the custody receipts that its checkpoints name, joined
    tail: int  # bytes of its last checkpoint, with which `data` ends
    records: int
    data: bytes
    crc: int
    leaf: bytes
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """Two pieces of one log touch now: the second's segments belong to the first."""

    into: Track
    gone: Track


@dataclass(frozen=True, slots=True)
class Parked:
    """A segment that came early."""

    parked: int
    device: bytes
    epoch: bytes
    first: int
    checkpoint: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Unparked:
    """A parked segment found its place, was refused, or its device is another gateway's now."""

    parked: int


@dataclass(frozen=True, slots=True)
class Forked:
    """Two signed heads of one log contradict each other at `size`; both sides are kept."""

    device: bytes
    epoch: bytes
    ours: int  # tracks
    theirs: int
    size: int
    our_head: bytes  # statements
    their_head: bytes


@dataclass(frozen=True, slots=True)
class Suspected:
    """A device contradicted itself; the first reason stays."""

    device: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """A message for a device, sent after the COMMIT."""

    device: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Repaired:
    """The bytes of a stored segment that were damaged came again; `edge` is the tree before it."""

    at: int
    track: int
    edge: bytes
    tail: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A device repeats what is known: it gets its newest custody receipts again."""

    track: Track


Decision = (
    Refused
    | Learned
    | EpochOpened
    | EpochBegan
    | Appended
    | Merged
    | Parked
    | Unparked
    | Repaired
    | Forked
    | Suspected
    | Send
    | Answer
)
