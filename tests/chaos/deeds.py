"""What a run does to its processes, links, disks and clocks when a fault of the plan is due."""

import functools
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2

from chaos import relay
from chaos.parts import TALLY, Part, Wrong, wait_until
from chaos.plan import (
    BROKER,
    CLOCK,
    CUT,
    DRIVERS,
    FULL,
    GATEWAYS,
    HOLD,
    KILL,
    MOVE,
    PAUSE,
    PUT_BACK,
    REPLACE,
    RESET,
    SPARE,
    SPOILT,
    STALL,
    WIPE,
    Fault,
    other_gateway,
)
from chaos.world import World
from tallystick.evidence import note
from tallystick.gateway import holds
from tallystick.gateway.store import operator_write

# Bound of waiting: a loaded machine is slow, which is no fault of the code.
START_S_MAX = 120.0
TURN_S = 0.05
ASK_S_MAX = 5.0
# How long both gateways serve the same devices when one has come back.
OVERLAP_S = 1.5
# One device of so many of a process has another clock then.
CLOCKS_EVERY = 3
# So many of each process's devices are held.
HELD = 5
STORE = "validator.sqlite"


class Deeds:
    """`after`: has something done so many seconds after what is done now."""

    def __init__(
        self, world: World, after: Callable[[float, Callable[[], None]], None], kills: Counter[str]
    ) -> None:
        self.world = world
        self._after = after
        self._kills = kills
        # Who stands where another gateway of the plan stood.
        self._in_place_of: dict[str, str] = {}
        self._drains: list[Part] = []
        self._holds = 0

    def begin(self, fault: Fault) -> None:
        """It is due."""
        {
            KILL: self._kill,
            CUT: self._cut,
            STALL: self._stall,
            PAUSE: self._pause,
            FULL: self._full,
            CLOCK: self._clock,
            RESET: self._reset,
            MOVE: self._move,
            SPOILT: self._spoilt,
            WIPE: self._wipe,
            PUT_BACK: self._put_back,
            REPLACE: self._replace,
            HOLD: self._hold,
        }[fault.kind](fault)

    def part(self, name: str) -> Part:
        """Who has this place in the plan now."""
        return self.world.parts[self._in_place_of.get(name, name)]

    @property
    def drained(self) -> bool:
        """Whether gateways that were replaced have sent all; Wrong where they cannot."""
        return all(drain.ended() for drain in self._drains)

    def close(self) -> None:
        """Whatever happened."""
        for drain in self._drains:
            drain.close()

    # --- processes and links ---------------------------------------------------------------

    def _kill(self, fault: Fault) -> None:
        if fault.target == BROKER:
            self._kill_broker()
            self._after(fault.for_s, self.world.broker.start)
        else:
            self.part(fault.target).kill()
            self._after(fault.for_s, self.part(fault.target).start)

    def _kill_broker(self) -> None:
        self.world.broker.kill()
        self._kills[BROKER] += 1

    def _wipe(self, fault: Fault) -> None:
        self._kill_broker()
        for saved in self.world.broker.folder.glob("mosquitto.db*"):
            saved.unlink()
        self._after(fault.for_s, self.world.broker.start)

    def _cut(self, fault: Fault) -> None:
        self._link(fault.target, relay.CUT, fault.for_s)

    def _stall(self, fault: Fault) -> None:
        self._link(fault.target, relay.STALLED, fault.for_s)

    def _link(self, name: str, how: str, for_s: float) -> None:
        self.world.relay.set(name, how)
        self._after(for_s, lambda: self.world.relay.set(name, relay.GOOD))

    def _pause(self, fault: Fault) -> None:
        part = self.part(fault.target)
        part.signal(signal.SIGSTOP)
        self._after(fault.for_s, lambda: part.signal(signal.SIGCONT))

    def _full(self, fault: Fault) -> None:
        part = self.part(fault.target)
        part.fill(full=True)
        self._after(fault.for_s, lambda: part.fill(full=False))

    # --- clocks ----------------------------------------------------------------------------

    def _clock(self, fault: Fault) -> None:
        if fault.target in DRIVERS:
            self.part(fault.target).tell(clock=fault.clock_ms, every=CLOCKS_EVERY)
        else:
            self._set_clock(fault)

    def _reset(self, fault: Fault) -> None:
        self.part(fault.target).kill()
        self._set_clock(fault)
        self._after(fault.for_s, self.part(fault.target).start)

    def _set_clock(self, fault: Fault) -> None:
        assert fault.clock_ms is not None
        self.world.set_clock(self.part(fault.target).name, fault.clock_ms)

    # --- gateways --------------------------------------------------------------------------

    def _move(self, fault: Fault) -> None:
        stays = other_gateway(fault.target)
        self._share(stays, stays)
        self.part(fault.target).kill()
        self._after(fault.for_s, self.part(fault.target).start)
        self._after(fault.for_s + OVERLAP_S, lambda: self._share(stays, *GATEWAYS))

    def _share(self, name: str, *names: str) -> None:
        self._write_share(name, *names)
        self._reload(name)

    def _write_share(self, name: str, *names: str) -> None:
        self.world.share(self.part(name).name, *(self.part(one).name for one in names))

    def _reload(self, name: str) -> None:
        self._ready(name).signal(signal.SIGHUP)

    def _ready(self, name: str) -> Part:
        """The part, once it is ready: before that a signal would end it, as any program."""
        part = self.part(name)

        def ready() -> bool:
            part.look()
            return part.ready

        wait_until(ready, START_S_MAX, f"the start of {name}", TURN_S)
        return part

    def _spoilt(self, fault: Fault) -> None:
        path = self.world.gateways[self._ready(fault.target).name].path
        good = path.read_text()
        path.write_text(good.replace("[broker]", "[brokr]"))
        self._reload(fault.target)

        def mend() -> None:
            path.write_text(good)
            self._reload(fault.target)

        self._after(fault.for_s, mend)

    def _replace(self, fault: Fault) -> None:
        """Another gateway takes its place for good; what the old one took it still sends (F23)."""
        old, stays = self._ready(fault.target), other_gateway(fault.target)
        old.stop()
        self._in_place_of[fault.target] = SPARE
        self._write_share(fault.target, *GATEWAYS)
        self.part(fault.target).start()
        self._share(stays, *GATEWAYS)
        config = str(self.world.gateways[old.name].path)
        drain = Part(
            f"{old.name}-drains", old.folder, *TALLY, "gateway", "drain", "--config", config
        )
        self._drains.append(drain)
        drain.start()

    def _hold(self, fault: Fault) -> None:
        """`tally hold`, beside whatever the gateway is doing or suffering."""
        self._holds += 1
        name = f"incident-{self._holds}"
        path = self.world.gateways[fault.target].folder / "gateway.sqlite"
        held = " ".join(one.text for made in self.world.devices.values() for one in made[:HELD])
        with operator_write(path) as connection:
            holds.begin(connection, name, "a chaos run", held)

        def end() -> None:
            with operator_write(path) as connection:
                holds.end(connection, name)

        self._after(fault.for_s, end)

    # --- a validator that is put back --------------------------------------------------------

    def _put_back(self, fault: Fault) -> None:
        """Its store is replaced by an older copy: it must say so and stop (F17), and come back."""
        part = self._ready(fault.target)
        copy = part.folder / "older.sqlite"
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(copy)) as to, closing(_opened(part.folder / STORE)) as store:
            store.backup(to)
            (size,) = to.execute("SELECT max(size) FROM heads").fetchone()
        self._after(fault.for_s, functools.partial(self._come_back_older, part, copy, int(size)))

    def _come_back_older(self, part: Part, copy: Path, size: int) -> None:
        seen = functools.partial(self._seen_beyond, part.name, size)
        wait_until(seen, START_S_MAX, f"a witness of what {part.name} published")
        part.kill()
        links = [name for name in self.world.relay.links if name.endswith(f">{part.name}")]
        for link in links:
            # Until witnesses have answered it could not know, and they may be slow.
            self.world.relay.set(link, relay.CUT)
        away = part.folder / "newest"
        away.mkdir()
        newest = [*part.folder.glob(f"{STORE}*"), part.folder / "tiles"]
        for one in newest:
            one.rename(away / one.name)
        copy.rename(part.folder / STORE)
        part.start(lives=False)
        wait_until(lambda: part.ended(well=False), START_S_MAX, f"the end of {part.name}", TURN_S)
        if "restored from an older copy" not in part.last_words():
            raise Wrong(f"{part.name} was put back, and does not say so: {part.last_words()}")
        for one in [*part.folder.glob(f"{STORE}*"), part.folder / "tiles"]:
            shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)
        for one in newest:
            (away / one.name).rename(one)
        away.rmdir()
        for link in links:
            self.world.relay.set(link, relay.GOOD)
        part.start()

    def _seen_beyond(self, name: str, size: int) -> bool:
        """Whether a witness has cosigned more of this log, and is there to say so."""
        for member in self.world.members:
            if member.name == name:
                origin = member.note_key.name
        found = False
        for member in self.world.members:
            if member.name != name:
                try:
                    told = httpx2.get(f"{member.url}/v1/witnessed", timeout=ASK_S_MAX)
                except httpx2.HTTPError:
                    return False
                logs = told.json()["logs"] if told.status_code == httpx2.codes.OK else []
                heads = [note.parse(one["note"]) for one in logs if one["origin"] == origin]
                found = found or any(head.size > size for head in heads)
        return found


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60.0)
