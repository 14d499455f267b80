"""What each step of a record costs, on CPython and on MicroPython.

    python -m tallystick.tools.bench.stepping CONFIG FOLDER
    micropython -m tallystick.tools.bench.stepping CONFIG FOLDER

Every step is the recorder's own code, or the hash that it makes, with nothing around it; in
microseconds a record, signature and sync shared by the 64 records of a checkpoint.
"""

# This file is device code: it runs on MicroPython.

import json
import sys
from hashlib import sha256
from os import urandom

from tallystick.evidence.decisionwriter import encode_decision
from tallystick.evidence.tree import Tree
from tallystick.evidence.welcome import Welcome
from tallystick.hw.signer import Signer
from tallystick.recorder.files import Files
from tallystick.recorder.memory_uplink import MemoryUplink
from tallystick.tools.bench.bound import now, since_us
from tallystick.tools.bench.recording import (
    CHECKPOINT_RECORDS,
    MODEL,
    TURNS,
    VARIANTS,
    arguments,
    record,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

STEPS = ("encode", "salt", "hash", "tree", "journal", "sync", "sign", "send")
# The best of so many rounds of a checkpoint each: what else the machine does makes them slower.
ROUNDS = 20
SEGMENTS = 3
SEND_US_MAX = 5_000_000
# A checkpoint's Sig_structure.
SIGNED_BYTES = 230


def best_us(work: "Callable[[], None]") -> float:
    """A round's microseconds a record."""
    best = 0.0
    for _ in range(ROUNDS):
        start = now()
        work()
        # What ends within the clock's own microsecond took one at most: a sync in memory does.
        taken = since_us(start) or 1
        if not best or taken < best:
            best = taken
    return best / CHECKPOINT_RECORDS


def in_memory() -> "dict[str, float]":
    """Encoding, hashes and tree."""
    given = [arguments(number) for number in range(VARIANTS)]
    records = [record(number) for number in range(VARIANTS)]
    seed = urandom(32)

    def encode() -> None:
        for _ in range(TURNS):
            for inputs, constraints, output in given:
                encode_decision(123456, MODEL, inputs, constraints, {}, output)

    def salt() -> None:
        # One digest salts two records (docs/protocol.md, 2.2).
        for pair in range(CHECKPOINT_RECORDS // 2):
            sha256(seed + pair.to_bytes(8, "big")).digest()

    def leaf() -> None:
        first = b"\0" + seed[:16]
        for _ in range(TURNS):
            for one in records:
                sha256(first + one).digest()

    def tree() -> None:
        grown = Tree()
        for _ in range(CHECKPOINT_RECORDS):
            grown.push(seed)

    return {
        "encode": best_us(encode),
        "salt": best_us(salt),
        "hash": best_us(leaf),
        "tree": best_us(tree),
    }


def on_flash(folder: str) -> "dict[str, float]":
    """Appending a record's frame, and making a checkpoint's records durable."""
    files = Files(folder + "/steps")
    frame = bytes(len(record(0)) + 4)
    handle = files.appending("frames")
    try:

        def append() -> None:
            for _ in range(CHECKPOINT_RECORDS):
                files.write(handle, frame)

        def sync() -> None:
            files.write(handle, frame)
            files.sync(handle)

        return {"journal": best_us(append), "sync": best_us(sync)}
    finally:
        handle.close()


def sign_us(uri: str) -> float:
    """A signature of the device's key, shared by the records of a checkpoint."""
    signer = Signer.from_uri(uri)
    message = bytes(SIGNED_BYTES)

    def sign() -> None:
        signer.sign(message)

    try:
        return best_us(sign)
    finally:
        signer.close()


class Sink(MemoryUplink):
    """Takes each piece of a message and keeps none, as a link that sends them at once.

    Whole segments fill a small heap: the recorder then gives the link up, and sends no more.
    """

    def publish_pieces(self, size: int, pieces: "Iterable[bytes]") -> bool:
        """All of it, at once."""
        for piece in pieces:
            size -= len(piece)
        if size:
            raise RuntimeError("a segment is %d bytes longer than its pieces" % size)
        return True


def send_us(config: str, open_recorder: "Callable[..., Any]") -> float:
    """From the journal to the link: reading a signed stretch and making its segment."""
    link = Sink()
    tally = open_recorder(config, link, background=False)
    given = arguments(0)
    # A short heap may put two of them into one.
    for _ in range(4 * SEGMENTS):
        for _ in range(CHECKPOINT_RECORDS):
            tally.decision(MODEL, given[0], given[1], given[2])
            tally.poll(0)
        tally.flush()
    while tally.poll():
        pass
    link.deliver(Welcome(0, None, None).encode())
    begin = start = now()
    took: list[float] = []
    while len(took) < SEGMENTS and since_us(begin) < SEND_US_MAX:
        before = tally.health.sent
        tally.step()
        if tally.health.sent > before:
            took.append(since_us(start))
            start = now()
    tally.close()
    if len(took) < SEGMENTS:
        raise RuntimeError("only %d of %d segments were sent" % (len(took), SEGMENTS))
    # One may be short, with an event of the boot alone, and one waits for the link.
    return sorted(took)[len(took) // 2] / CHECKPOINT_RECORDS


def main(argv: list[str]) -> int:
    """Print the JSON object: `stepping CONFIG FOLDER`, with a new device's configuration."""
    path, folder = argv[1], argv[2]
    found = in_memory()
    found.update(on_flash(folder))
    # Opened here, so that what is above has the heap for itself.
    from tallystick.recorder import Recorder, config  # noqa: PLC0415  # as said

    found["sign"] = sign_us(config.load(path)["key"])
    found["send"] = send_us(path, Recorder.open)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
