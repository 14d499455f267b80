"""A key, and a recorder that signs with it, under load: `tally bench sign` runs it for each.

    python -m tallystick.tools.bench.signing CONFIG FOLDER SECONDS
    micropython -m tallystick.tools.bench.signing CONFIG FOLDER SECONDS

Signatures in a row, then one signature on each record, then the recorder twice: at 1,000 decisions
a second, as a control loop makes them, and at as many as it can. Prints one JSON object; each
decision's time lies in FOLDER (see Samples.write).
"""

# This file is device code: it runs on MicroPython.

import gc
import json
import sys
import time
from array import array

from tallystick.evidence.cose import encode, protected_header, to_be_signed
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools.bench.bound import US_PER_S, now, since_us
from tallystick.tools.bench.recording import (
    CHECKPOINT_RECORDS,
    MODEL,
    VARIANTS,
    arguments,
    record,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.tools.bench.recording import Arguments

MICROPYTHON = sys.implementation.name == "micropython"
# A control loop of 1 kHz.
PERIOD_US = 1_000
# Each run ends there: nine bytes of memory a decision, taken before it begins.
SAMPLES_MAX = 8_192 if MICROPYTHON else 1 << 20
SIGNATURES_MIN = 3
# A rate is taken from so many at least, however short the run.
CHECKPOINTS_MIN = 3
# Who makes more than the key can cover waits while so many checkpoints wait for it: the recorder
# itself takes 64, and drops what comes then.
PENDING_HOLD = 4
LATE_S_MAX = 90
PAUSE_S = 0.001


class Samples:
    """Of each decision: when it returned, how long it took, whether a signature was under way."""

    def __init__(self) -> None:
        self.count = 0
        # Made at once: a list that grows needs ever larger pieces of a heap in use.
        self._at_us = array("i", bytes(4 * SAMPLES_MAX))
        self._took_dus = array("i", bytes(4 * SAMPLES_MAX))
        self._signing = bytearray(SAMPLES_MAX)

    def add(self, at_us: float, took_us: float, signing: bool) -> None:  # noqa: FBT001
        """One decision; its time is kept in tenths of a microsecond."""
        count = self.count
        self._at_us[count] = int(at_us)
        self._took_dus[count] = int(took_us * 10)
        self._signing[count] = signing
        self.count = count + 1

    def write(self, path: str) -> None:
        """`path`.at and .took (four bytes each, as this machine has them), .signing (one byte)."""
        for name, kept in (
            (".at", self._at_us),
            (".took", self._took_dus),
            (".signing", self._signing),
        ):
            with open(path + name, "wb") as file:
                file.write(memoryview(kept)[: self.count])


class Watch:
    """When how many records were covered by signed checkpoints on flash."""

    def __init__(self, ledger: "Any") -> None:
        self._ledger = ledger
        self._seen = ledger.log.ordinal
        self._sendable = ledger.sendable
        self._sealed: list[tuple[int, int]] = []
        self.covered: list[tuple[int, int]] = []

    def look(self, at_us: float) -> None:
        """Note what became new; to be called often."""
        ledger = self._ledger
        log = ledger.log
        if log.ordinal != self._seen:
            # The two belong together, and another thread may be sealing.
            with ledger.lock:
                self._seen = log.ordinal
                self._sealed.append((log.ordinal, log.sealed_size))
        if ledger.sendable != self._sendable:
            self._sendable = ledger.sendable
            size = 0
            while self._sealed and self._sealed[0][0] <= self._sendable:
                size = self._sealed.pop(0)[1]
            if size:
                self.covered.append((int(at_us), size))


class Load:
    """One run of a recorder: decisions at a pace, until all of them are covered."""

    def __init__(self, tally: "Any", given: "list[Arguments]", period_us: int) -> None:
        self._tally = tally
        self._given = given
        self._period_us = period_us
        self._ledger = tally._ledger
        self._log = self._ledger.log
        self._watch = Watch(self._ledger)
        self._begin = now()
        self._poll_us = 0.0
        self.samples = Samples()

    def run(self, seconds: float, checkpoints_min: int = CHECKPOINTS_MIN) -> "dict[str, Any]":
        """What happened, in microseconds since the beginning and records of the log."""
        gc.collect()
        health = self._tally.health
        first, checkpoints = self._log.tree.size, health.checkpoints
        self._begin = now()
        samples = self.samples
        end_us = seconds * US_PER_S
        while samples.count < SAMPLES_MAX:
            passed_us = since_us(self._begin)
            if passed_us >= end_us and len(self._watch.covered) >= checkpoints_min:
                break
            self._check_late(passed_us - end_us)
            self._decide()
            if self._period_us:
                self._until(samples.count * self._period_us)
            else:
                self._hold()
        ended_us = since_us(self._begin)
        self._drain(ended_us)
        if health.dropped or health.faults:
            raise RuntimeError("the recorder has faults: %s" % health.as_dict())
        if self._log.tree.size - first != samples.count:
            raise RuntimeError("the recorder noted something else meanwhile: run it again")
        return {
            "decisions": samples.count,
            "first": first,
            "ended_us": int(ended_us),
            "covered": self._watch.covered,
            "checkpoints": health.checkpoints - checkpoints,
            "poll_worst_us": int(self._poll_us),
        }

    def _decide(self) -> None:
        ledger = self._ledger
        decision = self._tally.decision
        inputs, constraints, output = self._given[self.samples.count % VARIANTS]
        signing = ledger._signing
        start = now()
        decision(MODEL, inputs, constraints, output)
        took_us = since_us(start)
        # Under way is what was so before and after, and is still the same signature.
        signing = signing is not None and ledger._signing is signing
        at_us = since_us(self._begin)
        self.samples.add(at_us, took_us, signing)
        self._watch.look(at_us)

    def _until(self, at_us: float) -> None:
        """The rest of a period: a board polls in it, elsewhere the recorder's thread does."""
        if MICROPYTHON:
            self._work()
        while True:
            left_us = at_us - since_us(self._begin)
            if left_us <= 0:
                break
            if not MICROPYTHON:
                time.sleep(left_us / US_PER_S)
            elif not self._work():
                time.sleep_us(min(int(left_us), 200))  # type: ignore[attr-defined]  # MicroPython's

    def _hold(self) -> None:
        """Wait while the key is behind."""
        if MICROPYTHON and self.samples.count % VARIANTS == 0:
            # As many as a board's buffer holds.
            while self._work():
                pass
        begin = now()
        while len(self._log.pending) >= PENDING_HOLD:
            self._pause()
            self._check_late(since_us(begin))

    def _drain(self, ended_us: float) -> None:
        ledger = self._ledger
        while not ledger.settled():
            if self._log.unsealed and not self._log.pending:
                ledger.seal()
                if not MICROPYTHON:
                    self._tally.wake()
            self._pause()
            self._check_late(since_us(self._begin) - ended_us)
        self._watch.look(since_us(self._begin))

    def _check_late(self, late_us: float) -> None:
        if late_us > LATE_S_MAX * US_PER_S:
            raise RuntimeError("the key does not sign: %s" % self._tally.health.as_dict())

    def _pause(self) -> None:
        if not MICROPYTHON or not self._work():
            time.sleep(PAUSE_S)
        self._watch.look(since_us(self._begin))

    def _work(self) -> bool:
        start = now()
        worked = self._tally.poll(0)
        took_us = since_us(start)
        self._poll_us = max(self._poll_us, took_us)
        self._watch.look(since_us(self._begin))
        return bool(worked)


def signatures_per_s(signer: "Any", seconds: float) -> float:
    """Signatures in a row, of what a checkpoint has."""
    message = bytes(200)
    signer.sign(message)
    count = 0
    start = now()
    while count < SIGNATURES_MIN or since_us(start) < seconds * US_PER_S:
        signer.sign(message)
        count += 1
    return count * US_PER_S / since_us(start)


def signed_records_per_s(signer: "Any", path: str, seconds: float) -> float:
    """Records a second with a signature on each: the way without checkpoints."""
    protected = protected_header(signer.alg, b"benchkey", None, None)
    count = 0
    with open(path, "ab") as file:
        start = now()
        while count < SIGNATURES_MIN or since_us(start) < seconds * US_PER_S:
            encoded = record(count % VARIANTS, count)
            signature = signer.sign(to_be_signed(protected, encoded))
            file.write(encode(protected, encoded, signature))
            count += 1
            if count % CHECKPOINT_RECORDS == 0:
                file.flush()
        return count * US_PER_S / since_us(start)


def of_key(uri: str, folder: str, seconds: float) -> "dict[str, Any]":
    """The key alone."""
    signer = Signer.from_uri(uri)
    try:
        return {
            "signatures_per_s": signatures_per_s(signer, seconds),
            "signed_records_per_s": signed_records_per_s(signer, folder + "/signed", seconds),
        }
    finally:
        signer.close()


def of_recorder(config: str, folder: str, seconds: float) -> "dict[str, Any]":
    """The recorder with that key."""
    found = {}
    given: "list[Arguments]" = []
    for number in range(VARIANTS):
        given.append(arguments(number))
        # What stays must lie side by side, or it cuts a small heap into pieces.
        gc.collect()
    tally = Recorder.open(config)
    try:
        # Events of the boot, the counter's raise, and whatever is made once.
        Load(tally, given, PERIOD_US).run(0.01, 0)
        for name, period_us in (("paced", PERIOD_US), ("unpaced", 0)):
            load = Load(tally, given, period_us)
            found[name] = load.run(seconds)
            load.samples.write(folder + "/" + name)
            del load
    finally:
        tally.close()
    return found


def main(argv: list[str]) -> int:
    """Measure and print the JSON object."""
    path, folder, seconds = argv[1], argv[2], float(argv[3])
    from tallystick.recorder import config  # noqa: PLC0415  # forgotten again by Recorder.open

    uri = config.load(path)["key"]
    found = of_key(uri, folder, seconds)
    gc.collect()
    found.update(of_recorder(path, folder, seconds))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
