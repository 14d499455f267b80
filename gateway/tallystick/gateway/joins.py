"""Devices that ask to join (docs/protocol.md, 5.5): invitations, requests, answers, in the store.

Everything is checked before it is kept, and is on disk before it is acknowledged. The fleet root
is never here: it signs invitations and answers elsewhere, and they prove themselves.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tallystick.evidence import enrolmentrequest, invitation, joinanswer, joinrequest, queueorder
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.enrolment import SUBJECT_DEVICE
from tallystick.evidence.enrolmentrequest import VerifiedRequest
from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError, Unverified
from tallystick.evidence.invitation import VerifiedInvitation
from tallystick.evidence.joinanswer import JoinAnswer
from tallystick.evidence.joinrequest import JoinRequest
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.root import format_root
from tallystick.gateway import limits
from tallystick.gateway.joinchallenge import Challenges
from tallystick.gateway.store import Store

Learn = Callable[[list[bytes]], None]
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Queued:
    """A row of the queue, for the operator: when it came, and the join request's bytes."""

    number: int
    since_ms: int
    data: bytes


class Joins:
    """One fleet's queue at one gateway; every method may be called from any thread.

    learn: takes the credential of a device that was let in.
    """

    def __init__(
        self, store: Store, iss: str, root: PublicKey, gateway: bytes, learn: Learn
    ) -> None:
        self._store = store
        self._iss = iss
        self._root = root
        self.gateway = gateway
        self._learn = learn
        # Whether nobody new may ask: the store is full (capacity.py).
        self.full: Callable[[], bool] = lambda: False
        self._line = format_root(iss, root)
        self._reader = store.reader()
        self._turn = threading.Lock()
        self._challenges = Challenges()

    def close(self) -> None:
        """Close what reads."""
        with self._turn:
            self._reader.close()

    def _read(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self._turn:
            return self._reader.execute(sql, values).fetchall()

    # --- for devices ------------------------------------------------------------------------

    def root_line(self, code: bytes, now_s: int) -> str:
        """The fleet root's line, for who was invited."""
        self._invited(code, now_s)
        return self._line

    def _invited(self, code: bytes, now_s: int) -> bytes:
        """The door key of a code that is valid now."""
        rows = self._read(
            "SELECT door, from_s, until_s, withdrawn FROM invitations WHERE code = ?", code
        )
        if not rows:
            raise Unverified("not-authorised", "no such code is known here")
        door, from_s, until_s, withdrawn = rows[0]
        if withdrawn:
            raise Unverified("not-authorised", "this code was withdrawn; ask for a new one")
        if not from_s <= now_s <= until_s:
            raise Unverified("expired", "this code is not valid any more; ask for a new one")
        return bytes(door)

    def ask(self, data: bytes, now_s: int) -> bytes | None:
        """The root's answer, or None: it is queued, durably. A TallyError says what is wrong."""
        asked = joinrequest.parse(data)
        # What is known was verified when it came, and the same bytes change nothing.
        rows = self._read("SELECT answer FROM join_requests WHERE digest = ?", asked.digest)
        if rows:
            answer: bytes | None = rows[0][0]
            return answer
        if self.full():
            raise CouldNotCheck("store-full", "the gateway's store is full; ask again later")
        asked.verify_door(self._invited(asked.code, now_s))
        wanted = enrolmentrequest.parse(asked.request).verify(self._iss)
        self._check_owner(wanted)
        with self._store.write() as connection:
            _spend(connection, asked, wanted.id)
            _enqueue(connection, asked, wanted.id)
        return None

    def _check_owner(self, wanted: VerifiedRequest) -> None:
        # A key of this fleet's may ask again, for the enrolment that it has; no other one may.
        rows = self._read("SELECT device FROM keys WHERE thumbprint = ?", wanted.id)
        if rows and rows[0][0] != wanted.id:
            raise Unverified("already-enrolled", "this key is another device's already")
        known = self._read("SELECT iss FROM devices WHERE device = ?", wanted.id)
        if known and known[0][0] != self._iss:
            raise Unverified("already-enrolled", f"this key is enrolled by {known[0][0]} already")

    # --- for the operator -------------------------------------------------------------------

    def challenge(self) -> bytes:
        """What the next order must answer."""
        return self._challenges.new(time.monotonic())

    def queue(self, data: bytes) -> tuple[list[Queued], bool]:
        """Who waits, and whether there are more; Unverified unless the fleet root asks."""
        order = queueorder.parse(data)
        self._check_iss(order.iss)
        self._challenges.check(order.challenge, time.monotonic())
        verified = order.verify(self._root, self.gateway, order.challenge)
        self._challenges.spend(verified.challenge, time.monotonic())
        with self._turn:
            return page(self._reader, verified.after)

    def _check_iss(self, iss: str) -> None:
        if iss != self._iss:
            raise Unverified("not-enrolled", f"signed for {iss}, and this is a gateway of another")

    def take(self, data: bytes) -> str | None:
        """Keep an invitation or an answer; None, or the reason for which it is refused."""
        try:
            try:
                answer = joinanswer.parse(data)
            except Malformed as error:
                if error.reason != "unknown-kind":
                    raise
                made = invitation.parse(data)
                self._check_iss(made.iss)
                self._take_invitation(made.verify(self._root))
            else:
                self._take_answer(answer)
        except TallyError as error:
            return error.reason
        return None

    def _take_invitation(self, made: VerifiedInvitation) -> None:
        now_ms = time.time_ns() // 1_000_000
        with self._store.write() as connection:
            old_s = now_ms // 1000 - limits.JOIN_KEPT_DAYS * 86_400
            connection.execute(
                "DELETE FROM invitation_uses WHERE code IN "
                "(SELECT code FROM invitations WHERE until_s < ?)",
                (old_s,),
            )
            connection.execute("DELETE FROM invitations WHERE until_s < ?", (old_s,))
            (count,) = connection.execute("SELECT count(*) FROM invitations").fetchone()
            if count >= limits.INVITATIONS_MAX:
                raise Unverified("over-quota", "too many invitations")
            # The first one stays: a withdrawn code never comes back.
            connection.execute(
                "INSERT OR IGNORE INTO invitations (code, door, uses, from_s, until_s, since_ms) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (made.code, made.door, made.uses, *made.validity, now_ms),
            )
            if made.uses == 0:
                connection.execute(
                    "UPDATE invitations SET withdrawn = 1 WHERE code = ?", (made.code,)
                )

    def _take_answer(self, answer: JoinAnswer) -> None:
        self._check_iss(answer.iss)
        rows = self._read("SELECT key, answer FROM join_requests WHERE digest = ?", answer.request)
        if not rows:
            raise Unverified("unknown-device", "nobody here asked what this answers")
        if rows[0][0] != answer.id:
            raise Unverified("wrong-device", "the answer is for another device than the asker")
        verified = answer.verify(self._root)
        credential = Credential(verified.credential)
        identity = verify_credential(credential, {self._iss: self._root})
        if identity.id != verified.id or identity.subject != SUBJECT_DEVICE:
            raise Unverified("wrong-device", "the answer's credential is not the asker's")
        with self._store.write() as connection:
            connection.execute(
                "UPDATE join_requests SET answer = ?, answered_ms = ? "
                "WHERE digest = ? AND answer IS NULL",
                (verified.encode(), time.time_ns() // 1_000_000, verified.request),
            )
        self._learn(credential.statements)


def _spend(connection: sqlite3.Connection, asked: JoinRequest, key: bytes) -> None:
    """One use of a code for each key."""
    (uses,) = connection.execute(
        "SELECT uses FROM invitations WHERE code = ? AND withdrawn = 0", (asked.code,)
    ).fetchone()
    mine = connection.execute(
        "SELECT 1 FROM invitation_uses WHERE code = ? AND key = ?", (asked.code, key)
    ).fetchone()
    if mine is not None:
        return
    (spent,) = connection.execute(
        "SELECT count(*) FROM invitation_uses WHERE code = ?", (asked.code,)
    ).fetchone()
    if spent >= uses:
        raise Unverified("over-quota", "this code was used as often as it may; ask for a new one")
    connection.execute("INSERT INTO invitation_uses VALUES (?, ?)", (asked.code, key))


def _enqueue(connection: sqlite3.Connection, asked: JoinRequest, key: bytes) -> None:
    now_ms = time.time_ns() // 1_000_000
    connection.execute(
        "DELETE FROM join_requests WHERE since_ms < ?",
        (now_ms - limits.JOIN_KEPT_DAYS * DAY_MS,),
    )
    (waiting,) = connection.execute(
        "SELECT count(*) FROM join_requests WHERE answer IS NULL"
    ).fetchone()
    if waiting >= limits.JOINS_QUEUED_MAX:
        raise Unverified("store-full", "too many devices wait to join; try again later")
    connection.execute(
        "INSERT OR IGNORE INTO join_requests (digest, key, code, data, since_ms) "
        "VALUES (?, ?, ?, ?, ?)",
        (asked.digest, key, asked.code, asked.encode(), now_ms),
    )
    # A device that lost what it asked with asks anew; the oldest of many goes.
    connection.execute(
        "DELETE FROM join_requests WHERE key = ? AND number NOT IN "
        "(SELECT number FROM join_requests WHERE key = ? ORDER BY number DESC LIMIT ?)",
        (key, key, limits.JOINS_PER_KEY_MAX),
    )


def page(connection: sqlite3.Connection, after: int) -> tuple[list[Queued], bool]:
    """The newest unanswered request of each key, beyond number `after`, and whether more follow."""
    rows = connection.execute(
        "SELECT number, since_ms, data FROM join_requests AS r WHERE answer IS NULL "
        "AND number > ? AND number = (SELECT max(number) FROM join_requests WHERE key = r.key) "
        "ORDER BY number LIMIT ?",
        (after, limits.JOIN_PAGE_ROWS_MAX + 1),
    ).fetchall()
    shown = [Queued(*row) for row in rows[: limits.JOIN_PAGE_ROWS_MAX]]
    return shown, len(rows) > len(shown)
