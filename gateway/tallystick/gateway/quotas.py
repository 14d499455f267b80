"""What a validator's signed refusals ask for: who waits, and until when (docs/protocol.md, 6.7).

A device that must wait holds up nobody else: its segments are elided from batches and noted, and
sent later, in their order, in batches over their own part of the gateway log. While one of a device
is noted, its newer ones are noted too. All of it is in the store, so a restart forgets nothing.
"""

import sqlite3
import time

from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.limits import REFUSAL_MS_MAX
from tallystick.evidence.quotarefusal import DEVICE, VerifiedQuotaRefusal, parse
from tallystick.gateway import limits
from tallystick.gateway.built import Built
from tallystick.gateway.peers import Peer
from tallystick.gateway.store import Store


def wall_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


class Holding:
    """Who waits at one validator; for the thread of its forwarder."""

    def __init__(self, peer: Peer, gateway: bytes, store: Store) -> None:
        self._peer = peer
        self._name = peer.config.name
        self._gateway = gateway
        self._store = store
        self._until: dict[bytes, int] = {}  # devices
        self._all_until = 0
        self._noted: set[bytes] = set()  # devices with segments that wait
        self.reload()

    def reload(self) -> None:
        """Take over what the store has."""
        connection = self._store.reader()
        try:
            rows = connection.execute(
                "SELECT holder, key, until_ms FROM quota_refusals WHERE validator = ?",
                (self._name,),
            ).fetchall()
            noted = connection.execute(
                "SELECT DISTINCT device FROM held WHERE validator = ?", (self._name,)
            ).fetchall()
        finally:
            connection.close()
        self._noted = {device for (device,) in noted}
        for holder, key, until_ms in rows:
            self._wait(holder, key, until_ms)

    def _wait(self, holder: str, key: bytes, until_ms: int) -> None:
        if holder == DEVICE:
            self._until[key] = max(until_ms, self._until.get(key, 0))
        else:
            self._all_until = max(until_ms, self._all_until)

    # --- who waits ---------------------------------------------------------------------------

    def wait_s(self, now_ms: int | None = None) -> float:
        """How long nothing at all may be sent: the gateway's own quota, or its fleet's."""
        left_ms = _left(self._all_until, wall_ms() if now_ms is None else now_ms)
        return left_ms / 1000

    def holds(self, device: bytes) -> bool:
        """Whether a device's segments are elided from batches now."""
        return device in self._noted or _left(self._until.get(device, 0), wall_ms()) > 0

    def due(self) -> bytes | None:
        """A device whose segments were held back and may be sent now."""
        now_ms = wall_ms()
        ready = [one for one in self._noted if not _left(self._until.get(one, 0), now_ms)]
        return min(ready, default=None)

    def next_s(self, most_s: float) -> float:
        """How long until the next device is due; at most `most_s`."""
        now_ms = wall_ms()
        waits = [_left(self._until.get(one, 0), now_ms) / 1000 for one in self._noted]
        return min([most_s, *waits])

    # --- what a validator said ---------------------------------------------------------------

    def obey(self, built: Built, refusals: list[bytes]) -> None:
        """Keep and obey signed refusals of the batch that was just sent.

        Unverified or Malformed when none of them is good and about this batch: then it is an
        answer like any other failure. A validator can delay us by this and by nothing else.
        """
        good: list[tuple[VerifiedQuotaRefusal, bytes]] = []
        wrong: TallyError | None = None
        for data in refusals[: limits.QUOTA_REFUSALS_MAX]:
            try:
                said = parse(data).verify(
                    self._peer.key, self._peer.iss, self._gateway, built.digest
                )
                if said.holder == DEVICE and said.key_id not in built.devices:
                    raise Unverified("wrong-device", "a refusal of a device that was not sent")
            except TallyError as error:
                wrong = error
            else:
                good.append((said, data))
        if not good:
            raise wrong or Unverified("bad-signature", "an answer of over-quota without a refusal")
        now_ms = wall_ms()
        with self._store.write_aside() as connection:
            for said, data in good:
                until_ms = now_ms + said.wait_ms
                connection.execute(
                    "INSERT INTO quota_refusals VALUES (?, ?, ?, ?, ?, ?, 1, ?) "
                    "ON CONFLICT DO UPDATE SET holder = excluded.holder, "
                    "since_ms = excluded.since_ms, until_ms = excluded.until_ms, "
                    "count = count + 1, data = excluded.data",
                    (self._name, said.key_id, said.quota, said.holder, now_ms, until_ms, data),
                )
        for said, _ in good:
            self._wait(said.holder, said.key_id, now_ms + said.wait_ms)

    # --- what is noted, in the transaction of an answer ----------------------------------------

    def note(self, connection: sqlite3.Connection, held: list[tuple[bytes, int]]) -> None:
        """These segments were elided; in the transaction that moves the cursor past them."""
        connection.executemany(
            "INSERT OR IGNORE INTO held VALUES (?, ?, ?)",
            [(self._name, device, at) for device, at in held],
        )

    def sent(self, connection: sqlite3.Connection, device: bytes, sent: set[int]) -> bool:
        """These were taken, or set aside for good; whether others of the device wait."""
        connection.executemany(
            "DELETE FROM held WHERE validator = ? AND device = ? AND at = ?",
            [(self._name, device, at) for at in sent],
        )
        left = connection.execute(
            "SELECT 1 FROM held WHERE validator = ? AND device = ? LIMIT 1", (self._name, device)
        )
        return left.fetchone() is not None

    def answered(self, held: list[tuple[bytes, int]], drained: bytes | None) -> None:
        """After the transaction: who has segments that wait, and who has none any more."""
        self._noted.update(device for device, _ in held)
        if drained is not None:
            self._noted.discard(drained)

    def forget_from(self, connection: sqlite3.Connection, size: int) -> None:
        """All from here on is sent anew."""
        connection.execute("DELETE FROM held WHERE validator = ? AND at >= ?", (self._name, size))


def _left(until_ms: int, now_ms: int) -> int:
    # A clock that was set back by a year must not make anybody wait for a year.
    left = until_ms - now_ms
    return left if 0 < left <= REFUSAL_MS_MAX else 0
