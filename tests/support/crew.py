"""A sequencer on PostgreSQL whose turns a test takes by hand, and workers of the test's own."""

import shutil
import threading
from concurrent.futures import Future
from pathlib import Path

from sqlalchemy.engine import Connection

from support.devices import Fleet
from support.site import until
from support.validating import Clock, compress, load, write_config
from tallystick.evidence.errors import TallyError
from tallystick.validator import ahead
from tallystick.validator.ingestduty import IngestDuty
from tallystick.validator.place import Server, parse_place
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.workers import Worker

S_MAX = 90.0
KEPT = ("key", "note.key", "credential.cbor")


def same_keys(folder: Path, of: Path) -> Path:
    """A folder whose validator has the keys of another one: it signs the same."""
    folder.mkdir()
    for name in KEPT:
        shutil.copy(of / name, folder / name)
    shutil.copytree(of / "profiles", folder / "profiles")
    return folder


def facts_of(data: bytes) -> list[bytes]:
    """What a worker finds in a batch by the keys that it brings itself."""
    return ahead.prepare(compress(data), lambda _: [])


class Crew:
    """A sequencer that is open and does nothing by itself; `worker` looks ahead of it."""

    def __init__(self, folder: Path, fleets: list[Fleet], url: str, tables: str = "") -> None:
        self.url = url
        write_config(folder, fleets)
        config = load(folder, fleets, store=f'"{url}"', tables=tables)
        self.sequencer = Sequencer(config, Clock())
        place = parse_place(url, folder)
        assert isinstance(place, Server)
        assert self.sequencer.inbox is not None
        self.server, self.inbox = place, self.sequencer.inbox
        self.stop = threading.Event()
        self.worker = Worker(place, [IngestDuty()], self.stop)

    def begin(self) -> None:
        """The worker says that it lives, and copies are made from now on."""
        self.worker.turn()
        self.inbox.start()

    def close(self) -> None:
        self.worker.close()
        self.sequencer.stop()

    def count(self, where: str = "true") -> int:
        """Rows of the inbox."""

        def ask(connection: Connection) -> int:
            found = connection.exec_driver_sql(f"SELECT count(*) FROM inbox WHERE {where}")
            return int(found.scalar_one())

        with self.sequencer.store.read() as connection:
            return ask(connection)

    def hand_in(self, batches: list[bytes]) -> "list[Future[bytes]]":
        """All of them, compressed, before the first one is taken.

        The first is not copied where the sequencer has nothing to do: it is served at once.
        """
        while self.sequencer.turn(0):
            pass
        futures = [self.sequencer.submit(data, "acme") for data in batches]
        until(lambda: self.count() >= len(batches) - 1, "not copied")
        return futures

    def answers(self, batches: list[bytes]) -> list[object]:
        """What each gets, when all of them wait and are looked at before the first one is taken."""
        futures = self.hand_in(batches)
        copied = len(batches) - 1
        until(
            lambda: self.worker.turn() == 0 and self.inbox.told().looked_at == copied,
            "not looked at",
        )
        found: list[object] = []
        for future in futures:
            while not future.done():
                self.sequencer.turn(0)
            error = future.exception()
            if error is not None:
                assert isinstance(error, TallyError)
            found.append(future.result() if error is None else (error.reason, error.message))
        return found
