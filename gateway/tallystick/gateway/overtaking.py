"""What goes to one validator before its turn: urgent segments, ahead of a backlog (ADR 0018).

An urgent segment takes along what its device sent before it, so each device's order is kept, and
passes everybody else's. The batch brings only these, and hashes of subtrees in place of the others:
so it continues the gateway's log, up to a size that is known to the validator then. The cursor does
not move: what was passed is sent from there as ever, over its own part of the log, without what
went ahead. A crash forgets which that was, and it is sent once more.
"""

import sqlite3

import structlog

from tallystick.evidence.digest import sha256
from tallystick.gateway import limits
from tallystick.gateway.batching import Builder
from tallystick.gateway.built import Built
from tallystick.gateway.deviceway import way_to
from tallystick.gateway.gatewaylog import tree_at
from tallystick.gateway.quotas import Holding
from tallystick.gateway.store import meta, set_meta
from tallystick.gateway.urgency import Urgent

_log = structlog.get_logger("tallystick.gateway.overtaking")
_HASH = 32
_EMPTY = sha256(b"")


class Overtaking:
    """For the thread of one validator's forwarder."""

    def __init__(
        self,
        name: str,
        reader: sqlite3.Connection,
        builder: Builder,
        holding: Holding,
        urgent: Urgent | None = None,
    ) -> None:
        self._name = name
        self._builder = builder
        self._holding = holding
        self._urgent = Urgent() if urgent is None else urgent
        self._left: set[int] = set()  # not ahead any more: this validator did not take them
        self._whose: dict[int, bytes] = {}  # urgent place -> device
        self.damaged: list[int] = []  # found while the last one was built, and not sent
        found = meta(reader, f"ahead of {name}")
        # How far the validator knows the gateway's log, and its root there as it was signed.
        self.known = (0, _EMPTY)
        if found is not None:
            self.known = (int.from_bytes(found[:-_HASH], "big"), found[-_HASH:])

    @property
    def size(self) -> int:
        """How far the validator knows the gateway's log, at least."""
        return self.known[0]

    def build(self, reader: sqlite3.Connection, cursor: int, most: int) -> Built | None:
        """A batch of urgent segments that the next `most` from the cursor do not reach, or None."""
        self.damaged = []
        places = [at for at in self._urgent.beyond(cursor) if self._waits(at)]
        near = self._reach(reader, cursor, most) if places else 0
        far = [at for at in places if at >= near]
        if not far:
            return None
        reader.execute("BEGIN")
        try:
            chosen = self._chosen(reader, cursor, far, most)
        finally:
            reader.execute("COMMIT")
        if not chosen:
            return None
        known = self.known if self.size >= cursor else (cursor, tree_at(reader, cursor).root())
        built = self._builder.build_ahead(reader, known, chosen)
        if built is None:
            return None
        self.damaged = built.damaged
        # It waits to be mended: that may take long, and it must not go ahead again and again.
        self._left.update(built.damaged)
        return built if built.ahead else None

    def wanted(self, cursor: int) -> bool:
        """Whether something urgent waits from here on, near or far."""
        return any(self._waits(at) for at in self._urgent.beyond(cursor))

    def _waits(self, at: int) -> bool:
        elided = self._builder.elided
        return at not in self._builder.given and at not in self._left and at not in elided

    def _reach(self, reader: sqlite3.Connection, cursor: int, most: int) -> int:
        # Where the next batch would end: what that brings is soon enough.
        size = 0
        end = cursor
        rows = reader.execute(
            "SELECT at, length(data) FROM segments WHERE at >= ? ORDER BY at LIMIT ?",
            (cursor, most),
        )
        for at, length in rows:
            size += length
            if at > cursor and size > self._builder.bytes_max:
                break
            end = at + 1
        return end

    def _chosen(
        self, reader: sqlite3.Connection, cursor: int, far: list[int], most: int
    ) -> list[int]:
        # The shortest way first: a device with a backlog of its own delays no other's.
        given = self._builder.given
        full = len(given) >= limits.URGENT_DONE_MAX // 2
        ways: dict[bytes, tuple[int, list[int]]] = {}
        for at in reversed(far):
            device = self._device(reader, at)
            if device is None or device in ways or self._holding.holds(device):
                continue
            way = way_to(reader, at, lambda place: place < cursor or place in given)
            way = [place for place in way if self._waits(place)]
            if not way:
                self._left.add(at)
                continue
            # Where much has gone ahead, a long one waits for the cursor to pass some of that.
            ways[device] = (len(way), [] if full and len(way) > most else way[:most])
            if len(ways) >= limits.URGENT_DEVICES:
                break
        chosen: list[int] = []
        for _, way in sorted(ways.values(), key=lambda way: way[0]):
            chosen += way[: most - len(chosen)]
        return sorted(chosen)

    def _device(self, reader: sqlite3.Connection, at: int) -> bytes | None:
        # A place keeps its device, and thousands may be asked for again at every other batch.
        if at not in self._whose:
            row = reader.execute(
                "SELECT t.device FROM segments s JOIN tracks t USING (track) WHERE s.at = ?", (at,)
            ).fetchone()
            if row is None:
                return None  # not committed yet
            self._whose[at] = row[0]
        return self._whose[at]

    # --- answers ----------------------------------------------------------------------------

    def keep(self, connection: sqlite3.Connection, built: Built) -> None:
        """In the transaction of an answer: how far the validator knows the log now."""
        if built.ahead is not None and built.to > self.size:
            value = built.to.to_bytes(8, "big") + built.root
            set_meta(connection, f"ahead of {self._name}", value)

    def answered(self, built: Built, good: set[bytes]) -> None:
        """After that transaction; `good`: checkpoints of which the validator gave a receipt."""
        if built.ahead is not None and built.to > self.size:
            self.known = (built.to, built.root)
        for at, checkpoint in (built.ahead or {}).items():
            (self._builder.given if checkpoint in good else self._left).add(at)

    def passed(self, cursor: int) -> None:
        """The cursor has come here: what lies before is sent."""
        for places in (self._builder.given, self._left):
            if places:
                places.difference_update([at for at in places if at < cursor])
            if len(places) > limits.URGENT_DONE_MAX:
                places.clear()
        if len(self._whose) > limits.URGENT_KEPT_MAX:
            self._whose.clear()

    def leave(self, built: Built) -> None:
        """The validator refused the batch: its segments go in their order."""
        _log.warning("urgent segments wait for their turn", validator=self._name)
        self._left.update(built.ahead or {})

    def moved(self, reader: sqlite3.Connection, size: int) -> None:
        """The validator knows the log up to here, or says so; all that went ahead is sent anew.

        Also what lies below: what went ahead into what it knew before is not told by a size.
        """
        self.known = (size, tree_at(reader, size).root())
        self._builder.given.clear()
        self._left.difference_update([at for at in self._left if at >= size])
