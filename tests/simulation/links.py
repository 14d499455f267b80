"""Links that lose, repeat, reorder and delay what they carry, and are cut for a time."""

from collections.abc import Callable
from dataclasses import dataclass

from simulation.world import World

CALM_MS = (5, 40)
LATE_MS_MAX = 600_000


@dataclass
class Weather:
    """Of all links: chances of a loss and of a repetition, and how long a message travels."""

    loss: float = 0.0
    again: float = 0.0
    delay_ms: tuple[int, int] = CALM_MS


class Links:
    """Every link of the world, by the names of its ends."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.weather = Weather()
        self._cut_until: dict[frozenset[str], float] = {}

    def cut(self, one: str, other: str, for_ms: float) -> None:
        """Nothing passes for so long."""
        self._cut_until[frozenset((one, other))] = self._world.now_ms + for_ms

    def calm(self) -> None:
        """All is well again."""
        self.weather = Weather()
        self._cut_until.clear()

    def open(self, one: str, other: str) -> bool:
        """Whether they see one another."""
        return self._cut_until.get(frozenset((one, other)), -1.0) < self._world.now_ms

    def lost(self, one: str, other: str) -> bool:
        """Whether what is sent now gets lost."""
        return not self.open(one, other) or self._happens(self.weather.loss)

    def repeated(self) -> bool:
        """Whether what is sent now comes twice."""
        return self._happens(self.weather.again)

    def delay_ms(self) -> int:
        """How long the next message travels; those that overtake one another are reordered."""
        return self._world.chance.randint(*self.weather.delay_ms)

    def send(self, one: str, other: str, data: bytes, deliver: Callable[[bytes], None]) -> None:
        """A message on its way."""
        if self.lost(one, other):
            self._world.note(one, f"loses a message to {other}", data)
            return
        self._world.after(self.delay_ms(), lambda: deliver(data))
        if self.repeated():
            # A copy may lie somewhere for long.
            late_ms = self._world.chance.choice((0, 0, LATE_MS_MAX))
            delay_ms = self.delay_ms() + self._world.chance.uniform(0, late_ms)
            self._world.after(delay_ms, lambda: deliver(data))

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._world.chance.random() < chance
