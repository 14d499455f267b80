"""What left a device and what was promised, as the wire showed it: what the end is compared with.

Nothing of the product is asked here but its parsers of wire objects.
"""

import sqlite3
from collections import defaultdict
from pathlib import Path

from simulation.world import Wrong
from tallystick.evidence import batchanswer, checkpoint, custody, half, receipt, segment
from tallystick.evidence.errors import TallyError

SEGMENT = 13
Log = tuple[bytes, bytes]  # device, epoch


class Truth:
    """Filled during a run."""

    def __init__(self) -> None:
        # What stands at each index, by what its device sent under its signature.
        self.records: dict[Log, dict[int, bytes]] = defaultdict(dict)
        self.roots: dict[tuple[bytes, bytes, int], bytes] = {}
        # Indexes that a custody receipt covered, with bodies.
        self.custody: dict[Log, set[int]] = defaultdict(set)
        # Numbers of urgent decisions that returned, and claims whose halves were given.
        self.urgent: dict[bytes, set[int]] = defaultdict(set)
        self.claims: set[tuple[bytes, bytes, int]] = set()
        self.wiped_devices: set[bytes] = set()
        # What gateways had whose stores are lost: validators may never get it.
        self.lost: dict[Log, set[int]] = defaultdict(set)
        # What validators gave away: digest of a statement, and its receipt.
        self.receipts: dict[str, set[tuple[bytes, bytes]]] = defaultdict(set)

    # --- devices ---------------------------------------------------------------------------

    def sent(self, device: bytes, message: bytes) -> None:
        """A message left its device."""
        if message[1] != SEGMENT:
            return
        received = segment.parse(message)
        log = device, received.epoch
        at = received.first
        for stretch in received.stretches:
            for item in stretch.items:
                if isinstance(item, bytes):
                    self._record(log, at, item)
                    at += 1
                else:
                    at += 1 << item[0]
            self._head(device, stretch.checkpoint)

    def _record(self, log: Log, at: int, record: bytes) -> None:
        known = self.records[log].setdefault(at, record)
        if known != record:
            raise Wrong(f"index {at} of {log[1].hex()} was used for two records")

    def _head(self, device: bytes, statement: bytes) -> None:
        head = checkpoint.parse(statement)
        known = self.roots.setdefault((device, head.epoch, head.size), head.root)
        if known != head.root:
            raise Wrong(f"two heads of size {head.size} of {head.epoch.hex()} differ")

    def promised_urgent(self, device: bytes, number: int) -> None:
        """An urgent decision returned: it is on flash and signed."""
        self.urgent[device].add(number)

    def promised_half(self, device: bytes, data: bytes) -> None:
        """A half left: its claim is on flash and signed."""
        given = half.parse(data)
        head = checkpoint.parse(given.checkpoint)
        self._head(device, given.checkpoint)
        self._record((device, head.epoch), given.index, given.record)
        self.claims.add((device, head.epoch, given.index))

    def wiped(self, device: bytes) -> None:
        """Its flash is gone: what was on it alone is lost."""
        self.wiped_devices.add(device)
        self.urgent[device].clear()

    # --- gateways --------------------------------------------------------------------------

    def down(
        self, gateway: str, device: bytes, message: bytes, committed: sqlite3.Connection
    ) -> None:
        """A signed statement leaves a gateway: a custody receipt is its promise."""
        try:
            made = custody.parse(message)
        except TallyError:
            return  # a verdict
        (to,) = committed.execute(
            "SELECT coalesce(max(until), 0) FROM segments JOIN tracks USING (track) "
            "WHERE device = ? AND epoch = ?",
            (device, made.epoch),
        ).fetchone()
        if made.to > to:
            raise Wrong(f"{gateway} gave a custody receipt to {made.to}, and committed {to}")
        if made.bodies:
            self.custody[device, made.epoch].update(range(made.from_, made.to))

    def disk_lost(self, store: Path) -> None:
        """A gateway's disk is gone: what it had, validators may never get."""
        connection = sqlite3.connect(store)
        rows = connection.execute(
            "SELECT device, epoch, first, until FROM segments JOIN tracks USING (track)"
        ).fetchall()
        connection.close()
        for device, epoch, first, until in rows:
            self.lost[device, epoch].update(range(first, until))

    # --- validators ------------------------------------------------------------------------

    def answered(self, validator: str, answer: bytes, published: set[int]) -> str | None:
        """An answer leaves a validator; these sizes of its log are published on its disk.

        What is wrong with that, or None.
        """
        for digest, data in batchanswer.parse(answer).receipts:
            if (digest, data) in self.receipts[validator]:
                continue
            if receipt.parse(data).size not in published:
                return f"{validator} gave a receipt of a size that it had not published"
            self.receipts[validator].add((digest, data))
        return None
