"""A run: everything is started, faults come as the plan says, then calm, then the checker.

PYTHONPATH=... python tests/chaos/run.py --minutes 60 --seed 7     (or: make chaos)
"""

import argparse
import functools
import heapq
import itertools
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from chaos.checker import Report, check
from chaos.deeds import START_S_MAX, Deeds
from chaos.looking import cursors, reconciled, sent_all
from chaos.parts import Part, Wrong, wait_until
from chaos.plan import DRIVERS, SPARE, VALIDATORS, Fault, plan
from chaos.world import DEVICES, World, new_seed

# Bound of waiting: a loaded machine is slow, which is no fault of the code.
# Without anything changing: devices that found no broker for long try again after up to a minute.
DRAIN_S_MAX = 300.0
DRAIN_LOOK_S = 0.5
TURN_S = 0.05
# A device tells a clock that was put elsewhere at most each 10 s.
SETTLE_S = 12.0
# How often a published checkpoint is kept, for the checker.
NOTE_S = 5.0
NOTE_S_MAX = 1.0
PROGRESS_S = 30.0


@dataclass
class Done:
    """What was done, and what came of it."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    planned: int = 0
    records: int = 0
    wall_s: float = 0.0
    drained_s: float = 0.0
    rss_bytes: int = 0
    cpu_s: float = 0.0
    parts_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    report: Report | None = None

    def lines(self) -> list[str]:
        """For whoever looks on."""
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        used = ", ".join(f"{name} {spent:.0f}" for name, spent in sorted(self.parts_s.items()))
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        said = [
            f"chaos: seed {self.seed}, {self.wall_s:.0f} s, {self.cpu_s:.0f} s of a core: {used}",
            f"{self.rss_bytes >> 20} MiB of memory at most, all processes together",
            f"{sum(self.faults.values())} faults of {self.planned}: {faults}",
            f"{sum(self.kills.values())} kill -9: {kills}",
            f"drained in {self.drained_s:.0f} s",
        ]
        return said + ([] if self.report is None else self.report.lines())


class Run:
    """One run in a folder that does not exist yet."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        seconds: float,
        devices: int = DEVICES,
        pace: float = 1.0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.seconds = seconds
        self.say = say
        self.done = Done(seed)
        self.world = World(folder, seed, devices, pace)
        self.deeds = Deeds(self.world, self._after, self.done.kills)
        self.folder = folder
        # Checkpoints that validators published, each as it was got.
        self.notes = folder / "notes"
        self.notes.mkdir()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._begun_s = self._turn_s = 0.0
        self._drained_s: float | None = None

    # --- the run ---------------------------------------------------------------------------

    def run(self) -> Done:
        """Wrong where something is; what was done."""
        begun_s, cpu_s = time.monotonic(), _cpu_s()
        try:
            self._start()
            self._chaos()
            self._calm()
            self._stop()
        except BaseException:
            self.done.wall_s = time.monotonic() - begun_s
            for line in self.done.lines():
                self.say(line)
            raise
        finally:
            self.deeds.close()
            self.world.close()
        self.done.report = check(self.folder)
        self.done.cpu_s = _cpu_s() - cpu_s
        self.done.wall_s = time.monotonic() - begun_s
        return self.done

    def _start(self) -> None:
        self.world.relay.start()
        self.world.broker.start()
        for name, part in self.world.parts.items():
            if name != SPARE:
                part.start()
        wait_until(self._all_ready, START_S_MAX, "the start")
        self.say(f"chaos: seed {self.done.seed}, everything runs; faults for {self.seconds:.0f} s")

    def _chaos(self) -> None:
        faults = plan(self.done.seed, self.seconds)
        self.done.planned = len(faults)
        self._begun_s = time.monotonic()
        for fault in faults:
            self._at(fault.at_s, functools.partial(self._begin, fault))
        self._at(NOTE_S, self._note)
        self._at(PROGRESS_S, self._progress)
        # What a fault ends with comes even when the time is over.
        while self._due:
            self._turn_s, _, action = heapq.heappop(self._due)
            while (late_s := self._now() - self._turn_s) < 0:
                self._look()
                time.sleep(TURN_S)
            # Who comes late on a busy machine puts everything off that follows: between the end
            # of a fault and the next one of the same process lies what the plan wants there.
            self._begun_s += late_s
            action()

    def _calm(self) -> None:
        begun_s = time.monotonic()
        # Whatever was killed last opens its store too.
        wait_until(self._all_ready, START_S_MAX, "the end of the last start")
        for name in DRIVERS:
            self._part(name).tell(calm=True)
        went_s, state = begun_s, ""
        while not self._settled():
            # However long it takes a busy machine, it goes on.
            if (now := self._state()) != state:
                went_s, state = time.monotonic(), now
            if time.monotonic() - went_s > DRAIN_S_MAX:
                raise Wrong(f"what was under way does not end: {self._late()}")
            time.sleep(DRAIN_LOOK_S)
        self.done.drained_s = time.monotonic() - begun_s
        for number, name in enumerate(VALIDATORS):
            wait_until(functools.partial(self._keep_note, number), START_S_MAX, f"{name}'s word")

    def _stop(self) -> None:
        self.done.records = sum(self._part(name).said["next"] for name in DRIVERS)
        # Devices first: what they still say is heard.
        for part in sorted(self.world.parts.values(), key=lambda part: part.name not in DRIVERS):
            part.stop()
            self.done.kills[_kind(part.name)] += part.kills
            self.done.parts_s[_kind(part.name)] += part.cpu_s
        self.world.broker.stop()

    # --- faults ----------------------------------------------------------------------------

    def _now(self) -> float:
        return time.monotonic() - self._begun_s

    def _at(self, at_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (at_s, next(self._order), action))

    def _after(self, for_s: float, action: Callable[[], None]) -> None:
        self._at(self._turn_s + for_s, action)

    def _part(self, name: str) -> Part:
        return self.deeds.part(name)

    def _begin(self, fault: Fault) -> None:
        self.say(str(fault))
        self.done.faults[fault.kind] += 1
        self.deeds.begin(fault)

    # --- looking on ------------------------------------------------------------------------

    def _look(self) -> None:
        for part in self.world.parts.values():
            part.look()

    def _all_ready(self) -> bool:
        self._look()
        return all(part.ready for part in self.world.parts.values() if part.starts)

    def _note(self) -> None:
        self._keep_note(int(self._turn_s / NOTE_S) % len(VALIDATORS))
        if self._turn_s < self.seconds:
            self._after(NOTE_S, self._note)

    def _keep_note(self, number: int) -> bool:
        member = self.world.members[number]
        try:
            got = httpx2.get(f"{member.url}/checkpoint", timeout=NOTE_S_MAX)
        except httpx2.HTTPError:
            return False
        if got.status_code == 200:
            path = self.notes / f"{member.name}-{next(self._order):06d}"
            path.write_bytes(got.content)
        return got.status_code == 200

    def _progress(self) -> None:
        self.say(f"{self._turn_s:7.1f} s  {self._state()}")
        parts = self.world.parts.values()
        self.done.rss_bytes = max(self.done.rss_bytes, sum(part.rss_bytes() for part in parts))
        if self._turn_s < self.seconds:
            self._after(PROGRESS_S, self._progress)

    def _settled(self) -> bool:
        """Drained, and for so long that no device has anything more to say."""
        if not self._drained():
            self._drained_s = None
            return False
        if self._drained_s is None:
            self._drained_s = time.monotonic()
        return time.monotonic() - self._drained_s >= SETTLE_S

    def _drained(self) -> bool:
        self._look()
        parts = [self._part(name) for name in DRIVERS]
        if not all(part.said.get("drained") for part in parts):
            return False
        if not self.deeds.drained:
            return False
        stores = [path for path in self._gateway_stores().values() if path.exists()]
        logs = [one.folder / "validator.sqlite" for one in self.world.members]
        return all(sent_all(path) for path in stores) and all(reconciled(path) for path in logs)

    def _state(self) -> str:
        said = [self._part(name).said for name in DRIVERS]
        words = {
            word: sum(one.get(word, 0) for one in said)
            for word in ("next", "backlog", "connected", "given_up")
        }
        away = [part.name for part in self.world.parts.values() if part.starts and not part.ready]
        ways = {name: cursors(path) for name, path in self._gateway_stores().items()}
        return f"{words}, not ready {away}, gateways {ways}"

    def _gateway_stores(self) -> dict[str, Path]:
        return {name: site.folder / "gateway.sqlite" for name, site in self.world.gateways.items()}

    def _late(self) -> str:
        said = [self._part(name).said for name in DRIVERS]
        return f"{self._state()}, behind {[one.get('late') for one in said]}"


def _cpu_s() -> float:
    # Of this process, and of those that it waited for.
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _kind(name: str) -> str:
    return name.rstrip("0123456789-").removesuffix("-a").removesuffix("-b").removesuffix("-c")


def main() -> int:
    """As `make chaos` calls it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument(
        "--pace", type=float, default=1.0, help="of devices; less on a busy machine"
    )
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="tally-chaos."))
    seed = new_seed() if given.seed is None else given.seed

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    say(f"chaos: seed {seed}, in {folder}")
    try:
        done = Run(folder / "run", seed, given.minutes * 60, given.devices, given.pace, say).run()
    except Wrong as error:
        say(f"chaos: WRONG, seed {seed}, all files in {folder}: {error}")
        return 1
    for line in done.lines():
        say(line)
    say("chaos: the oracle holds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
