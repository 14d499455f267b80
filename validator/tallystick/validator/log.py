"""The log: sequence, integrate, publish, and only then receipts.

Entries and nodes of a group are written in the caller's transaction (sequenced, integrated). A
checkpoint over them is signed and stored in a transaction of its own (published). A receipt is
built of stored checkpoints only, so none can exist for a size that was not durable. A receipt's
signature covers the root, so one signature serves all entries below a published size, and the
receipt of an entry is that of the first published size above it: the same for ever.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import cose, entry, genesis, receipt
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.kinds import CLOSING, GENESIS, LOGGED_CLAIM, TIME, VERDICT
from tallystick.evidence.limits import ENTRY_BYTES_MAX
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.tree import (
    Tree,
    leaf_hash,
    node_hash,
)
from tallystick.hw.signer import Signer
from tallystick.validator import schema, steps
from tallystick.validator.limits import NODES_CACHED_MAX
from tallystick.validator.receipts import (
    Head,
    Reader,
    build_receipts,
    edge_of,
    newest_head,
    read_node,
)
from tallystick.validator.rows import insert_rows
from tallystick.validator.store import Store, get_meta, set_meta

Clock = Callable[[], int]
UNSIGNED = {entry.TimeEntry: TIME, entry.LoggedClaim: LOGGED_CLAIM, entry.Closing: CLOSING}


@dataclass(frozen=True)
class LogKeys:
    """Who signs: `signer` receipts and verdicts, `notes` log checkpoints (Ed25519)."""

    name: str
    origin: str
    id: bytes
    signer: Signer
    notes: Signer


class Log:
    """The sequencer's view; one at a time, guarded by the store's lock."""

    def __init__(self, store: Store, keys: LogKeys, clock: Clock) -> None:
        self.keys = keys
        self._store = store
        self._clock = clock
        self._nodes: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self.tree = Tree()
        self.time_ms = 0
        self.head: Head | None = None
        # Called with a size whose checkpoint is durable and that has new verdicts in it.
        self.on_verdicts: Callable[[int], None] = lambda _size: None
        self._judged = False
        self.reload()
        if self.tree.size == 0:
            self._create()
        elif self.head is None or self.head.size < self.tree.size:
            # Killed between integrating and publishing: the entries are there, so they count.
            self.publish()

    # --- start -----------------------------------------------------------------------------

    def reload(self) -> None:
        """Take the state from the store; after a rollback memory may be ahead of it."""
        self._nodes.clear()
        with self._store.read() as connection:
            self._check_owner(connection)
            self.head = newest_head(connection)
            last = connection.execute(
                sa.select(schema.entries.c.entry, schema.entries.c.time_ms)
                .order_by(schema.entries.c.entry.desc())
                .limit(1)
            ).one_or_none()
            size = 0 if last is None else last.entry + 1
            self.time_ms = 0 if last is None else last.time_ms
            self.tree = Tree(size, edge_of(self._reader(connection), size))
            if self.head is None:
                return
            if self.head.size > size:
                raise CouldNotCheck(
                    "bad-root",
                    f"{self._store.path}: a checkpoint of size {self.head.size} was published and "
                    f"only {size} entries are here; the store was restored from an older copy. "
                    "Do not run it: a log never shrinks",
                )
            known = Tree(self.head.size, edge_of(self._reader(connection), self.head.size))
            if known.root() != self.head.root:
                raise CouldNotCheck(
                    "bad-root",
                    f"{self._store.path}: the entries do not give the root that was published at "
                    f"size {self.head.size}; restore the store from a copy",
                )

    def _check_owner(self, connection: Connection) -> None:
        for name, ours in (("origin", self.keys.origin), ("name", self.keys.name)):
            found = get_meta(connection, name)
            if found is not None and found != ours:
                raise Malformed(
                    "bad-value",
                    f"{self._store.path} is the store of {found}, and the configuration's {name} "
                    f"is {ours}; one log has one name for life",
                )

    def _create(self) -> None:
        now_ms = self._clock()
        made = genesis.Genesis(
            self.keys.name,
            self.keys.origin,
            self.keys.signer.public_key(),
            NoteKey(self.keys.origin, self.keys.notes.public_key()),
            {},
            now_ms,
        )
        data = made.sign(self.keys.signer, self.keys.name, self.keys.id)
        with self._store.write() as connection:
            set_meta(connection, "origin", self.keys.origin)
            set_meta(connection, "name", self.keys.name)
            group = self.group(connection, now_ms)
            # The genesis is entry 0 and needs no time entry before it: it names its own.
            group.add_first(GENESIS, data)
            group.flush()
        self.integrated(group)
        self.publish()

    # --- sequence --------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The log's time: the clock's, and never less than before."""
        return max(self._clock(), self.time_ms)

    def clock_ms(self) -> int:
        """The clock's, for what is young or old now: log time stays ahead when a clock leapt."""
        return self._clock()

    def group(self, connection: Connection, now_ms: int | None = None) -> "Group":
        """Entries that are written together, after one time entry."""
        return Group(self, connection, self.now_ms() if now_ms is None else now_ms)

    def integrated(self, group: "Group") -> None:
        """Take over a group whose transaction is committed."""
        self.tree = group.tree
        self.time_ms = group.time_ms
        self._judged |= group.judged
        for level, at, node in group.nodes:
            self._remember((level, at), node)
        if group.rows:
            steps.passed(steps.INTEGRATED)

    # --- publish ---------------------------------------------------------------------------

    def publish(self, then: Callable[[Connection], None] | None = None) -> Head:
        """Sign the newest size and make it durable, with what `then` stores beside it."""
        head = self.head
        if head is None or head.size != self.tree.size:
            head = self._sign()
        elif then is None:
            return head
        with self._store.write() as connection:
            if head is not self.head:
                insert_rows(connection, schema.heads, [_row(head)])
            if then is not None:
                then(connection)
        self.head = head
        steps.passed(steps.PUBLISHED)
        if self._judged:
            self._judged = False
            self.on_verdicts(head.size)
        return head

    def _sign(self) -> Head:
        root = self.tree.root()
        now_ms = self.now_ms()
        signed = receipt.sign(
            self.keys.signer, self.keys.name, self.keys.origin, now_ms // 1000, root
        )
        text = (
            Note(self.keys.origin, self.tree.size, root, [])
            .sign(self.keys.notes, self.keys.origin)
            .text()
        )
        steps.passed(steps.SIGNED)
        return Head(self.tree.size, root, text, signed, now_ms)

    # --- receipts --------------------------------------------------------------------------

    def receipts(self, connection: Connection, indexes: Iterable[int]) -> dict[int, bytes]:
        """The receipt of each entry, at the first published size above it; others are left out."""
        return build_receipts(connection, indexes, self._reader(connection))

    def _reader(self, connection: Connection) -> Reader:
        def read(level: int, at: int) -> bytes:
            node = self._nodes.get((level, at))
            if node is None:
                node = read_node(connection, level, at)
                self._remember((level, at), node)
            return node

        return read

    def _remember(self, key: tuple[int, int], node: bytes) -> None:
        self._nodes[key] = node
        if len(self._nodes) > NODES_CACHED_MAX:
            self._nodes.popitem(last=False)


class Group:
    """Entries being sequenced in one transaction; the log changes only when it is committed."""

    def __init__(self, log: Log, connection: Connection, now_ms: int) -> None:
        self.tree = log.tree.copy()
        self.time_ms = now_ms
        self.nodes: list[tuple[int, int, bytes]] = []
        self.rows: list[dict[str, object]] = []
        self.judged = False  # whether there are verdicts among them
        self._connection = connection
        self._written = 0
        self._nodes_written = 0

    def add_first(self, kind: int, statement: bytes) -> None:
        """Entry 0."""
        self._append(kind, cose.parse(statement, ENTRY_BYTES_MAX))

    def add_statement(self, kind: int, sign1: "cose.Sign1") -> int:
        """Log a signed statement, its unprotected header emptied; returns its index."""
        self._begin()
        self.judged |= kind == VERDICT
        return self._append(kind, sign1)

    def add(self, made: "entry.TimeEntry | entry.LoggedClaim | entry.Closing") -> int:
        """Log an unsigned entry; returns its index."""
        self._begin()
        return self._push(UNSIGNED[type(made)], None, made.encode())

    def end(self) -> None:
        """The same time again: whoever shows both time entries shows the time of all between."""
        if self.rows:
            self.add(entry.TimeEntry(self.time_ms))

    def flush(self) -> None:
        """Write what was added since the last flush."""
        rows = self.rows[self._written :]
        if rows:
            insert_rows(self._connection, schema.entries, rows)
            self._written = len(self.rows)
            steps.passed(steps.SEQUENCED)
        # Level 0 is in the entries themselves.
        nodes = [
            {"level": level, "at": at, "hash": node}
            for level, at, node in self.nodes[self._nodes_written :]
            if level
        ]
        self._nodes_written = len(self.nodes)
        insert_rows(self._connection, schema.nodes, nodes)

    def _begin(self) -> None:
        if not self.rows:
            made = entry.TimeEntry(self.time_ms)
            self._push(TIME, None, made.encode())

    def _append(self, kind: int, sign1: "cose.Sign1") -> int:
        return self._push(kind, sign1.digest(), sign1.statement_bytes())

    def _push(self, kind: int, digest: bytes | None, data: bytes) -> int:
        if len(data) > ENTRY_BYTES_MAX:
            raise Malformed("too-large", f"a log entry of {len(data)} bytes")
        index = self.tree.size
        leaf = leaf_hash(data)
        self.rows.append(
            {
                "entry": index,
                "kind": kind,
                "digest": digest,
                "leaf": leaf,
                "time_ms": self.time_ms,
                "data": data,
            }
        )
        self.nodes.append((0, index, leaf))
        # Tree.push, with every node that becomes complete kept: proofs then cost O(log n) reads.
        node, level, rest = leaf, 0, index
        edge = self.tree.edge
        while rest & 1:
            node = node_hash(edge.pop(), node)
            rest >>= 1
            level += 1
            self.nodes.append((level, rest, node))
        edge.append(node)
        self.tree.size = index + 1
        return index


def _row(head: Head) -> dict[str, object]:
    return {
        "size": head.size,
        "root": head.root,
        "note": head.note,
        "protected": head.signed.protected,
        "signature": head.signed.signature,
        "time_ms": head.time_ms,
    }
