"""The peers folder: imported organisations, in force without a restart (protocol, 5.6).

`look` reads the folder and decides, `apply` changes everything at once on the one writer: roots,
who is known, the registration policy. A file that is cut off, bad or older than the one in force
changes nothing, and status and log say so. The newest good file of each peer is in the store, so
that a bad one in the folder does no harm after a restart either.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from tallystick.evidence import root
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.peercircle import Plan
from tallystick.evidence.peerfile import VerifiedPeerFile
from tallystick.hw.peersfolder import PeersFolder, become
from tallystick.validator import schema
from tallystick.validator.answers import ImportedPeer
from tallystick.validator.ingest import Ingest
from tallystick.validator.policies import Policies
from tallystick.validator.store import Store, get_meta, set_meta
from tallystick.validator.work import Work

ONCE = "roots"  # in the store's settings: lines of every root that was ever accepted
_log = structlog.get_logger("tallystick.validator.circle")


class Circle:
    """Who was imported. `look` is for one thread, `apply` for the writer, `told` for any."""

    def __init__(
        self,
        folder: Path | None,
        store: Store,
        ingest: Ingest,
        policies: Policies,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._policies = policies
        self._clock = clock
        # What everybody who verifies holds by reference; changed by the writer only.
        self._roots = ingest.identities.roots
        self._configured = dict(self._roots)
        # Also those that were accepted once: of what they vouched for evidence can still be made.
        self.once: dict[str, PublicKey] = dict(self._roots)
        self._files = PeersFolder(folder, self._configured, _warn)

    def open(self, before: Callable[[list[VerifiedPeerFile]], None]) -> None:
        """At the start: what was in force, then what the folder says now; logs the policy.

        before: is given the files that will be in force, before anything is logged.
        """
        with self._store.read() as connection:
            rows = connection.execute(sa.select(schema.peer_files)).all()
            lines = get_meta(connection, ONCE) or ""
        self.once = dict(map(root.parse_root, lines.split())) | self.once
        self._files.restore({row.name: row.data for row in rows})
        plan = self.look() or self._files.plan
        before(plan.valid(self._now_s()))
        self.apply(plan)

    def _now_s(self) -> int:
        return self._clock() // 1000

    # --- a look ------------------------------------------------------------------------------

    def look(self) -> Plan | None:
        """What the folder says, where that is another thing than what is in force."""
        return self._files.look(self._now_s())

    # --- what it changes ---------------------------------------------------------------------

    def apply(self, plan: Plan) -> None:
        """All of it, or nothing: on the writer."""
        now_s = self._now_s()
        before = dict(self._roots)
        roots, by = plan.roots(self._configured, now_s)

        def do(work: Work) -> None:
            self._save(work, plan)
            self._policies.log(work, self._roots, by)
            for file in plan.valid(now_s):
                self._learn(work, file)
            set_meta(work.connection, ONCE, _lines(self.once | roots))

        try:
            become(self._roots, roots)
            # Who was verified by a root that went is verified anew, and is as unknown as before.
            self._ingest.identities.forget()
            self._ingest.transaction(do)
        except BaseException:
            become(self._roots, before)
            self._ingest.identities.forget()
            raise
        self.once.update(roots)
        for name, came in self._files.applied(plan, now_s).items():
            _log.warning("a peer came or went", peer=name, imported=came)

    @staticmethod
    def _save(work: Work, plan: Plan) -> None:
        table = schema.peer_files
        rows = {row.name: row.data for row in work.connection.execute(sa.select(table))}
        for name in set(rows) - set(plan.files):
            work.connection.execute(sa.delete(table).where(table.c.name == name))
        for name, file in plan.files.items():
            if rows.get(name) == file.encode():
                continue
            work.connection.execute(sa.delete(table).where(table.c.name == name))
            row = {"name": name, "data": file.encode(), "since_ms": work.group.time_ms}
            work.connection.execute(sa.insert(table), row)

    def _learn(self, work: Work, file: VerifiedPeerFile) -> None:
        for statements in [*file.gateways, *(one for _, one in file.validators)]:
            try:
                self._ingest.identities.learn(work, statements)
            except (Malformed, Unverified) as error:
                # What is known of that id otherwise stays; the others of the file are good.
                work.refuse(error.reason)
                _log.warning("a peer's credential is refused", peer=file.iss, why=error.message)

    # --- what is told ------------------------------------------------------------------------

    def in_force(self) -> list[VerifiedPeerFile]:
        """The files that are in force now, by name."""
        return self._files.plan.valid(self._now_s())

    def told(self) -> list[ImportedPeer]:
        """For the status: each peer, whether it is in force, and what is wrong."""
        peers, wrong = self._files.states(self._now_s())
        found = []
        for name, file, how, problem in peers:
            state: Any = how
            found.append(ImportedPeer(name, file.organisation, state, file.validity[1], problem))
        refused = [ImportedPeer(file, "", "refused", None, why) for file, why in wrong.items()]
        return found + refused


def _warn(name: str, why: str) -> None:
    _log.warning("a peer file changes nothing", file=name, why=why)


def _lines(roots: dict[str, PublicKey]) -> str:
    return "\n".join(root.format_root(name, roots[name]) for name in sorted(roots))
