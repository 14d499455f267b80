"""Entries of a validator's log (docs/protocol.md, 6.3): three that are unsigned, and statements."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.cose import parse as parse_sign1
from tallystick.evidence.errors import Malformed
from tallystick.evidence.ids import INTERACTION_SIZE, claim_reference
from tallystick.evidence.kinds import (
    CHECKPOINT,
    CLOSING,
    CUSTODY_RECEIPT,
    ENROLMENT,
    ERASURE,
    GENESIS,
    KEY_CHANGE,
    LOGGED_CLAIM,
    PROFILE,
    REGISTRATION_POLICY,
    TIME,
    VERDICT,
)
from tallystick.evidence.limits import ENTRY_BYTES_MAX, NAME_BYTES_MAX, PATH_HASHES_MAX
from tallystick.evidence.statement import Statement
from tallystick.evidence.statement import parse as parse_statement
from tallystick.evidence.tree import leaf_hash

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# A signed statement begins with tag 18, an unsigned entry with an array.
STATEMENT_BYTE = 0xD2
STATEMENT_KINDS = (
    CHECKPOINT,
    CUSTODY_RECEIPT,
    ENROLMENT,
    KEY_CHANGE,
    VERDICT,
    PROFILE,
    GENESIS,
    ERASURE,
    REGISTRATION_POLICY,
)


class _Entry(Wire):
    def leaf_hash(self) -> bytes:
        """The log's leaf: RFC 9162, without salt."""
        return leaf_hash(self.encode())


class TimeEntry(_Entry):
    """The validator's clock; the log time of every entry up to the next one."""

    def __init__(self, time_ms: int) -> None:
        self.time_ms = shape.uint(time_ms, "time entry")

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [TIME, self.time_ms]


class LoggedClaim(_Entry):
    """A claim by its leaf, with its path to the root of the device checkpoint at `checkpoint`."""

    def __init__(
        self,
        device: bytes,
        epoch: bytes,
        index: int,
        leaf: bytes,
        checkpoint: int,
        path: list[bytes],
    ) -> None:
        what = "logged claim"
        self.device = shape.octets(device, shape.ID_SIZE, what)
        self.epoch = shape.octets(epoch, shape.EPOCH_SIZE, what)
        self.index = shape.uint(index, what)
        self.leaf = shape.octets(leaf, shape.HASH_SIZE, what)
        self.checkpoint = shape.uint(checkpoint, what)
        self.path = shape.hashes(path, PATH_HASHES_MAX, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            LOGGED_CLAIM,
            self.device,
            self.epoch,
            self.index,
            self.leaf,
            self.checkpoint,
            self.path,
        ]

    def reference(self) -> bytes:
        """The claim's reference (docs/protocol.md, 1.3)."""
        return claim_reference(self.device, self.epoch, self.index, self.leaf)


class Closing(_Entry):
    """The deadline of a party set has passed; `first` is the entry of its first logged claim."""

    def __init__(
        self,
        namespace: str,
        interaction: bytes,
        party_set: bytes,
        first: int,
        deadline_ms: int,
    ) -> None:
        what = "closing"
        self.namespace = shape.text(namespace, NAME_BYTES_MAX, what)
        self.interaction = shape.octets(interaction, INTERACTION_SIZE, what)
        self.party_set = shape.octets(party_set, shape.HASH_SIZE, what)
        self.first = shape.uint(first, what)
        self.deadline_ms = shape.uint(deadline_ms, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            CLOSING,
            self.namespace,
            self.interaction,
            self.party_set,
            self.first,
            self.deadline_ms,
        ]


# kind: class, number of fields, what errors call it
UNSIGNED: "dict[int, tuple[Callable[..., Any], int, str]]" = {
    TIME: (TimeEntry, 1, "time entry"),
    LOGGED_CLAIM: (LoggedClaim, 6, "logged claim"),
    CLOSING: (Closing, 5, "closing"),
}


def parse_entry(data: bytes) -> "Statement | TimeEntry | LoggedClaim | Closing":
    """Any entry; a statement must have an empty unprotected header, as it was made a leaf."""
    if type(data) is not bytes:
        raise Malformed("bad-type", "log entry: not bytes")
    if len(data) > ENTRY_BYTES_MAX:
        raise Malformed("too-large", "log entry: longer than %d bytes" % ENTRY_BYTES_MAX)
    if data[:1] == bytes((STATEMENT_BYTE,)):
        return _parse_statement(data)
    # An array of less than 24 items, whose first, the kind, is less than 24: one byte each.
    kind = data[1] if len(data) > 1 else -1
    if kind not in UNSIGNED:
        raise Malformed("unknown-kind", "log entry: neither a statement nor an entry that we know")
    made, count, what = UNSIGNED[kind]
    entry: TimeEntry | LoggedClaim | Closing = made(
        *shape.fields(data, kind, count, ENTRY_BYTES_MAX, what)
    )
    entry._data = data
    return entry


def payload_kind(payload: bytes) -> int:
    """The kind of a statement's payload, or -1 where it begins with none."""
    if payload[1:2] == b"\x18":
        return payload[2] if len(payload) > 2 else -1
    return payload[1] if len(payload) > 1 else -1


def _parse_statement(data: bytes) -> Statement:
    payload = parse_sign1(data, ENTRY_BYTES_MAX).payload
    kind = -1 if payload is None else payload_kind(payload)
    if kind not in STATEMENT_KINDS:
        raise Malformed("unknown-kind", "log entry: a statement of a kind that logs do not take")
    statement = parse_statement(data, kind, ENTRY_BYTES_MAX)
    if statement.sign1.unprotected:
        raise Malformed("bad-header", "log entry: its unprotected header must be empty")
    return statement
