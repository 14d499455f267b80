"""The world of one run: a virtual clock, one seeded generator, who acts now, and a trace."""

import hashlib
import heapq
import random
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EVENTS_MAX = 100_000


class Killed(BaseException):
    """The process of this node ended here; no handler of it runs any more."""

    def __init__(self, node: "Node") -> None:
        super().__init__(node.name)
        self.node = node


class Wrong(BaseException):
    """A promise is broken, or the product met a defect of its own. No service catches it."""


class Node(ABC):
    """A machine: `life` is another one after each start, 0 while it is off."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.skew_ms = 0
        self.life = 0
        self._lives = 0
        # The step at which its process is killed, and how often it is passed before.
        self.dies_at: tuple[str, int] | None = None
        world.nodes.append(self)

    @property
    def on(self) -> bool:
        return self.life > 0

    def born(self) -> None:
        """Its process started."""
        self._lives += 1
        self.life = self._lives
        self.world.note(self.name, "starts")

    def gone(self) -> None:
        """Its process ended."""
        self.life = 0
        self.dies_at = None
        self.world.note(self.name, "ends")

    @abstractmethod
    def start(self) -> None:
        """Start its process."""

    @abstractmethod
    def stop(self) -> None:
        """End its process at once."""

    @abstractmethod
    def idle(self) -> bool:
        """Whether nothing is left for it to do."""

    def later(self, delay_ms: float, do: Callable[[], None]) -> None:
        """Do it then, if this process lives still."""
        life = self.life

        def still() -> None:
            if self.life == life:
                do()

        self.world.after(delay_ms, still)


class World:
    """The event loop; everything that happens, happens in `run`."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.now_ms = 0.0
        self.chance = random.Random(seed)
        # Another one, so that a draw more within the product does not change the faults.
        self.product_chance = random.Random(seed ^ 0x7A11)
        self.nodes: list[Node] = []
        self.lines: list[str] | None = [] if trace else None
        self.events = 0
        self._trace = hashlib.sha256()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._acting: list[Node] = []
        self.defects: list[str] = []

    # --- time ------------------------------------------------------------------------------

    def after(self, delay_ms: float, do: Callable[[], None]) -> None:
        """Do it so much later."""
        self._number += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._number, do))

    def run(self, until_ms: float) -> None:
        """Everything that is to happen until then."""
        while self._heap and self._heap[0][0] <= until_ms:
            at_ms, _, do = heapq.heappop(self._heap)
            self.now_ms = max(self.now_ms, at_ms)
            self.events += 1
            if self.events > EVENTS_MAX:
                raise Wrong(f"more than {EVENTS_MAX} events: it does not come to rest")
            do()
            if self.defects:
                raise Wrong(self.defects[0])
        self.now_ms = max(self.now_ms, until_ms)

    # --- who acts --------------------------------------------------------------------------

    @contextmanager
    def acting(self, node: Node) -> Iterator[None]:
        """What the product does within is done by this node."""
        self._acting.append(node)
        try:
            yield
        finally:
            self._acting.pop()

    def skew_ms(self) -> int:
        return self._acting[-1].skew_ms if self._acting else 0

    def passed(self, point: str) -> None:
        node = self._acting[-1]
        if node.dies_at is None or node.dies_at[0] != point:
            return
        left = node.dies_at[1]
        node.dies_at = (point, left - 1)
        if left == 0:
            self.note(node.name, f"is killed at {point}")
            raise Killed(node)

    def logged(self, level: str, event: dict[str, Any]) -> None:
        who = self._acting[-1].name if self._acting else "?"
        self.note(who, f"logs {level}: {event.get('event')} {event.get('error', '')}")
        if event.get("exc_info"):
            # Services catch what they do not expect, and go on; here it is a failure.
            self.defects.append(f"{who}: {event.get('event')}\n{traceback.format_exc()}")

    # --- the trace -------------------------------------------------------------------------

    def note(self, who: str, what: str, data: bytes = b"") -> None:
        """A line of the trace; the digest over all of them says whether two runs were the same."""
        line = f"{self.now_ms / 1000:9.3f} {who:8} {what}"
        if data:
            line += f" {hashlib.sha256(data).hexdigest()[:12]}"
        self._trace.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(line)

    @property
    def digest(self) -> str:
        return self._trace.hexdigest()
