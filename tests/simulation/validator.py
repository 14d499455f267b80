"""A validator: the real sequencer and store, its jobs and ticks driven by the world."""

import shutil
import sqlite3
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import msgspec

from simulation.seam import START_MS
from simulation.site import site
from simulation.truth import Truth
from simulation.world import Killed, Node, World, Wrong
from tallystick.evidence.errors import TallyError, TransportError
from tallystick.evidence.keys import from_b64u
from tallystick.validator import problem, stories
from tallystick.validator.sequencer import Sequencer

# Between batches; a run is short of processor time.
TICK_MS = 250_000
TICK_MS_HURRY = 50_000
BOOT_MS = (2_000, 60_000)
TURNS_MAX = 100
T = TypeVar("T")


class Validator(Node):
    """One notary's service."""

    def __init__(self, world: World, name: str, truth: Truth, folder: Path) -> None:
        super().__init__(world, name)
        self.truth = truth
        self.path = folder / f"{name}.sqlite"
        template = site().validators[name]
        shutil.copyfile(str(template.store), self.path)
        self._config = site().validator_config(name, self.path)
        self.key = site().validator_keys[name]
        # The chance that a request takes longer than its sender waits.
        self.slowness = 0.0
        self.hurry = False
        # What was wrong with an answer that left; a future swallows what its callbacks raise.
        self.broken: str | None = None
        self.sequencer: Sequencer

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Its process starts."""
        self.born()
        try:
            with self.world.acting(self):
                self.sequencer = Sequencer(self._config, self._wall_ms)
        except Killed:
            # Killed while it opened: what it had open went with it.
            self.gone()
            self.world.after(self.world.chance.randint(*BOOT_MS), self.start)
            return
        # What is published can be read by another process, as anybody's receipt shows.
        self._look = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        self._tick_later()

    def _wall_ms(self) -> int:
        return START_MS + int(self.world.now_ms) + self.skew_ms

    def stop(self) -> None:
        """Its process ends at once."""
        self._look.close()
        self.sequencer.store.close()
        self.sequencer.keys.signer.close()
        self.sequencer.keys.notes.close()
        self.gone()

    def _fell(self) -> None:
        self.stop()
        self.world.after(self.world.chance.randint(*BOOT_MS), self.start)

    def restart(self) -> None:
        """It is killed between two steps, and started again."""
        self._fell()

    def slow(self) -> bool:
        """Whether it is slow just now."""
        return self.slowness > 0 and self.world.chance.random() < self.slowness

    # --- work ------------------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            with self.world.acting(self):
                self._work()
        except Killed:
            self._fell()
            return
        self._tick_later()

    def _tick_later(self) -> None:
        self.later(TICK_MS_HURRY if self.hurry else TICK_MS, self._tick)

    def _work(self) -> None:
        for _ in range(TURNS_MAX):
            more = self.sequencer.turn(0)
            if self.sequencer.failure is not None:
                raise Wrong(f"{self.name}: {self.sequencer.failure}")
            if not more:
                return
        raise Wrong(f"{self.name}: its sequencer does not come to rest")

    def asked(
        self, method: str, path: str, query: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """(status, body) of a request; TransportError where it dies before it answers."""
        self.world.note(self.name, f"is asked {method} {path}", body)
        try:
            with self.world.acting(self):
                try:
                    answer = self._answer(method, path, query, body)
                except TallyError as error:
                    response = problem.response(error)
                    self.world.note(self.name, f"refuses: {error.reason} {error.message}")
                    return response.status_code, bytes(response.body)
        except Killed:
            self._fell()
            raise TransportError("unreachable", f"{self.name}: it ended in the middle") from None
        self.world.note(self.name, "answers", answer)
        return 200, answer

    def asked_late(self, method: str, path: str, query: dict[str, str], body: bytes) -> None:
        """A request whose sender waits no longer."""
        if self.on:
            try:
                self.asked(method, path, query, body)
            except TransportError:
                return

    def _answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> bytes:
        parts = path.split("/")
        if (method, path) == ("GET", "/healthz"):
            return b"ok"
        if (method, path) == ("POST", "/v1/batches"):
            lane = self.sequencer.door.lane(body)
            future = self.sequencer.submit(body, lane)
            # Judged at the moment at which it may leave, before anything else is done.
            future.add_done_callback(self._leaves)
            return self._done(future)
        if (method, path) == ("POST", "/v1/credentials"):
            return msgspec.json.encode(self._done(self.sequencer.publish(body, "gateway")))
        if method == "GET" and parts[2] == "gateways":
            with self.sequencer.store.read() as connection:
                id_ = from_b64u(parts[3], 32)
                after = int(query["after"])
                return msgspec.json.encode(stories.heads_of(connection, id_, after))
        raise Wrong(f"{self.name}: the simulation serves no {method} {path}")

    def _leaves(self, future: "Future[bytes]") -> None:
        if future.exception() is None:
            published = {size for (size,) in self._look.execute("SELECT size FROM heads")}
            self.broken = self.truth.answered(self.name, future.result(), published)

    def _done(self, future: "Future[T]") -> T:
        while not future.done():
            self.sequencer.turn(0)
        if self.broken is not None:
            raise Wrong(self.broken)
        return future.result(0)

    # --- looks -----------------------------------------------------------------------------

    def idle(self) -> bool:
        """Whether no finding is open."""
        if not self.on:
            return False
        query = "SELECT count(*) FROM party_sets WHERE dirty OR state = 'pending'"
        return bool(self._look.execute(query).fetchone() == (0,))
