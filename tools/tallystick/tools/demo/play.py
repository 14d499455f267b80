"""The play: 40 handovers between robots of two companies, three of them with a lie.

Each handover is what the README shows: both robots record decisions, the giver claims `released`,
the receiver accepts that half and claims `acquired`, the giver accepts the other half.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tallystick.recorder import Recorder
from tallystick.tools.demo.scene import Robot, Scene

HANDOVERS = 40
DECISIONS_PER_HANDOVER = 5
WRONG_PLACE = 13
SILENT_PARTY = 21
GATEWAY_OFF = 40
PROFILE = "handover@1"
# Slow enough to be watched.
PACE_S = 0.1


@dataclass(frozen=True)
class Handover:
    """One handover as scripted, and what every validator must say of it."""

    number: int
    giver: str
    receiver: str
    expected: str
    lie: str = ""

    @property
    def task(self) -> str:
        """The order that both companies know."""
        return f"order-{4700 + self.number}"

    @property
    def item(self) -> str:
        """What changes hands."""
        return f"pallet-{self.number}"

    @property
    def place(self) -> list[str]:
        """Where, in metres; decimal text, as the programming interface takes it."""
        return [f"{self.number % 7}.{self.number % 10}5", f"{self.number % 5}.40"]


def script() -> list[Handover]:
    """The handovers in order; the companies take turns in giving.

    The silent party is acme's and the gateway that goes off is borealis's, so that the silent one's
    own gateway is there to show that it was silent and not unheard.
    """
    found = []
    for number in range(1, HANDOVERS + 1):
        acme = f"acme-{number % 3 + 1}"
        borealis = f"borealis-{number // 3 % 3 + 1}"
        giver, receiver = (acme, borealis) if number % 2 == 0 else (borealis, acme)
        expected, lie = {
            WRONG_PLACE: ("conflicting", "a wrong place"),
            SILENT_PARTY: ("one_sided", "the receiver stays silent"),
            GATEWAY_OFF: ("matched", "the receiver's company switches its gateway off"),
        }.get(number, ("matched", ""))
        found.append(Handover(number, giver, receiver, expected, lie))
    return found


class Cast:
    """The robots, switched on; use it as a context manager."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._recorders: dict[str, Recorder] = {}

    def __enter__(self) -> "Cast":
        for robot in self._scene.robots.values():
            self._recorders[robot.name] = Recorder.open(str(robot.config))
        return self

    def __exit__(self, *_: object) -> None:
        for recorder in self._recorders.values():
            recorder.close()

    def play(
        self, handovers: list[Handover], switch_off: Callable[[str, int], None]
    ) -> Iterator[Handover]:
        """Play the handovers, yielding each when it is done.

        `switch_off(fleet, before)` switches a company's gateway off once it has delivered what was
        handed over before.
        """
        for handover in handovers:
            if handover.number == GATEWAY_OFF:
                # Off before the receiver's uplink can deliver: only its partner brings its half.
                switch_off(self._robot(handover.receiver).fleet, handover.number)
            time.sleep(PACE_S)
            self._hand_over(handover)
            yield handover

    def _robot(self, name: str) -> Robot:
        return self._scene.robots[name]

    def _hand_over(self, handover: Handover) -> None:
        giver, receiver = self._recorders[handover.giver], self._recorders[handover.receiver]
        for step in range(DECISIONS_PER_HANDOVER):
            for recorder in (giver, receiver):
                recorder.decision(
                    model="approach-net@2.1",
                    inputs={"distance_m": (120 - 20 * step, -2), "step": step},
                    constraints={"speed_m_s": ((30 - 5 * step, -2), "<=", "0.50", "m/s")},
                    output={"action": "approach"},
                )
        half = giver.claim(
            PROFILE,
            task=handover.task,
            role="giver",
            claim="released",
            peers={"receiver": self._robot(handover.receiver).member.id},
            **self._fields(handover, handover.place),
        )
        if handover.number == SILENT_PARTY:
            return
        receiver.accept(half)
        place = handover.place
        if handover.number == WRONG_PLACE:
            place = ["9.75", place[1]]
        answer = receiver.claim(
            PROFILE,
            task=handover.task,
            role="receiver",
            claim="acquired",
            peers={"giver": self._robot(handover.giver).member.id},
            relied=[half],
            **self._fields(handover, place),
        )
        giver.accept(answer)

    @staticmethod
    def _fields(handover: Handover, place: list[str]) -> dict[str, Any]:
        return {"item": handover.item, "position_m": place}
