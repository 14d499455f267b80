"""One robot of the UTIAS MRCLAM dataset, recorded again: on CPython and on MicroPython.

    python -m tallystick.tools.replay.mrclam_robot CONFIG FOLDER NUMBER ID1,ID2,...
    micropython mrclam_robot.mpy ...

FOLDER holds Barcodes.dat and RobotN_Measurement.dat; the ids are those of robots 1, 2, ... in
order. Each line of the measurements is a decision of the robot's perception. The robot's first line
in a half second in which it sees another robot is a claim too, in the interaction that both of them
can name. Numbers are passed as the file's text, so no float is ever made.
"""

# This file is device code: it runs on MicroPython.

import sys
import time

from tallystick.evidence.keys import device_from_text
from tallystick.evidence.number import from_text

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.recorder import Recorder
    from tallystick.recorder.handle import Handle

PROFILE = "sighting@1"
MODEL = "camera"
# So many records wait in the journal at most before the robot lets the uplink catch up.
BACKLOG_RECORDS_MAX = 1024
# So many claims wait for their signature at most; a board's recorder takes 16 (recorder/handle.py).
HANDLES_MAX = 8
FINISH_S_MAX = 600
POLL_S = 0.002


def barcodes(folder: str) -> dict[str, int]:
    """Barcode as the file's text to subject; subjects 1 to 5 are the robots."""
    found = {}
    with open(folder + "/Barcodes.dat") as file:
        for line in file:
            parts = line.split()
            if parts and not line.startswith("#"):
                found[parts[1]] = int(parts[0])
    return found


def half_second(text: str) -> int:
    """floor(2 * time), exactly, from decimal text that is not negative."""
    whole, _, fraction = text.partition(".")
    return 2 * int(whole) + (1 if fraction[:1] >= "5" else 0)


def task(robot: int, other: int, bucket: int) -> str:
    """The task that two robots that see each other at one time both know."""
    return "sighting/%d-%d/%d" % (min(robot, other), max(robot, other), bucket)


class Line:
    """One line of a measurement file; numbers are the file's text."""

    def __init__(self, parts: list[str], subject: int | None) -> None:
        self.time, self.barcode, self.range, self.bearing = parts
        # The subject that was seen, or None for a barcode that nobody has.
        self.subject = subject
        # The robot that was seen, when this line is a claim.
        self.claims = 0
        self.bucket = 0


def lines(folder: str, number: int, robots: int) -> "Iterator[Line]":
    """The lines of one robot in file order, each marked where it is a claim."""
    subjects = barcodes(folder)
    claimed: set[tuple[int, int]] = set()
    with open("%s/Robot%d_Measurement.dat" % (folder, number)) as file:
        for text in file:
            parts = text.split()
            if not parts or text.startswith("#"):
                continue
            line = Line(parts, subjects.get(parts[1]))
            if line.subject is not None and 1 <= line.subject <= robots and line.subject != number:
                line.bucket = half_second(line.time)
                key = (line.subject, line.bucket)
                if key not in claimed:
                    claimed.add(key)
                    line.claims = line.subject
            yield line


class Robot:
    """The recorder's user: turns lines into decisions and claims."""

    def __init__(self, tally: "Recorder", number: int, ids: list[bytes]) -> None:
        self.tally = tally
        self.number = number
        self.ids = ids
        self.handles: list[Handle] = []
        self.decisions = 0
        self.claims = 0

    def see(self, line: Line) -> None:
        """Record one line."""
        self.tally.decision(
            model=MODEL,
            inputs={"barcode": int(line.barcode), "time_s": from_text(line.time)},
            output={
                "subject": line.subject,
                "range_m": from_text(line.range),
                "bearing_rad": from_text(line.bearing),
            },
        )
        self.decisions += 1
        if line.claims:
            self._claim(line)

    def _claim(self, line: Line) -> None:
        other = line.claims
        low = self.number < other
        handle = self.tally.claim(
            PROFILE,
            task=task(self.number, other, line.bucket),
            role="low" if low else "high",
            claim="seen",
            peers={"high" if low else "low": self.ids[other - 1]},
            wait=False,
            range_m=line.range,
            time_s=line.time,
        )
        self.claims += 1
        self.handles.append(handle)
        while len(self.handles) > HANDLES_MAX:
            self.settle()

    def settle(self) -> None:
        """Let the recorder work; forget claims that are signed."""
        self.tally.poll()
        self.handles = [handle for handle in self.handles if not handle.ready]

    def finish(self) -> bool:
        """Wait until the gateway has custody of everything; False when it takes too long."""
        end = time.time() + FINISH_S_MAX
        self.tally.flush()
        while self.tally.backlog() and time.time() < end:
            self.settle()
            time.sleep(POLL_S)
        return not self.tally.backlog()


def main(argv: list[str]) -> int:
    """Replay one robot; prints what it recorded, or what went wrong, in one line."""
    # Late, so that counting the lines on the host needs no recorder.
    from tallystick.recorder import Recorder  # noqa: PLC0415 - as said

    config, folder, number, ids = argv[1:5]
    known = [device_from_text(text) for text in ids.split(",")]
    tally = Recorder.open(config)
    robot = Robot(tally, int(number), known)
    for line in lines(folder, robot.number, len(known)):
        robot.see(line)
        while tally.backlog() > BACKLOG_RECORDS_MAX:
            robot.settle()
            time.sleep(POLL_S)
    complete = robot.finish()
    tally.close()
    print("robot %d: %d decisions, %d claims" % (robot.number, robot.decisions, robot.claims))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
