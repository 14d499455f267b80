"""What the devices of a run do, and what befalls everybody: all of it drawn from the seed."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from simulation.links import CALM_MS, Weather
from tallystick.gateway import steps as gateway_steps
from tallystick.validator import steps as validator_steps

if TYPE_CHECKING:
    from simulation.device import Device
    from simulation.run import Run

MINUTE_MS = 60_000
# Devices act and faults strike until then; the world is healed after it.
STORM_MS = 30 * MINUTE_MS
DECISIONS = (3, 7)
HANDOVERS = (1, 3)
FAULTS = (5, 12)
VALIDATOR_STEPS = (
    validator_steps.SEQUENCED,
    validator_steps.INTEGRATED,
    validator_steps.SIGNED,
    validator_steps.PUBLISHED,
    validator_steps.ANSWERED,
)


class Story:
    """Puts everything of a run into its world."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._chance = run.world.chance
        # Task, the devices' places, whether they agree.
        self.handovers: list[tuple[str, str, str, bool]] = []

    def begin(self) -> None:
        """Draw everything."""
        run, chance = self._run, self._chance
        for device in run.devices.values():
            for _ in range(chance.randint(*DECISIONS)):
                count, urgent = chance.randint(1, 4), chance.random() < 0.25
                self._at(partial(device.decide, 1 if urgent else count, urgent=urgent))
        for number in range(chance.randint(*HANDOVERS)):
            self._handover(f"order-{number}")
        for _ in range(chance.randint(*FAULTS)):
            self._at(partial(chance.choice(FAULTS_OF_ALL), self))
        self._at(self._weather)

    def _at(self, do: Callable[[], None]) -> None:
        self._run.world.after(self._chance.uniform(0, STORM_MS), do)

    # --- what devices do -------------------------------------------------------------------

    def _handover(self, task: str) -> None:
        chance, run = self._chance, self._run
        giver, receiver = chance.sample(sorted(run.devices), 2)
        agree = chance.random() < 0.7
        sides = chance.choice(("gr", "gr", "gr", "g", "r"))
        at_ms = chance.uniform(0, STORM_MS)
        self.handovers.append((task, giver, receiver, agree))
        for side, one, other, role, x in (
            ("g", giver, receiver, "giver", 1),
            ("r", receiver, giver, "receiver", 1 if agree else 3),
        ):
            if side in sides:
                device, peer = run.devices[one], run.devices[other]
                do = partial(self._claim, device, peer, task, role, x)
                run.world.after(at_ms + chance.uniform(0, 2 * MINUTE_MS), do)

    def _claim(self, device: "Device", peer: "Device", task: str, role: str, x: int) -> None:
        links = self._run.links
        give = partial(links.send, device.name, peer.name, deliver=peer.accept)
        device.claim(task, role, peer.id, x, give)

    # --- faults ----------------------------------------------------------------------------

    def _weather(self) -> None:
        chance = self._chance
        slow_ms = chance.choice((40, 2_000, 45_000, 300_000))
        self._run.links.weather = Weather(
            chance.choice((0.0, 0.1, 0.4)), chance.choice((0.0, 0.1, 0.4)), (CALM_MS[0], slow_ms)
        )

    def _device(self) -> "Device":
        return self._run.devices[self._chance.choice(sorted(self._run.devices))]

    def _partition(self) -> None:
        names = [node.name for node in self._run.world.nodes]
        one, other = self._chance.sample(names, 2)
        self._run.links.cut(one, other, self._chance.uniform(1, 15) * MINUTE_MS)

    def _gateway_away(self) -> None:
        gateway = self._chance.choice(self._run.gateway_list)
        for node in self._run.world.nodes:
            if node is not gateway:
                self._run.links.cut(
                    gateway.name, node.name, self._chance.uniform(1, 15) * MINUTE_MS
                )

    def _power_cut(self) -> None:
        device = self._device()
        if device.on:
            device.cut_soon(self._chance.randint(1, 60))

    def _cut_at_boot(self) -> None:
        device = self._device()
        if device.on:
            device.cut_in = self._chance.randint(1, 25)
            device.restart()

    def _reboot(self) -> None:
        device = self._device()
        if device.on:
            device.restart()

    def _wipe(self) -> None:
        device = self._device()
        if device.on and self._chance.random() < 0.5:
            device.wiped()

    def _move(self) -> None:
        self._device().move(self._chance.choice(self._run.gateway_list).name)

    def _kill_gateway(self) -> None:
        gateway = self._chance.choice(self._run.gateway_list)
        if gateway.on:
            gateway.dies_at = (self._chance.choice(gateway_steps.ALL), self._chance.randint(0, 1))

    def _disk_full(self) -> None:
        gateway = self._chance.choice(self._run.gateway_list)
        if gateway.on:
            gateway.disk_full(self._chance.randint(1, 6))

    def _disk_lost(self) -> None:
        gateway = self._chance.choice(self._run.gateway_list)
        if gateway.on and gateway.spare and self._chance.random() < 0.5:
            gateway.disk_lost()

    def _broker_forgets(self) -> None:
        self._chance.choice(self._run.gateway_list).forget_session()

    def _kill_validator(self) -> None:
        validator = self._chance.choice(self._run.validator_list)
        if validator.on:
            validator.dies_at = (self._chance.choice(VALIDATOR_STEPS), self._chance.randint(0, 1))

    def _restart_validator(self) -> None:
        validator = self._chance.choice(self._run.validator_list)
        if validator.on:
            validator.restart()

    def _slow_validator(self) -> None:
        validator = self._chance.choice(self._run.validator_list)
        validator.slowness = self._chance.choice((0.3, 0.9))

    def _clock(self) -> None:
        nodes = [*self._run.devices.values(), *self._run.gateway_list]
        node = self._chance.choice(nodes)
        day_ms = 86_400_000
        node.skew_ms = self._chance.choice((-365 * day_ms, -3_600_000, 0, 7_000, day_ms))
        self._run.world.note(node.name, f"its clock is {node.skew_ms} ms wrong")


FAULTS_OF_ALL = (
    Story._weather,
    Story._partition,
    Story._gateway_away,
    Story._power_cut,
    Story._power_cut,
    Story._cut_at_boot,
    Story._reboot,
    Story._wipe,
    Story._move,
    Story._move,
    Story._kill_gateway,
    Story._kill_gateway,
    Story._kill_gateway,
    Story._kill_gateway,
    Story._disk_full,
    Story._disk_lost,
    Story._broker_forgets,
    Story._kill_validator,
    Story._kill_validator,
    Story._kill_validator,
    Story._kill_validator,
    Story._restart_validator,
    Story._slow_validator,
    Story._clock,
)
