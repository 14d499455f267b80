"""A handover in which two robots exchange halves over any link; CPython and MicroPython.

halves_mqtt.py, halves_serial.py and halves_file.py bring the link: `send(half)`, and `receive()`,
which gives a message or None. Neither waits. A link may lose, repeat, spoil or invent messages: a
half is sent again until the other one is here, and nothing counts before accept() has verified it.
"""

import sys
import time

from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import device_text
from tallystick.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MICROPYTHON = sys.implementation.name == "micropython"
# docs/protocol.md, section 1.6; a longer one is not worth reading.
HALF_BYTES_MAX = 4000
WAIT_S = 30
REPEAT_S = 0.5
# How long the robot that answers last goes on answering, for its answer may be lost.
LINGER_S = 1.5
REFUSED_MAX = 100
PROFILE = "handover@1"
TASK = "order-4711"


class Timer:
    """Seconds since it was made; no clock that somebody sets."""

    def __init__(self) -> None:
        self._began: float = time.ticks_ms() if MICROPYTHON else time.monotonic()  # type: ignore[attr-defined]

    def passed(self) -> float:
        if MICROPYTHON:
            passed_ms: int = time.ticks_diff(time.ticks_ms(), self._began)  # type: ignore[attr-defined]
            return passed_ms / 1000
        return time.monotonic() - self._began


def messages(tally: Recorder, link: "Any", seconds: float, mine: bytes = b"") -> "Iterator[bytes]":
    """What comes in so many seconds, `mine` being sent meanwhile; the control loop goes on here."""
    timer = Timer()
    again = 0.0
    while timer.passed() < seconds:
        tally.poll()
        if mine and timer.passed() >= again:
            link.send(mine)
            again = timer.passed() + REPEAT_S
        message = link.receive()
        if message:
            yield message
        else:
            time.sleep(0.005)


def accepted(tally: Recorder, link: "Any", mine: bytes = b"") -> "Any":
    """The other's half, verified and recorded; None when none came in time."""
    refused = 0
    for message in messages(tally, link, WAIT_S, mine):
        try:
            # Too long a message is refused by this too.
            return tally.accept(message)
        except TallyError as error:
            # Not the end: whoever reaches the link could prevent a handover with one bad message.
            print("refused:", error.reason)
            refused += 1
            if refused >= REFUSED_MAX:
                break
    return None


def claim(tally: Recorder, role: str, peer: str, relied: "list[Any]") -> bytes:
    """This robot's own part."""
    half: bytes = tally.claim(
        PROFILE,
        task=TASK,
        role=role,
        claim="released" if role == "giver" else "acquired",
        peers={"receiver" if role == "giver" else "giver": peer},
        relied=relied,
        item="pallet-7",
        position_m=["1.20", "3.40"],
    )
    return half


def handover(open_link: "Any", role: str, config: str, peer: str, *where: str) -> int:
    """0 when the other half is accepted. `peer` is the other robot's id."""
    tally = Recorder.open(config)
    link = open_link(device_text(tally.device), peer, *(where or (config,)))
    if role == "giver":
        theirs = accepted(tally, link, claim(tally, role, peer, []))
    else:
        theirs = accepted(tally, link)
        if theirs is not None and theirs.kept:
            # It moves only now: what the other robot signed is verified, and on this one's flash.
            half = claim(tally, role, peer, [theirs])
            for _ in messages(tally, link, LINGER_S, half):
                pass
    print("accepted" if theirs is not None else "nothing came that holds: the robot does not act")
    link.close()
    tally.close()
    return 0 if theirs is not None else 1
