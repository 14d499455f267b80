"""A robot whose cable is its own stdin and stdout, on MicroPython: held_robot.py CONFIG [alone]

It reads lines: `record COUNT`, `poll`, `down SIZE` and a message of so many bytes, `health`,
`close`. What it sends comes as `up SIZE` and a message, and `done` ends each answer. `alone`:
there is no cable. It asks the recorder for nothing but its public names.
"""

import gc
import sys

from tallystick.recorder import Recorder
from tallystick.recorder.uplink import Uplink

GC_THRESHOLD_BYTES = 4096
# A record that takes some 160 bytes of the journal.
BLOB = b"." * 60
TURN_MS = 100
SAID = ("records", "dropped", "faults", "refused", "given_up")


class Cable(Uplink):
    """Plugged in for ever; `down` is what came."""

    down = b""

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.session += 1

    def publish_pieces(self, size: int, pieces: "object") -> bool:
        out = sys.stdout.buffer
        out.write(b"up %d\n" % size)
        for piece in pieces:  # type: ignore[attr-defined]
            out.write(piece)
        return True

    def receive(self) -> "bytes | None":
        found = self.down
        self.down = b""
        return found or None


class Clock:
    """1 ms passes at each question, and TURN_MS where it is told to poll."""

    now = 0

    def uptime_ms(self) -> int:
        self.now += 1
        return self.now

    def wall(self) -> None:
        return None


def work(tally: Recorder) -> None:
    while tally.poll(1):
        pass


def say(tally: Recorder) -> None:
    # One after the other: all of them in one text take more heap than a small one has left.
    gc.collect()
    print("free", gc.mem_free())  # type: ignore[attr-defined]
    print("backlog", tally.backlog())
    for name in SAID:
        print(name, getattr(tally.health, name))


def main(config: str, linked: bool) -> None:
    cable = Cable() if linked else None
    clock = Clock()
    tally = Recorder.open(config, clock=clock, uplink=cable, background=False)
    at = 0
    while True:
        words = sys.stdin.buffer.readline().split()
        if not words or words[0] == b"close":
            break
        if words[0] == b"record":
            for _ in range(int(words[1])):
                at += 1
                tally.decision("m@1", {"n": at, "blob": BLOB}, output="go")
                work(tally)
        elif words[0] == b"down":
            cable.down = sys.stdin.buffer.read(int(words[1]))  # type: ignore[union-attr]
            work(tally)
        elif words[0] == b"poll":
            clock.now += TURN_MS
            work(tally)
        else:
            say(tally)
        print("done")
    tally.close()
    print("done")


if __name__ == "__main__":
    if hasattr(gc, "threshold"):
        gc.threshold(GC_THRESHOLD_BYTES)
    main(sys.argv[1], len(sys.argv) < 3)
