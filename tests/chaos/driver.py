"""A process with many devices: chaos.driver FOLDER SEED PACE. Recorders, journals, MQTT are real.

`devices.json` in its folder has their configurations. Commands are JSON objects, one a line, on
stdin; once in a while it says on stdout how it is. What was done and what went over the wire is
kept in two files of each life (`wirelog.py`), written before it happens, so a SIGKILL loses none.
"""

import json
import os
import random
import select
import sys
import time
from pathlib import Path
from typing import Any

from chaos.wirelog import ATTEMPT, BOOT, CLAIM, GIVEN, URGENT, Lives, WireLog
from tallystick.evidence.keys import device_text
from tallystick.recorder import Recorder
from tallystick.recorder.clock import SystemClock
from tallystick.recorder.mqtt_paho import Mqtt

TURN_S = 0.1
SAYS_S = 1.0
POLL_MS = 20
# Between decisions of one device, and between handovers of all of them, at a pace of 1.
DECISION_S = (1.5, 5.0)
HANDOVER_S = (5.0, 10.0)
URGENT_SHARE = 0.02
BLOB_BYTES_MAX = 300
# Of a device with a small journal, so that it fills up while there is no link.
LARGE_BLOB_BYTES = 2500


class JumpingClock(SystemClock):
    """The wall clock is wrong by `jump_ms`, or not set at all (None)."""

    jump_ms: int | None = 0

    def wall(self) -> tuple[int, int] | None:
        found = super().wall()
        if found is None or self.jump_ms is None:
            return None
        return max(0, found[0] + self.jump_ms), found[1]


class Heard(Mqtt):
    """Notes what goes up before it goes, and what came down before it is looked at."""

    log: WireLog
    number: int

    def publish_pieces(self, size: int, pieces: Any) -> bool:
        message = b"".join(pieces)
        if self.connected:
            self.log.up(self.number, message)
        return super().publish_pieces(size, (message,))

    def receive(self) -> bytes | None:
        message = super().receive()
        if message is not None:
            self.log.down(self.number, message)
        return message


class Robot:
    """One device."""

    def __init__(self, number: int, config: dict[str, Any], begun: int, log: WireLog) -> None:
        self.number = number
        self.clock = JumpingClock()
        self.large = config["journal_bytes"] < 1 << 16
        self.uplink = Heard({"tls": None, "prefix": "tallystick/1", **config}, config.pop("id"))
        self.uplink.log, self.uplink.number = log, number
        self.tally = Recorder.open(config, uplink=self.uplink, clock=self.clock, background=False)
        # The number of its next decision.
        self.next = begun
        self.due_s = 0.0


class Driver:
    """All of one process."""

    def __init__(self, folder: Path, seed: str, pace: float) -> None:
        self.pace = pace
        self.chance = random.Random(seed + str(time.time_ns()))
        self.lives = Lives(folder)
        begun = self.lives.next_numbers()
        self.ledger, log = self.lives.begin()
        configs = json.loads((folder / "devices.json").read_text())
        self.robots = [
            Robot(number, config, begun.get(number, 0), log)
            for number, config in enumerate(configs)
        ]
        now_s = time.monotonic()
        for robot in self.robots:
            robot.due_s = now_s + self.chance.uniform(0, DECISION_S[1])
            self.ledger.say(BOOT, robot.number, robot.next)
        self.handover_s = now_s + HANDOVER_S[0]
        self.calm = self.flushed = False

    def command(self, line: str) -> None:
        """One of the parent's."""
        asked = json.loads(line)
        if "clock" in asked:
            for robot in self.robots[:: asked["every"]]:
                robot.clock.jump_ms = asked["clock"]
        if asked.get("calm"):
            self.calm = True

    def turn(self) -> None:
        """What is due."""
        now_s = time.monotonic()
        for robot in self.robots:
            if not self.calm and now_s >= robot.due_s:
                robot.due_s = now_s + self.chance.uniform(*DECISION_S) / self.pace
                self.decide(robot)
            robot.tally.poll(POLL_MS)
        if not self.calm and now_s >= self.handover_s:
            self.handover_s = now_s + self.chance.uniform(*HANDOVER_S) / self.pace
            # A small journal may give a claim up too, and tell it; the others never do.
            kept = [robot for robot in self.robots if not robot.large]
            self.hand_over(*self.chance.sample(kept, 2))
        if self.calm and not self.flushed:
            # Each of them, whatever one before says.
            signed = [robot.tally.flush() for robot in self.robots]
            self.flushed = all(signed)

    def decide(self, robot: Robot) -> None:
        number, robot.next = robot.next, robot.next + 1
        self.ledger.say(ATTEMPT, robot.number, number)
        size = LARGE_BLOB_BYTES if robot.large else self.chance.randrange(BLOB_BYTES_MAX)
        urgent = not robot.large and self.chance.random() < URGENT_SHARE
        signed = robot.tally.health.checkpoints
        robot.tally.decision("m@1", {"n": number, "blob": bytes(size)}, urgent=urgent)
        if urgent and robot.tally.health.checkpoints > signed:
            self.ledger.say(URGENT, robot.number, number)

    def hand_over(self, giver: Robot, receiver: Robot) -> None:
        """Both claim it."""
        task = f"{giver.number}-{receiver.number}-{time.time_ns()}"
        for robot, other, role, name, peer in (
            (giver, receiver, "giver", "released", "receiver"),
            (receiver, giver, "receiver", "acquired", "giver"),
        ):
            self.ledger.say(CLAIM, robot.number, task)
            half = robot.tally.claim(
                "handover@1", role, name, {peer: device_text(other.tally.device)},
                task=task, item="box", position_m=[1, 2],
            )  # fmt: skip
            if half:
                self.ledger.say(GIVEN, robot.number, task)

    def state(self) -> dict[str, Any]:
        backlog = [robot.tally.backlog() for robot in self.robots]
        kept = [robot.tally.health for robot in self.robots]
        return {
            "next": sum(robot.next for robot in self.robots),
            "backlog": sum(backlog),
            "connected": sum(health.connected for health in kept),
            "given_up": sum(sum(health.given_up.values()) for health in kept),
            "drained": self.flushed and not any(backlog),
            "late": [
                [robot.number, left, robot.tally.health.last_fault]
                for robot, left in zip(self.robots, backlog, strict=True)
                if left
            ][:5],
        }

    def run(self) -> None:
        """Until stdin ends."""
        says_s = 0.0
        while True:
            turn_s = time.monotonic()
            while select.select([sys.stdin], [], [], 0)[0]:
                line = sys.stdin.readline()
                if not line:
                    self.close()
                    return
                self.command(line)
            self.turn()
            now_s = time.monotonic()
            if now_s >= says_s:
                says_s = now_s + SAYS_S
                print(json.dumps(self.state()), flush=True)
            time.sleep(max(0.0, turn_s + TURN_S - now_s))

    def close(self) -> None:
        """In order, when nothing is under way."""
        while self.calm and any(robot.tally.backlog() for robot in self.robots):
            self.turn()
            time.sleep(TURN_S)
        for robot in self.robots:
            robot.tally.close()
        self.ledger.close()


if __name__ == "__main__":
    os.environ.pop("TALLY", None)
    Driver(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])).run()
