"""The peers folder: imported organisations, in force without a restart (docs/protocol.md, 5.6).

The gateway accepts their roots and forwards to their validators. A file that is cut off, bad or
older than the one in force changes nothing, and status and log say so. The newest good file of each
peer is in the store, so that a bad one in the folder does no harm after a restart either.
"""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from tallystick.evidence import peercircle, peerfile
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.limits import PEER_FILE_BYTES_MAX
from tallystick.evidence.peercircle import Decider, Plan
from tallystick.gateway import limits
from tallystick.gateway.config import Config, ValidatorConfig
from tallystick.gateway.peers import Peer
from tallystick.gateway.quotas import wall_ms
from tallystick.gateway.store import Store
from tallystick.gateway.way import Way

_log = structlog.get_logger("tallystick.gateway.circle")
ID_CHARS = 8


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
        self._folder = config.peer_files
        self._store = store
        self._make_way = make_way
        self._forget = forget
        self._clock = clock
        # What everybody who verifies holds by reference; `config.roots` is this gateway's own copy.
        self._roots = config.roots
        self._configured = dict(config.roots)
        self._decider = Decider(self._configured)
        self._plan = Plan({}, {})
        self._wrong: dict[str, str] = {}
        self._applied: dict[str, tuple[bytes, bool]] = {}
        self.ways: dict[str, Way] = {}

    def open(self) -> None:
        """At the start: what was in force, then what the folder says now. Starts nothing."""
        connection = self._store.reader()
        try:
            rows = connection.execute("SELECT name, data FROM peer_files").fetchall()
        finally:
            connection.close()
        self._plan = Plan({name: peerfile.parse(data).verify() for name, data in rows}, {})
        self._apply(self._look() or self._plan)
        self._serve(self._wanted())

    def _now_s(self) -> int:
        return self._clock() // 1000

    def turn(self) -> bool:
        """One look into the folder; whether something changed. Never raises for what is in it."""
        plan = self._look()
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

    # --- a look ------------------------------------------------------------------------------

    def _look(self) -> Plan | None:
        plan = self._read()
        for name in sorted(plan.wrong):
            if self._wrong.get(name) != plan.wrong[name]:
                _log.warning("a peer file changes nothing", file=name, why=plan.wrong[name])
        self._wrong = plan.wrong
        return plan if plan.marks(self._now_s()) != self._applied else None

    def _read(self) -> Plan:
        if self._folder is None:
            return Plan({}, {})
        known = self._plan.files
        try:
            found = read_folder(self._folder)
        except OSError as error:
            # Not the same as an empty one: a disk that is away removes nobody.
            why = f"{error.strerror}; what was in force stays"
            return Plan(dict(known), {self._folder.name: why} if known else {})
        return self._decider.decide(found, known)

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
        _become(self._roots, roots)
        # Who was verified by a root that went is verified anew, and is as unknown as before.
        self._forget()
        for name in sorted(set(self._plan.files) ^ set(plan.files)):
            _log.warning("a peer came or went", peer=name, imported=name in plan.files)
        self._plan = plan
        self._applied = plan.marks(now_s)

    def _wanted(self) -> dict[str, Peer]:
        # Who is configured by hand is served as configured.
        taken = {validator.url for validator in self._config.validators}
        now_s = self._now_s()
        found: dict[str, Peer] = {}
        for file in self._plan.valid(now_s):
            for (url, _), identity in zip(file.validators, file.validator_ids, strict=True):
                # Of its id, so that another order in a newer file moves no cursor.
                name = f"{file.iss}.{device_text(identity.id)[:ID_CHARS]}"
                first, last = identity.enrolment.validity
                if url in taken or identity.status != "active" or not first <= now_s <= last:
                    continue
                if len(found) + len(taken) < limits.VALIDATORS_MAX:
                    config = ValidatorConfig(
                        name=name,
                        url=url,
                        key=(identity.iss, identity.key),
                        send=self._config.peer_send,
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
                    self.ways[name] = self._make_way(peer, threading.Event())
                except TallyError as error:
                    _log.error("a peer's validator is not served", name=name, error=error.message)

    # --- what is told ------------------------------------------------------------------------

    def told(self) -> list[dict[str, Any]]:
        """For the status: each peer, whether it is in force, and what is wrong."""
        now_s = self._now_s()
        wrong = dict(self._wrong)
        found = []
        for name, file in sorted(self._plan.files.items()):
            found.append(
                {
                    "name": name,
                    "organisation": file.organisation,
                    "state": peercircle.state(file, now_s),
                    "valid_until_s": file.validity[1],
                    "problem": wrong.pop(peerfile.file_name(name), None),
                }
            )
        blank = {"organisation": "", "state": "refused", "valid_until_s": None}
        return found + [{"name": file, **blank, "problem": why} for file, why in wrong.items()]


def read_folder(folder: Path) -> dict[str, bytes | str]:
    """File name -> bytes, or why it could not be read; OSError where there is no folder."""
    found: dict[str, bytes | str] = {}
    names = sorted(path.name for path in folder.iterdir() if path.suffix == peerfile.SUFFIX)
    for name in names[: peercircle.FILES_MAX + 1]:
        try:
            with (folder / name).open("rb") as file:
                found[name] = file.read(PEER_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            continue  # removed while we looked
        except OSError as error:
            found[name] = str(error.strerror)
    return found


def _become(roots: dict[str, PublicKey], wanted: dict[str, PublicKey]) -> None:
    # In this order a reader in another thread sees a root too many for a moment, none too few.
    roots.update(wanted)
    for name in set(roots) - set(wanted):
        del roots[name]
