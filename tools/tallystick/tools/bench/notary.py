"""A validator for a bench: its folder, on SQLite or on a PostgreSQL of its own."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from tallystick.tools import provision
from tallystick.tools._cache import ToolMissing
from tallystick.tools._ports import free_port
from tallystick.tools.bench import handovers
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Fleet, Member, write_private
from tallystick.tools.postgres import Postgres
from tallystick.validator import config as configs
from tallystick.validator.config import Config
from tallystick.validator.inbox import DUTY as INGEST
from tallystick.validator.limits import QUOTA_BURST_S_MAX, QUOTA_MAX
from tallystick.validator.place import Server
from tallystick.validator.portions import RECONCILE
from tallystick.validator.workers import living

START_S_MAX = 90.0
LOOK_S = 0.05
SQLITE, POSTGRESQL = "sqlite", "postgresql"
STORES = (SQLITE, POSTGRESQL)
# A bench sends as fast as it can: no quota may be what is measured.
_QUOTAS = "".join(
    f"\n[quotas.{holder}]\nrecords_per_s = {QUOTA_MAX >> 20}\n"
    f"burst_s = {QUOTA_BURST_S_MAX}\nbytes_per_day = {QUOTA_MAX}\n"
    for holder in ("device", "gateway", "fleet")
)


@contextmanager
def server() -> Iterator[Postgres | str]:
    """A PostgreSQL that syncs its commits, as SQLite does; else why there is none."""
    try:
        # What a small server has; a bench must not depend on what the machine was set up for.
        made = Postgres({"shared_buffers": "256MB", "autovacuum": "on"}, durable=True)
    except ToolMissing as error:
        yield error.message
        return
    with made:
        yield made


class Notary:
    """One validator in its folder; `config()` is what it runs with."""

    def __init__(
        self,
        fleet: Fleet,
        label: str,
        store: str | None = None,
        *,
        tiles: bool = False,
        workers: int = 0,
    ) -> None:
        # store: a URL; else a file in its folder.
        self.bind = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.bind}"
        self.member: Member = fleet.enrol(
            "validator",
            label,
            details=lambda made: provision.validator_details(fleet, label, self.bind, made),
        )
        profile = provision.profile_file(handovers.TEXT)
        self.path: Path = provision.validator(
            fleet, self.member, bind=self.bind, profiles=[profile]
        )
        lines = self.path.read_text()
        if store is not None:
            lines = lines.replace('store = "validator.sqlite"', f"store = {json.dumps(store)}")
        if tiles:
            lines = f'tiles = "tiles"\n{lines}'
        if workers:
            lines = f"workers = {workers}\n{lines}"
        write_private(self.path, (lines + _QUOTAS).encode())

    @property
    def tiles(self) -> Path:
        """Its log as files."""
        return self.path.parent / "tiles"

    def config(self) -> Config:
        """Read anew."""
        return configs.load(self.path)

    def wait_for_workers(self, count: int) -> None:
        """Until so many take turns at both duties; BenchFailed when they do not begin to."""
        store = self.config().store
        if not count or not isinstance(store, Server):
            return
        engine = sa.create_engine(store.url)
        end = time.monotonic() + START_S_MAX
        try:
            while True:
                with engine.connect() as connection:
                    if all(living(connection, duty) >= count for duty in (RECONCILE, INGEST)):
                        return
                if time.monotonic() > end:
                    message = f"{count} workers did not begin to work"
                    raise BenchFailed("bench-failed", message)
                time.sleep(LOOK_S)
        finally:
            engine.dispose()
