"""The oracle for clocks: whatever they were set to, times are what they said, and none is believed.

A custody receipt's time is one that its gateway's clock had; so is a log time, which never falls
besides; and nothing was closed before the deadline had passed in the log's own time.
"""

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from chaos.parts import Wrong
from chaos.plan import MACHINES, SPARE

if TYPE_CHECKING:
    from chaos.reading import Notary
    from chaos.truth import Truth

FILE = "clocks"
# Between reading a clock and setting it a program may be stopped, or wait for a busy machine.
LATE_MS = 15_000


class Setting(NamedTuple):
    """From then on, by this machine's own clock, the one of `name` is wrong by so much."""

    name: str
    at_ms: int
    offset_ms: int


class Clocks:
    """Writes down what clocks were set to, before they are."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def say(self, name: str, offset_ms: int) -> None:
        """It is about to be set."""
        with self._path.open("a") as file:
            file.write(json.dumps(Setting(name, time.time_ns() // 1_000_000, offset_ms)) + "\n")


class Said:
    """What each machine's clock may have said in a run that is over."""

    def __init__(self, folder: Path) -> None:
        began_ms = (folder / "public.json").stat().st_mtime_ns // 1_000_000
        ended_ms = time.time_ns() // 1_000_000
        path = folder / FILE
        lines = path.read_text().splitlines() if path.exists() else []
        settings: dict[str, list[Setting]] = defaultdict(list)
        for setting in (Setting(*json.loads(line)) for line in lines):
            settings[setting.name].append(setting)
        # By name, from when to when by that clock: one for each setting.
        self._spans: dict[str, list[tuple[int, int]]] = {}
        for name in (*MACHINES, SPARE):
            made = [Setting(name, began_ms, 0), *settings[name]]
            ends_ms = [one.at_ms for one in made[1:]] + [ended_ms]
            self._spans[name] = [
                (one.at_ms + one.offset_ms - LATE_MS, end_ms + one.offset_ms + LATE_MS)
                for one, end_ms in zip(made, ends_ms, strict=True)
            ]

    def check(self, name: str, time_ms: int, what: str) -> None:
        """Wrong where that clock never said so."""
        if not any(first <= time_ms <= last for first, last in self._spans[name]):
            raise Wrong(f"{name}: {what} has the time {time_ms}, which its clock never had")


def check_promises(truth: "Truth", said: Said) -> None:
    """All custody receipts that reached a device."""
    for promises in truth.promises.values():
        for promise in promises:
            said.check(promise.gateway, promise.time_ms, "a custody receipt")


def check_log_times(notary: "Notary", said: Said) -> None:
    """One validator's log times, its heads', and its closings."""
    last_ms = 0
    for number, time_ms in enumerate(notary.times_ms):
        if time_ms < last_ms:
            raise Wrong(f"{notary.name}: its log's time falls at entry {number}")
        if time_ms != last_ms:
            said.check(notary.name, time_ms, f"entry {number}")
        last_ms = time_ms
    for time_ms in notary.heads_ms:
        said.check(notary.name, time_ms, "a checkpoint")
    for number, closing in notary.closings:
        passed_ms = notary.times_ms[number] - notary.times_ms[closing.first]
        if passed_ms < closing.deadline_ms:
            raise Wrong(f"{notary.name}: it closed at entry {number}, after {passed_ms} ms")
