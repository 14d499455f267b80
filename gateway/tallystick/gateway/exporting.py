"""What a store holds of chosen devices and a period, as files (docs/operations.md).

    FOLDER/export.json                          what was asked, what is in it, what is missing
    FOLDER/devices/ID/credential.cbor
    FOLDER/devices/ID/segments/EPOCH-N.segment  as `tally device pull` writes them
    FOLDER/devices/ID/segments.jsonl            a line for each of them
    FOLDER/devices/ID/evidence/N.tally          checkpoints, validators' receipts, custody receipts
    FOLDER/interactions/N.tally                 claims and verdicts
    FOLDER/interactions.jsonl                   a line for each of them

Reads one snapshot; the gateway may run. Nothing is at FOLDER before all of it is on the disk.
"""

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tallystick.evidence import segment as segments
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError
from tallystick.evidence.keys import b64u, device_text
from tallystick.gateway import holds, limits
from tallystick.gateway.batching import with_edge
from tallystick.gateway.config import Config
from tallystick.gateway.exportedclaims import Claims
from tallystick.gateway.exportedfolder import DeviceFolder, ExportedDevice, write_new
from tallystick.gateway.exportroom import look_for_room
from tallystick.gateway.gatewaylog import read_node
from tallystick.gateway.retention import KINDS
from tallystick.gateway.store import VERSION, meta, open_reader
from tallystick.gateway.storedsegment import StoredSegment
from tallystick.gateway.tracks import tree_from
from tallystick.gateway.view import StoreView

FORMAT = "tallystick-export/1"
_ROWS = (
    "SELECT s.at, s.track, t.device, t.epoch, s.first, s.until, s.root, s.checkpoint, s.edge, "
    "s.named, s.tail, s.crc, s.data, s.time_ms, coalesce(p.gone, 0), d.at IS NOT NULL "
    "FROM segments s JOIN tracks t USING (track) LEFT JOIN pruned p USING (at) "
    "LEFT JOIN damaged d USING (at) WHERE s.track = ? AND s.time_ms >= ? AND s.time_ms < ? "
    "ORDER BY s.until, s.at"
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for; empty: everything. Times by the gateway's clock, in ms."""

    devices: tuple[bytes, ...] = ()
    from_ms: int = 0
    until_ms: int = 1 << 62
    interactions: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Exported:
    """What was written, and what could not be; every count of the second part is told."""

    devices: int = 0
    segments: int = 0
    records_bytes: int = 0
    evidence_files: int = 0
    interactions: int = 0
    # What is missing.
    pruned: dict[str, int] = field(default_factory=dict)  # segments without bodies of a kind
    damaged: list[int] = field(default_factory=list)  # places in the log; at most so many are named
    damaged_segments: int = 0
    # Segments with claims of which no evidence file has any: places, at most so many, and how many.
    # No root that is accepted here vouches for the key that signed them.
    unvouched: list[int] = field(default_factory=list)
    unvouched_segments: int = 0
    begin_late: int = 0  # segments whose log before them is not in it, and no edge could be added
    edges_added: int = 0  # segments that are not byte for byte as stored: they carry their edge
    parked: int = 0  # segments that wait at the gateway for those before them
    receipts_pruned: int = 0  # validators' receipts of which only is known that they were there
    not_receipted: dict[str, int] = field(default_factory=dict)  # segments, by validator
    interactions_unjudged: int = 0  # claims without a verdict
    interactions_without: list[str] = field(default_factory=list)  # asked for and not there
    claims_lacking: int = 0  # named by a verdict, and not in its evidence file
    profiles_lacking: int = 0
    # For want of room: no reader takes an evidence file of more than 16 MiB.
    interactions_cut: int = 0
    interactions_too_long: int = 0  # of which there is no file: credentials alone are too long
    heads_left_out: int = 0
    holds: list[str] = field(default_factory=list)  # in force here


def devices_named(config: Config, names: Sequence[str]) -> tuple[bytes, ...]:
    """Ids of devices by id, asset tag, name or serial number; Malformed for one that is none."""
    connection = _opened(config.store)
    try:
        known: dict[str, set[bytes]] = {}
        for (device,) in connection.execute("SELECT device FROM devices"):
            known.setdefault(device_text(device), set()).add(device)
            identity = _identity(config, StoreView(connection).credential(device) or [])
            details = {} if identity is None else identity.enrolment.details
            for key in ("asset_tag", "name", "serial"):
                if isinstance(details.get(key), str):
                    known.setdefault(details[key], set()).add(device)
    finally:
        connection.close()
    for name in names:
        if len(known.get(name, ())) != 1:
            many = "several devices are" if name in known else "no device here is"
            raise Malformed(
                "bad-value", f"{many} {name!r}; ids stand on the page, and in `tally fleet list`"
            )
    return tuple(sorted({next(iter(known[name])) for name in names}))


def export(
    config: Config,
    to: Path,
    wanted: Wanted,
    profiles: dict[bytes, bytes],
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Exported:
    """Write what is wanted into a new folder; `profiles` by digest, for evidence files.

    progress: segments looked at, segments in all.
    :raises CouldNotCheck: there is something at `to`, or the store or disk fails.
    """
    if to.exists() or to.is_symlink():
        raise CouldNotCheck("bad-value", f"{to}: is there already; an export overwrites nothing")
    try:
        # Of mode 0700, and nobody else's.
        partial = Path(tempfile.mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    except OSError as error:
        raise CouldNotCheck("bad-value", f"{to.parent}: {error.strerror}") from error
    mask = os.umask(0o077)
    connection = None
    try:
        connection = _opened(config.store)
        connection.execute("BEGIN")
        look_for_room(connection, wanted, to.parent)
        done = _Export(connection, config, partial, wanted, profiles, progress).run()
        # Of a million small files each by itself would take hours.
        os.sync()
        if to.exists():
            raise CouldNotCheck("bad-value", f"{to}: came meanwhile; nothing is overwritten")
        partial.rename(to)
        _sync_folder(to.parent)
    except (sqlite3.Error, OSError) as error:
        raise CouldNotCheck("bad-value", f"{to}: {error}") from error
    finally:
        os.umask(mask)
        if connection is not None:
            connection.close()
        shutil.rmtree(partial, ignore_errors=True)
    return done


def _opened(store: Path) -> sqlite3.Connection:
    connection = open_reader(store)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        connection.close()
        raise CouldNotCheck(
            "bad-value", f"{store}: start the gateway once, its store is of an older version"
        )
    return connection


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _identity(config: Config, credential: list[bytes]) -> Identity | None:
    try:
        return verify_credential(Credential(credential), dict(config.roots), None)
    except TallyError:
        return None


class _Export:
    # One run over one snapshot.
    def __init__(
        self,
        connection: sqlite3.Connection,
        config: Config,
        folder: Path,
        wanted: Wanted,
        profiles: dict[bytes, bytes],
        progress: Callable[[int, int], None],
    ) -> None:
        self._connection = connection
        self._config = config
        self._folder = folder
        self._wanted = wanted
        self._profiles = profiles
        self._progress = progress
        self._view = StoreView(connection)
        self._validators = [row[0] for row in connection.execute("SELECT name FROM validators")]
        validators = [one.credential for one in config.validators if one.credential is not None]
        self._own = [list(config.credential), *map(list, validators)]
        self._done = Exported()
        self._looked = 0
        (self._all,) = connection.execute("SELECT count(*) FROM segments").fetchone()

    def run(self) -> Exported:
        """Write everything below the folder."""
        done = self._done
        done.holds = [
            row["name"] for row in holds.known(self._connection) if row["ended_ms"] is None
        ]
        claims = Claims(self._folder / ".scratch")
        try:
            for row in self._verdicts():
                claims.verdict(row)
            chosen = self._devices()
            for device in chosen:
                self._device(device, claims)
            self._interactions(claims)
            done.interactions_unjudged = claims.unjudged()
        finally:
            claims.close()
        gateway = meta(self._connection, "gateway")
        about = {
            "format": FORMAT,
            "gateway": self._config.name,
            "id": None if gateway is None else device_text(gateway),
            "made_ms": time.time_ns() // 1_000_000,
            "wanted": {
                "devices": [device_text(one) for one in self._wanted.devices],
                "from_ms": self._wanted.from_ms or None,
                "until_ms": None if self._wanted.until_ms == 1 << 62 else self._wanted.until_ms,
                "interactions": [f"{name}/{b64u(id_)}" for name, id_ in self._wanted.interactions],
            },
            **asdict(done),
        }
        (self._folder / "export.json").write_text(json.dumps(about, indent=2) + "\n")
        return done

    # --- devices ----------------------------------------------------------------------------

    def _devices(self) -> list[ExportedDevice]:
        ids = self._wanted.devices or tuple(
            row[0] for row in self._connection.execute("SELECT device FROM devices ORDER BY 1")
        )
        found = []
        for id_ in ids:
            credential = self._view.credential(id_)
            if credential is not None:
                found.append(ExportedDevice(id_, credential, _identity(self._config, credential)))
        return found

    def _device(self, device: ExportedDevice, claims: Claims) -> None:
        tracks = self._connection.execute(
            "SELECT t.track, t.custody, t.custody_elided FROM tracks t LEFT JOIN epochs e "
            "USING (device, epoch) WHERE t.device = ? ORDER BY e.since_ms, t.epoch, t.began, "
            "t.track",
            (device.id,),
        ).fetchall()
        folder = self._folder / "devices" / device_text(device.id)
        writer = DeviceFolder(folder, device, self._own, self._receipts, self._custody)
        for track, *custody in tracks:
            at = writer.count
            reach = -1  # where the one before ended
            period = (self._wanted.from_ms, self._wanted.until_ms)
            for *values, time_ms, gone, damaged in self._connection.execute(
                _ROWS, (track, *period)
            ):
                row = StoredSegment(*values)
                self._looked += 1
                self._progress(self._looked, self._all)
                if damaged or not row.intact(read_node(self._connection, 0, row.at)):
                    self._damaged(row.at)
                    continue
                self._segment(writer, row, time_ms, gone, knows=reach == row.first)
                reach = row.until
                parsed = segments.parse(row.data)
                if not claims.add(parsed, tree_from(row.first, row.edge), device.identity):
                    self._unvouched(row.at)
            if writer.count > at:
                writer.heads.also([data for data in custody if data is not None])
        writer.close()
        done = self._done
        done.devices += writer.count > 0
        done.evidence_files += writer.evidence
        done.heads_left_out += writer.left_out
        (parked,) = self._connection.execute(
            "SELECT count(*) FROM parked WHERE device = ?", (device.id,)
        ).fetchone()
        done.parked += parked

    def _damaged(self, at: int) -> None:
        self._done.damaged_segments += 1
        if len(self._done.damaged) < limits.QUARANTINE_SHOWN_MAX:
            self._done.damaged.append(at)

    def _unvouched(self, at: int) -> None:
        self._done.unvouched_segments += 1
        if len(self._done.unvouched) < limits.QUARANTINE_SHOWN_MAX:
            self._done.unvouched.append(at)

    def _segment(
        self, writer: DeviceFolder, row: StoredSegment, time_ms: int, gone: int, *, knows: bool
    ) -> None:
        done = self._done
        data = row.data
        if row.first and not knows:
            # Whoever takes it in has no history of it.
            base = tree_from(row.first, row.edge)
            data = with_edge(self._connection, data, row.track, base)
            done.edges_added += data != row.data
            done.begin_late += segments.parse(data).edge is None
        kinds = [name for name, kind in KINDS.items() if gone >> kind & 1]
        for kind in kinds:
            done.pruned[kind] = done.pruned.get(kind, 0) + 1
        for name in self._validators:
            if self._receipt(name, row.checkpoint) is None:
                done.not_receipted[name] = done.not_receipted.get(name, 0) + 1
        writer.add(row, data, time_ms, kinds)
        done.segments += 1
        done.records_bytes += len(data)

    # --- what proves them -------------------------------------------------------------------

    def _receipt(self, validator: str, statement: bytes) -> bytes | None:
        row = self._connection.execute(
            "SELECT receipt FROM receipts WHERE validator = ? AND statement = ?",
            (validator, statement),
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _receipts(self, statement: bytes) -> list[bytes]:
        found = [self._receipt(name, statement) for name in self._validators]
        self._done.receipts_pruned += sum(data == b"" for data in found)
        return [data for data in found if data]

    def _custody(self, digest: bytes) -> bytes | None:
        row = self._connection.execute(
            "SELECT data FROM custody WHERE digest = ?", (digest,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    # --- interactions -----------------------------------------------------------------------

    def _verdicts(self) -> Iterator[tuple[str, int, bytes, str, bytes, str, bytes]]:
        asked = set(self._wanted.interactions)
        for row in self._connection.execute(
            "SELECT validator, entry, digest, namespace, interaction, state, data FROM verdicts "
            "WHERE superseded = 0"
        ):
            if not asked or (row[3], row[4]) in asked:
                yield row

    def _interactions(self, claims: Claims) -> None:
        done = self._done
        folder = self._folder / "interactions"
        asked = {f"{name}/{b64u(id_)}" for name, id_ in self._wanted.interactions}
        with (self._folder / "interactions.jsonl").open("x") as lines:
            for one in claims.files(
                self._view.credential, self._receipts, self._custody, self._profiles, self._own
            ):
                name = f"{one.namespace}/{b64u(one.interaction)}"
                asked.discard(name)
                line: dict[str, Any] = {"file": None, "interaction": name}
                if one.data is None:
                    done.interactions_too_long += 1
                else:
                    done.interactions += 1
                    done.interactions_cut += one.cut
                    folder.mkdir(exist_ok=True)
                    line["file"] = f"{done.interactions:06}.tally"
                    write_new(folder / line["file"], one.data)
                done.claims_lacking += one.lacking
                done.profiles_lacking += not one.profile
                line["states"] = one.states
                line |= {"claims": one.claims, "lacking": one.lacking, "profile": one.profile}
                line["cut"] = one.cut
                lines.write(json.dumps(line) + "\n")
        done.interactions_without = sorted(asked)
