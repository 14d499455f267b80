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

from tallystick.evidence import peercircle, peerfile, root
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import PEER_FILE_BYTES_MAX
from tallystick.evidence.peercircle import Decider, Plan
from tallystick.evidence.peerfile import VerifiedPeerFile
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
        self._folder = folder
        self._store = store
        self._ingest = ingest
        self._policies = policies
        self._clock = clock
        # What everybody who verifies holds by reference; changed by the writer only.
        self._roots = ingest.identities.roots
        self._configured = dict(self._roots)
        # Also those that were accepted once: of what they vouched for evidence can still be made.
        self.once: dict[str, PublicKey] = dict(self._roots)
        self._decider = Decider(self._configured)
        self._plan = Plan({}, {})
        self._wrong: dict[str, str] = {}
        self._applied: dict[str, tuple[bytes, bool]] = {}

    def open(self, before: Callable[[list[VerifiedPeerFile]], None]) -> None:
        """At the start: what was in force, then what the folder says now; logs the policy.

        before: is given the files that will be in force, before anything is logged.
        """
        with self._store.read() as connection:
            rows = connection.execute(sa.select(schema.peer_files)).all()
            lines = get_meta(connection, ONCE) or ""
        self.once = dict(map(root.parse_root, lines.split())) | self.once
        files = {row.name: peerfile.parse(row.data).verify() for row in rows}
        self._plan = Plan(files, {})
        plan = self.look() or self._plan
        before(plan.valid(self._now_s()))
        self.apply(plan)

    def _now_s(self) -> int:
        return self._clock() // 1000

    # --- a look ------------------------------------------------------------------------------

    def look(self) -> Plan | None:
        """What the folder says, where that is another thing than what is in force."""
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
            _become(self._roots, roots)
            # Who was verified by a root that went is verified anew, and is as unknown as before.
            self._ingest.identities.forget()
            self._ingest.transaction(do)
        except BaseException:
            _become(self._roots, before)
            self._ingest.identities.forget()
            raise
        for name in sorted(set(self._plan.files) ^ set(plan.files)):
            _log.warning("a peer came or went", peer=name, imported=name in plan.files)
        self.once.update(roots)
        self._plan = plan
        self._applied = plan.marks(now_s)

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
        return self._plan.valid(self._now_s())

    def told(self) -> list[ImportedPeer]:
        """For the status: each peer, whether it is in force, and what is wrong."""
        now_s = self._now_s()
        wrong = dict(self._wrong)
        found = []
        for name, file in sorted(self._plan.files.items()):
            state: Any = peercircle.state(file, now_s)
            problem = wrong.pop(peerfile.file_name(name), None)
            row = ImportedPeer(name, file.organisation, state, file.validity[1], problem)
            found.append(row)
        refused = [ImportedPeer(file, "", "refused", None, why) for file, why in wrong.items()]
        return found + refused


def _lines(roots: dict[str, PublicKey]) -> str:
    return "\n".join(root.format_root(name, roots[name]) for name in sorted(roots))


def read_folder(folder: Path) -> dict[str, bytes | str]:
    """File name -> bytes, or why it could not be read; OSError where there is no folder."""
    found: dict[str, bytes | str] = {}
    names = sorted(path.name for path in folder.iterdir() if path.suffix == peerfile.SUFFIX)
    for name in names[: peercircle.FILES_MAX + 1]:
        path = folder / name
        try:
            with path.open("rb") as file:
                found[name] = file.read(PEER_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            continue  # removed while we looked
        except OSError as error:
            found[name] = str(error.strerror)
    return found


def _become(roots: dict[str, PublicKey], wanted: dict[str, PublicKey]) -> None:
    # In this order a reader beside the writer sees a root too many for a moment, and none too few.
    roots.update(wanted)
    for name in set(roots) - set(wanted):
        del roots[name]
