"""How much a step does at most, counted in calls: the same on every machine, however busy.

Keys are those of a microcontroller here: in Python, by steps.
"""

import sys
import time
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from support.realgateway import RealGateway
from tallystick.evidence import _ed25519, keys
from tallystick.evidence.keys import device_text
from tallystick.evidence.steps import Steps
from tallystick.recorder import Recorder

# Calls between two calls of on_step(). The most is a stretch of 64 records that goes to the link at
# once, 2000: an uplink in memory has no slices (tests/recorder/test_bounded.py has those of real
# ones). All else is below 1000: a record's frame, a doubling of a point, a block of flash.
POLL_CALLS_MAX = 3000
# Reading a half and encoding a record are the program's own call.
CALL_CALLS_MAX = 4000
# A signature is cut into so many at least.
SIGNATURE_STEPS_MIN = 30
WAIT_S = 60


class PureKey:
    """An Ed25519 key that signs in Python, as a board's software key does."""

    custody = "software"
    alg = keys.EDDSA

    def __init__(self, name: str, public: Any) -> None:
        self.secret = sha256(f"tests/support/devices: {name} of acme".encode()).digest()
        self.public = public
        self.work: Any = None
        self.steps = 0

    def public_key(self) -> Any:
        return self.public

    def begin(self, message: bytes) -> None:
        self.work = Steps(_ed25519.sign(self.secret, self.public.raw, message))
        self.steps = 0

    def poll(self) -> bool:
        self.steps += 1
        return bool(self.work.step())

    def signature(self) -> bytes:
        made: bytes = self.work.result
        return made

    def counter(self) -> None:
        return None

    def close(self) -> None:
        pass


class Counter:
    """Calls of Python and C between marks."""

    def __init__(self) -> None:
        self.calls = 0
        self.most = 0
        self.marks = 0

    def count(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.calls += 1

    def mark(self) -> None:
        self.most = max(self.most, self.calls)
        self.marks += 1
        self.calls = 0

    def __enter__(self) -> None:
        self.calls = 0
        sys.setprofile(self.count)

    def __exit__(self, *raised: object) -> None:
        sys.setprofile(None)
        self.mark()


@pytest.fixture
def in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_MICROPYTHON", True)


def robot(path: Path, name: str, **settings: Any) -> tuple[Any, RealGateway, PureKey]:
    link = RealGateway(path, name)
    key = PureKey(name, link.device.signer.public_key())
    tally: Any = Recorder.open(link.config(**settings), uplink=link, signer=key, background=False)
    return tally, link, key


def work(tally: Any, link: RealGateway, counter: Counter, rounds: int) -> None:
    for _ in range(rounds):
        with counter:
            tally.poll(1)
        link.exchange()


@pytest.mark.usefixtures("in_python")
def test_no_round_does_more_than_a_little(tmp_path: Path) -> None:
    tally, link, key = robot(tmp_path / "one", "robot-1", checkpoint_records=64)
    counter = Counter()
    tally.on_step(counter.mark)
    for number in range(400):
        tally.decision("m@1", {"n": number, "blob": bytes(200)})
        if number % 16 == 0:
            work(tally, link, counter, 4)
    steps = 0
    end = time.monotonic() + WAIT_S
    while (tally.backlog() or not tally._ledger.settled()) and time.monotonic() < end:
        work(tally, link, counter, 1)
        steps = max(steps, key.steps)
    assert tally.health.custody >= 2, "receipts were verified"
    assert tally.health.checkpoints >= 3
    assert steps >= SIGNATURE_STEPS_MIN
    assert tally.health.faults == {}
    print(f"{counter.most} calls at most in {counter.marks} rounds, {steps} steps a signature")
    assert counter.most < POLL_CALLS_MAX


@pytest.mark.usefixtures("in_python")
def test_what_waits_calls_the_program_between_steps(tmp_path: Path) -> None:
    tally, _link, key = robot(tmp_path / "one", "robot-1", wait_s=60)
    other, _, _ = robot(tmp_path / "two", "robot-2", wait_s=60)
    words = ("handover@1", "giver", "released", {"receiver": device_text(tally.device)})
    half = other.claim(*words, task="t", item="x", position_m=["1.2", "3.4"])
    assert half
    counter = Counter()
    tally.on_step(counter.mark)
    with counter:
        assert tally.accept(half).kept
    accepted = counter.marks
    with counter:
        tally.decision("m@1", urgent=True)
    urgent = counter.marks - accepted
    with counter:
        assert tally.flush()
    print(f"{counter.most} calls at most; {accepted} and {urgent} steps")
    # The half's signatures and one of our own; and one of our own.
    assert accepted > 3 * SIGNATURE_STEPS_MIN
    assert urgent > SIGNATURE_STEPS_MIN
    assert key.steps > SIGNATURE_STEPS_MIN
    assert counter.most < CALL_CALLS_MAX
