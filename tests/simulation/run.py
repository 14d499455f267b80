"""Runs seeds of the simulation, or shows one:

python tests/simulation/run.py --seeds 10000 [--first 0] [--processes 2]
python tests/simulation/run.py --seed N [--trace]
python tests/simulation/run.py --mutant NAME      which seed finds a guard that is taken out
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from pathlib import Path

if __name__ == "__main__":
    TREE = Path(__file__).resolve().parents[2]
    for part in ("firmware", "gateway", "hw", "validator", "tools", "tests"):
        sys.path.insert(0, str(TREE / part))

from simulation.checker import check
from simulation.device import Device
from simulation.gateway import Gateway
from simulation.links import Links
from simulation.seam import entered
from simulation.site import DEVICES, GATEWAYS, VALIDATORS, memory, site
from simulation.story import MINUTE_MS, STORM_MS, Story
from simulation.transport import Way
from simulation.truth import Truth
from simulation.validator import Validator
from simulation.world import World, Wrong

DRAINED_MS_MAX = STORM_MS + 180 * MINUTE_MS
# Seeds between two lines that say how far it is.
PROGRESS = 100
DEADLINE_MS = 3 * MINUTE_MS


class Run:
    """One seed, from its beginning to the judgement."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.world = World(seed, trace=trace)
        self.links = Links(self.world)
        self.truth = Truth()
        self.folder = Path(tempfile.mkdtemp(dir=site().folder))
        world, chance, truth = self.world, self.world.chance, self.truth
        self.validators = {name: Validator(world, name, truth, self.folder) for name in VALIDATORS}
        self.gateways = {
            name: Gateway(world, name, self.links, truth, self.folder, self._down)
            for name in GATEWAYS
        }
        self.validator_list = list(self.validators.values())
        self.gateway_list = list(self.gateways.values())
        self.devices = {
            name: Device(
                world, name, chance.choice(GATEWAYS), self.links, truth, self.folder, self._up
            )
            for name in DEVICES
        }
        self._by_id = {device.id: device for device in self.devices.values()}
        self.story = Story(self)

    # --- links between devices and gateways ------------------------------------------------

    def _up(self, device: Device, gateway: str, message: bytes) -> None:
        def deliver(data: bytes) -> None:
            self.gateways[gateway].arrived(device.id, data)

        self.links.send(device.name, gateway, message, deliver)

    def _down(self, gateway: str, id_: bytes, message: bytes) -> None:
        device = self._by_id[id_]

        def deliver(data: bytes) -> None:
            if device.at == gateway:
                device.deliver(data)

        self.links.send(gateway, device.name, message, deliver)

    # --- its course ------------------------------------------------------------------------

    def go(self) -> None:
        """The whole of it; Wrong where a promise is broken."""
        try:
            with entered(self.world):
                self._begin()
                self.world.run(STORM_MS)
                self._heal()
                self._drain()
                self._stop()
            check(self)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self) -> None:
        chance = self.world.chance
        for node in (*self.validator_list, *self.devices.values()):
            if node is self.validator_list[-1] and chance.random() < 0.3:
                # It joins in the middle: gateways are configured for it then.
                continue
            node.start()
        for gateway in self.gateway_list:
            for validator in self.validator_list:
                if validator.on:
                    gateway.meet(Way(validator))
        self.gateway_list[0].start()
        late = self.gateway_list[1]
        if chance.random() < 0.2:
            self.world.after(chance.uniform(0, STORM_MS), lambda: self._join_gateway(late))
        else:
            late.start()
        last = self.validator_list[-1]
        if not last.on:
            self.world.after(chance.uniform(0, STORM_MS), lambda: self._join_validator(last))
        self.story.begin()

    def _join_gateway(self, gateway: Gateway) -> None:
        if not gateway.on:
            gateway.start()

    def _join_validator(self, validator: Validator) -> None:
        if not validator.on:
            validator.start()
        for gateway in self.gateway_list:
            gateway.meet(Way(validator))

    def _heal(self) -> None:
        self.world.note("world", "heals")
        self.links.calm()
        for node in self.world.nodes:
            node.dies_at = None
        for validator in self.validator_list:
            validator.slowness = 0.0
            validator.hurry = True
            if validator.name not in self.gateway_list[0].ways:
                self._join_validator(validator)
        for gateway in self.gateway_list:
            gateway.hurry = True
            if gateway.on:
                gateway.disk_has_room()

    def _drain(self) -> None:
        # Whatever was opened last has its deadline behind it by then.
        self.world.run(STORM_MS + DEADLINE_MS)
        while not self._at_rest():
            if self.world.now_ms > DRAINED_MS_MAX:
                raise Wrong(f"it does not come to rest: {self._unrest()}")
            self.world.run(self.world.now_ms + MINUTE_MS)

    def _at_rest(self) -> bool:
        return not self._unrest()

    def _unrest(self) -> list[str]:
        parts = (*self.devices.values(), *self.gateway_list, *self.validator_list)
        return [part.name for part in parts if not part.idle()]

    def _stop(self) -> None:
        for device in self.devices.values():
            if device.complaints():
                raise Wrong(f"{device.name} met {device.complaints()}")
        for node in (*self.devices.values(), *self.gateway_list, *self.validator_list):
            if node.on:
                node.stop()


def failure(seed: int) -> str | None:
    """What goes wrong with a seed; None where nothing does."""
    try:
        Run(seed).go()
    except Wrong as error:
        return str(error) or "wrong"
    except Exception:  # noqa: BLE001 - what the product raises is a finding too
        return traceback.format_exc()
    return None


def report(seed: int, why: str) -> str:
    """How to see it again."""
    return f"seed {seed}: {why}\n  again: python tests/simulation/run.py --seed {seed} --trace"


def _one(seed: int) -> tuple[int, str | None]:
    return seed, failure(seed)


def failures(seeds: Iterable[int], processes: int) -> Iterator[tuple[int, str | None]]:
    """Each seed and what went wrong, as they come."""
    if processes == 1:
        yield from map(_one, seeds)
        return
    # Processes of a pool are ended without their cleaning up.
    with tempfile.TemporaryDirectory(prefix="tally-simulation-", dir=memory()) as folder:
        os.environ["TMPDIR"] = folder
        with get_context("spawn").Pool(processes) as pool:
            yield from pool.imap_unordered(_one, seeds, chunksize=8)


def _show(seed: int, *, trace: bool) -> int:
    run = Run(seed, trace=trace)
    status = 0
    try:
        run.go()
    except (Wrong, Exception):  # noqa: BLE001 - whatever it is, it is shown
        traceback.print_exc()
        status = 1
    finally:
        for line in run.world.lines or []:
            print(line)
    print(f"seed {seed}: {run.world.events} events, digest {run.world.digest}")
    return status


def _look_for(name: str, seeds: range) -> int:
    # Imported where it is used: the seeds need no pytest.
    import pytest

    from simulation.mutants import MUTANTS

    with pytest.MonkeyPatch.context() as patch:
        MUTANTS[name](patch)
        for seed in seeds:
            why = failure(seed)
            if why is not None:
                print(f"{name}: seed {seed}: {why.strip().splitlines()[-1]}", flush=True)
                return 0
    print(f"{name}: not found by {len(seeds)} seeds", flush=True)
    return 1


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--mutant")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    if given.seed is not None:
        return _show(given.seed, trace=given.trace)
    seeds = range(given.first, given.first + given.seeds)
    if given.mutant is not None:
        return _look_for(given.mutant, seeds)
    began_s = time.monotonic()
    count = bad = 0
    for seed, why in failures(seeds, given.processes):
        count += 1
        if why is not None:
            bad += 1
            print(report(seed, why), flush=True)
        if count % PROGRESS == 0:
            print(f"{count} seeds, {bad} failed, {time.monotonic() - began_s:.0f} s", flush=True)
    print(f"{count} seeds, {bad} failed, {time.monotonic() - began_s:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
