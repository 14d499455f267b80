"""The peers folder: imported organisations, in force without a restart (docs/protocol.md, 5.6).

The gateway accepts their roots and forwards to their validators. A file that is cut off, bad or
older than the one in force changes nothing, and status and log say so. The newest good file of each
peer is in the store, so that a bad one in the folder does no harm after a restart either.
"""

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import structlog

from tallystick.evidence.errors import TallyError
from tallystick.evidence.peercircle import Plan
from tallystick.gateway import limits, lives
from tallystick.gateway.config import Config
from tallystick.gateway.peers import Peer, imported_name
from tallystick.gateway.quotas import wall_ms
from tallystick.gateway.store import Store
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.gateway.way import Way
from tallystick.hw.peersfolder import PeersFolder, become

_log = structlog.get_logger("tallystick.gateway.circle")


class Circle:
    """Who was imported, and the ways to their validators; for the thread that watches."""

    def __init__(
        self,
        config: Config,
        store: Store,
        make_way: Callable[[Peer, threading.Event], Way],
        forget: Callable[[], None],
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        """make_way: how a validator is served; forget: identities must be verified anew."""
        self._config = config
        self._store = store
        self._make_way = make_way
        self._forget = forget
        self._clock = clock
        # What everybody who verifies holds by reference; `config.roots` is this gateway's own copy.
        self._roots = config.roots
        self._configured = dict(config.roots)
        self._files = PeersFolder(config.peer_files, self._configured, _warn)
        self.ways: dict[str, Way] = {}

    def open(self) -> None:
        """At the start: what was in force, then what the folder says now. Starts nothing."""
        connection = self._store.reader()
        try:
            rows = connection.execute("SELECT name, data FROM peer_files").fetchall()
        finally:
            connection.close()
        self._files.restore(dict(rows))
        self._apply(self._files.look(self._now_s()) or self._files.plan)
        self._serve(self._wanted())

    def configure(self, config: Config, *, roots_changed: bool) -> None:
        """The file was read again: whom it names by hand is served as configured."""
        self._config = config
        if roots_changed:
            self._configured = dict(config.roots)
            self._files.configure(self._configured)
            self._apply(self._files.plan)

    def renew(self) -> None:
        """End the ways to their validators; the next turn makes them anew."""
        while self.ways:
            self.ways.popitem()[1].stop()

    def _now_s(self) -> int:
        return self._clock() // 1000

    def turn(self) -> bool:
        """One look into the folder; whether something changed. Never raises for what is in it."""
        plan = self._files.look(self._now_s())
        try:
            if plan is not None:
                self._apply(plan)
            # Time alone ends an enrolment, and what failed the last time is tried again.
            self._serve(self._wanted())
        except (sqlite3.Error, OSError) as error:
            _log.error("the store fails; the peers stay as they were", error=str(error))
            return False
        for way in self.ways.values():
            way.start()
        return plan is not None

    # --- what it changes ---------------------------------------------------------------------

    def _apply(self, plan: Plan) -> None:
        now_s = self._now_s()
        with self._store.write_aside() as connection:
            connection.execute("DELETE FROM peer_files")
            connection.executemany(
                "INSERT INTO peer_files VALUES (?, ?, ?)",
                [(name, file.encode(), now_s * 1000) for name, file in plan.files.items()],
            )
        roots, _ = plan.roots(self._configured, now_s)
        become(self._roots, roots)
        # Who was verified by a root that went is verified anew, and is as unknown as before.
        self._forget()
        for name, came in self._files.applied(plan, now_s).items():
            _log.warning("a peer came or went", peer=name, imported=came)

    def _wanted(self) -> dict[str, Peer]:
        # Who is configured by hand is served as configured.
        taken = {validator.url for validator in self._config.validators}
        now_s = self._now_s()
        found: dict[str, Peer] = {}
        for file in self._files.plan.valid(now_s):
            for (url, _), identity in zip(file.validators, file.validator_ids, strict=True):
                name = imported_name(file.iss, identity)
                first, last = identity.enrolment.validity
                if url in taken or identity.status != "active" or not first <= now_s <= last:
                    continue
                if len(found) + len(taken) < limits.VALIDATORS_MAX:
                    config = ValidatorConfig(
                        name=name,
                        url=url,
                        key=(identity.iss, identity.key),
                        send=self._config.peer_send,
                        batch_age_s=limits.BATCH_AGE_S,
                    )
                    found[name] = Peer(config, identity.iss, identity.key)
        return found

    def _serve(self, wanted: dict[str, Peer]) -> None:
        for name in [name for name, way in self.ways.items() if way.peer != wanted.get(name)]:
            # Its cursor and what waits for it stay in the store, for when it comes back.
            self.ways.pop(name).stop()
        for name, peer in wanted.items():
            if name not in self.ways:
                try:
                    self.ways[name] = self._make_way(peer, lives.Event())
                except TallyError as error:
                    _log.error("a peer's validator is not served", name=name, error=error.message)

    # --- what is told ------------------------------------------------------------------------

    def told(self) -> list[dict[str, Any]]:
        """For the status: each peer, whether it is in force, and what is wrong."""
        peers, wrong = self._files.states(self._now_s())
        found = [
            {
                "name": name,
                "organisation": file.organisation,
                "state": state,
                "valid_until_s": file.validity[1],
                "problem": problem,
            }
            for name, file, state, problem in peers
        ]
        blank = {"organisation": "", "state": "refused", "valid_until_s": None}
        return found + [{"name": file, **blank, "problem": why} for file, why in wrong.items()]


def _warn(name: str, why: str) -> None:
    _log.warning("a peer file changes nothing", file=name, why=why)
