"""`tally bench urgent`: a robot's decision to three validators' verdicts, beside a bare path."""

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tallystick.tools.bench.notary import SQLITE, STORES, server
from tallystick.tools.bench.urgent_bare import Bare
from tallystick.tools.bench.urgent_result import Ran, UrgentResult
from tallystick.tools.bench.urgent_site import Site
from tallystick.tools.postgres import Postgres

INTERACTIONS = 100
ROUNDS = 3
# Before each claim, by chance: nothing that looks at intervals may be met at one and the same place
# each time.
REST_S = (0.05, 0.25)
SEED = 5
# First ones of a round that do not count: files grow, code is read.
WARM = 5


@dataclass(frozen=True)
class Settings:
    """What a run is asked for; `workers`: processes beside each validator, on PostgreSQL."""

    interactions: int = INTERACTIONS
    rounds: int = ROUNDS
    stores: tuple[str, ...] = STORES
    workers: int = 0


def steps(settings: Settings) -> list[str]:
    """What a run does, for a progress bar."""
    return [_step(store, number) for store in settings.stores for number in range(settings.rounds)]


def _step(store: str, number: int) -> str:
    return f"{store} ({number + 1})"


def run(settings: Settings, advance: Callable[[str], None]) -> UrgentResult:
    """Measure all; `advance(step)` is called before each of steps()."""
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    absent = {}
    ran: dict[str, Ran] = {}
    try:
        for store in settings.stores:
            with ExitStack() as stack:
                found = None if store == SQLITE else stack.enter_context(server())
                if isinstance(found, str):
                    absent[store] = found
                    continue
                ran[store] = Ran()
                for number in range(settings.rounds):
                    advance(_step(store, number))
                    _round(folder / store / str(number), settings, found, ran[store])
                    if found is not None:
                        found.take_back()
        return UrgentResult(ran, absent, _told(settings))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _round(folder: Path, settings: Settings, postgres: Postgres | None, ran: Ran) -> None:
    """All of it is started anew; then one of ours and one of theirs, in turn."""
    folder.mkdir(parents=True)
    chance = random.Random(SEED)  # noqa: S311 - when to begin is no secret

    def rest() -> None:
        time.sleep(chance.uniform(*REST_S))

    bare = Bare(folder / "bare", postgres)
    site = Site(folder / "site", postgres, settings.workers)
    with bare, site:
        for number in range(WARM + settings.interactions):
            rest()
            ours_s = site.handover(rest)
            rest()
            bare_s = bare.decide()
            if number >= WARM:
                ran.ours_s.append(ours_s)
                ran.bare_s.append(bare_s)
        ran.ours_passed += site.passed()[WARM:]
        ran.bare_passed += bare.found[WARM:]


def _told(settings: Settings) -> dict[str, object]:
    """What the figures need beside them."""
    return {
        "interactions": settings.interactions,
        "rounds": settings.rounds,
        "workers": settings.workers,
    }
