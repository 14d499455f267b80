"""Connected devices of `tally bench fleet`: some hundred of them in a process of its own.

    python -m tallystick.tools.bench.fleet_devices

The first line of its input is the job, each line after it a task, both JSON; each is answered by a
line of JSON. It ends with its input. Each device has its own key, credential and MQTT connection,
signs its own log and takes its own custody receipts. The clock is perf_counter, which all
processes of a machine share.
"""

import json
import random
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.evidence.errors import TallyError
from tallystick.tools.bench import peer_gateway
from tallystick.tools.bench.connections import Connection, Loop
from tallystick.tools.bench.fleet_voices import Robot, Signer, Voice, endless
from tallystick.tools.bench.ingest import peer_messages
from tallystick.tools.bench.load import Load
from tallystick.tools.bench.peers import checked
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Fleet

HELLO_EVERY_S = 2.0
# One alone, that looks whether the gateway is there yet.
GREET_EVERY_S = 0.25
# A gateway checks 100 strangers' credentials a second.
START_S_MAX = 60.0
DEVICES_PER_S_LEAST = 20.0
# Nothing for so long means that something is lost.
SILENCE_S_MAX = 60.0


@dataclass
class Device:
    """A voice, its connection, and when it said what still waits for a receipt."""

    voice: Voice
    connection: Connection = field(init=False)
    said_s: deque[float] = field(default_factory=deque)
    left: int = 0  # what it will say by itself, one after another


@dataclass
class Heard:
    """What one task brought; times of perf_counter."""

    sent: int = 0
    covered: int = 0
    begin_s: float = 0.0
    last_s: float = 0.0
    late_s: float = 0.0  # how much after its time something was sent, at most
    latencies_s: list[float] = field(default_factory=list)


class Devices:
    """All devices of this process."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._loop = Loop(job["port"])
        self._rng = random.Random(job["seed"])  # noqa: S311 - when who begins; nothing secret
        self._messages = _signed(job)
        self._devices = [Device(voice) for voice in _voices(job, self._messages)]
        self._heard = Heard()
        for device in self._devices:
            self._connect(device)
        self._loop.connect([device.connection for device in self._devices])

    def _connect(self, device: Device) -> None:
        def take(data: bytes) -> None:
            now_s = time.perf_counter()
            for _ in range(device.voice.hear(data)):
                self._heard.latencies_s.append(now_s - device.said_s.popleft())
                self._heard.covered += 1
                self._heard.last_s = now_s
                if device.left:
                    device.left -= 1
                    # Not from within paho's callback.
                    self._loop.at(now_s, lambda: self._say(device))

        device.connection = Connection(device.voice.name, device.voice.down, take)

    def _say(self, device: Device, when_s: float = 0.0) -> None:
        data = device.voice.next()
        now_s = time.perf_counter()
        self._heard.sent += 1
        self._heard.late_s = max(self._heard.late_s, now_s - when_s if when_s else 0.0)
        device.said_s.append(now_s)
        self._loop.publish(device.connection, device.voice.up, data)

    # --- tasks ------------------------------------------------------------------------------

    def signed(self) -> dict[str, Any]:
        """How many messages were signed beforehand."""
        return {"messages": len(self._messages)}

    def greet(self) -> dict[str, Any]:
        """Let the first one say hello until it is answered: the gateway is there."""
        first = self._devices[0]
        first.voice.forget()
        return self._welcome([first], GREET_EVERY_S)

    def welcome(self) -> dict[str, Any]:
        """Say hello until everybody is welcome; how long that took."""
        return self._welcome(self._devices, HELLO_EVERY_S)

    def _welcome(self, devices: list[Device], every_s: float) -> dict[str, Any]:
        begin_s = time.perf_counter()
        most_s = START_S_MAX + len(devices) / DEVICES_PER_S_LEAST

        def strangers() -> list[Device]:
            return [device for device in devices if device.voice.hello() is not None]

        left = strangers()
        while left:
            if time.perf_counter() - begin_s > most_s:
                message = f"{len(left)} devices were not welcome within {most_s:.0f} s"
                raise BenchFailed("bench-failed", message)
            for device in left:
                hello = device.voice.hello()
                if hello is not None:
                    self._loop.publish(device.connection, device.voice.up, hello)
            self._loop.run(lambda: not strangers(), every_s)
            left = strangers()
        return {"seconds": time.perf_counter() - begin_s}

    def paced(self, rate: float, seconds: float, wait_s: float) -> dict[str, Any]:
        """Each device says 64 records every 64 / rate seconds, for so long; then they wait."""
        self._heard = Heard(begin_s=time.perf_counter())
        every_s = CHECKPOINT_RECORDS / rate
        end_s = self._heard.begin_s + seconds

        def turn(device: Device, when_s: float) -> None:
            self._say(device, when_s)
            if when_s + every_s < end_s:
                self._loop.at(when_s + every_s, lambda: turn(device, when_s + every_s))

        for device in self._devices:
            begin_s = self._heard.begin_s + self._rng.random() * every_s
            if begin_s < end_s:
                self._loop.at(begin_s, lambda d=device, s=begin_s: turn(d, s))  # type: ignore[misc]
        self._loop.run(lambda: False, seconds)
        sent_s = time.perf_counter()
        in_time = self._heard.covered
        # On a busy machine something that was due may not have been said yet.
        self._loop.run(lambda: self._loop.idle and self._heard.covered == self._heard.sent, wait_s)
        return {**self._told(), "in_time": in_time, "sent_s": sent_s}

    def prepare(self, each: int) -> dict[str, Any]:
        """Make the messages of `most` before its clock runs."""
        for device in self._devices:
            for _ in range(each):
                device.voice.prepare()
        return {}

    def most(self, messages: int) -> dict[str, Any]:
        """Say so many as fast as receipts come: each device its next when it has its last."""
        self._heard = Heard(begin_s=time.perf_counter())
        count = len(self._devices)
        for number, device in enumerate(self._devices):
            device.left = messages // count + (number < messages % count)
            if device.left:
                device.left -= 1
                self._say(device)
        silent_s = self._heard.begin_s
        covered = 0
        while not self._loop.run(lambda: self._heard.covered == messages, 1.0):
            if self._heard.covered > covered:
                covered, silent_s = self._heard.covered, time.perf_counter()
            elif time.perf_counter() - silent_s > SILENCE_S_MAX:
                message = f"no receipt came for {SILENCE_S_MAX:.0f} s"
                raise BenchFailed("bench-failed", message)
        return self._told()

    def check(self) -> dict[str, Any]:
        """Everything that was said is covered, and nobody was refused anything."""
        for device in self._devices:
            device.voice.check()
        return {"refused": sum(device.voice.refused for device in self._devices)}

    def _told(self) -> dict[str, Any]:
        heard = self._heard
        return {
            "sent": heard.sent,
            "covered": heard.covered,
            "begin_s": heard.begin_s,
            "last_s": heard.last_s,
            "late_s": heard.late_s,
            "latencies_s": [round(one, 5) for one in heard.latencies_s],
        }

    def close(self) -> None:
        """Disconnect."""
        self._loop.close()


def _signed(job: dict[str, Any]) -> list[bytes]:
    if job["peer"] is None:
        return []
    return peer_messages(checked(job["peer"], peer_gateway.SEED), job["seconds"] / job["of"])


def _voices(job: dict[str, Any], messages: list[bytes]) -> list[Voice]:
    if job["peer"] is not None:
        each = endless(messages)
        return [Signer(label, each) for label in job["labels"]]
    fleet = Fleet.open(Path(job["fleet"]))
    gateway = fleet.member("gateway", "gateway").identity.key
    return [Robot(Load(fleet.member("device", one), fleet), gateway) for one in job["labels"]]


def main() -> None:
    """Do what is asked until nobody asks any more."""
    devices: Devices | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        task = asked.pop("task")
        try:
            if devices is None:
                devices = Devices(asked)
                answer: dict[str, Any] = {}
            else:
                answer = getattr(devices, task)(**asked)
        except TallyError as error:
            answer = {"error": error.message}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    if devices is not None:
        devices.close()


if __name__ == "__main__":
    main()
