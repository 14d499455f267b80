"""A recorder under load, on CPython and on MicroPython: `tally bench record` runs it on each.

    python -m tallystick.tools.bench.recording recorder CONFIG SECONDS
    micropython -m tallystick.tools.bench.recording recorder CONFIG SECONDS
    micropython -m tallystick.tools.bench.recording signatures FOLDER SECONDS

`recorder` is ours: the real Recorder, without an uplink, sealed every 64 records. `signatures` is
what MicroPython can do instead: one pure-Python Ed25519 signature on each record. Each prints one
JSON object.
"""

# This file is device code: it runs on MicroPython.

import gc
import json
import sys
from hashlib import sha256

from tallystick.evidence import cbor
from tallystick.evidence.decisionwriter import encode_decision
from tallystick.tools.bench.bound import US_PER_S, bound_per_s, now, since_us

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # Inputs, constraints, output.
    Arguments = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]

MODEL = "grasp-net@3f2a91"
CHECKPOINT_RECORDS = 64
# So many different decisions, again and again: a small heap holds their arguments, and a value
# that came before gains nothing.
VARIANTS = 8
TURNS = CHECKPOINT_RECORDS // VARIANTS
# Costs are taken from so many turns at most.
TURNS_KEPT_MAX = 256
BOUND_S = 0.3


def arguments(number: int) -> "Arguments":
    """What a gripper decided on: two digests, six numbers, one of them under a limit."""
    x = number * 0.013
    inputs = {
        "camera": sha256(b"camera %d" % number).digest(),
        "scene": sha256(b"scene %d" % number).digest(),
        "force_n": 12.5 + x,
        "pose_m": [0.4125 + x, -0.2517 - x, 1.1253 + x],
    }
    constraints = {"speed_m_s": (0.2531 + x, "<=", "0.9", "m/s")}
    return inputs, constraints, {"action": "grip", "width_m": 0.0851 + x}


def record(number: int, uptime_ms: int = 123456) -> bytes:
    """The record of such a decision: about 200 bytes."""
    inputs, constraints, output = arguments(number)
    return encode_decision(uptime_ms, MODEL, inputs, constraints, {}, output)


class Times:
    """Times of many turns, each of VARIANTS records."""

    def __init__(self) -> None:
        self.count = 0
        self.total_us = 0.0
        # Made at once: a list that grows needs ever larger pieces of a heap in use.
        self.kept: list[float] = [0] * TURNS_KEPT_MAX

    def add(self, taken_us: float) -> None:
        """One turn more."""
        if self.count < TURNS_KEPT_MAX:
            self.kept[self.count] = taken_us
        self.count += 1
        self.total_us += taken_us

    def us_per_record(self) -> float:
        """Of the fastest tenth of the turns: what else the machine does must not count."""
        kept = min(self.count, TURNS_KEPT_MAX)
        return sorted(self.kept[:kept])[kept // 10] / VARIANTS


def bare(values: "list[list[Any]]", times: Times) -> None:
    """Encode 64 records with the general encoder, and hash each three times."""
    encode = cbor.encode
    for _ in range(TURNS):
        start = now()
        for value in values:
            encoded = encode(value)
            sha256(encoded).digest()
            sha256(encoded).digest()
            sha256(encoded).digest()
        times.add(since_us(start))


def decide(tally: "Any", given: "list[Arguments]", times: Times) -> None:
    """Record 64 decisions."""
    decision = tally.decision
    for _ in range(TURNS):
        start = now()
        for inputs, constraints, output in given:
            decision(MODEL, inputs, constraints, output)
        times.add(since_us(start))


def settle(tally: "Any") -> float:
    """Seal, sync, sign, sync; the time that it takes."""
    start = now()
    while tally.poll():
        pass
    return since_us(start)


def run_recorder(config: str, seconds: float) -> "dict[str, Any]":
    """Decisions a second, and the cost of decision() beside the bare one."""
    # Imported here, so that `signatures` has the heap for itself.
    from tallystick.recorder import Recorder  # noqa: PLC0415 - as said

    tally = Recorder.open(config, background=False)
    decided, bared, warming = Times(), Times(), Times()
    given: "list[Arguments]" = []
    bare_values: "list[list[Any]]" = []
    for number in range(VARIANTS):
        given.append(arguments(number))
        # decision() gets floats; the bare encoder gets them canonical, as if decoded.
        bare_values.append(cbor.decode(record(number)))
        # What stays must lie side by side, or it cuts a small heap into pieces.
        gc.collect()
    # Events of the boot, and whatever is made once.
    decide(tally, given, warming)
    settle(tally)
    bare(bare_values, warming)
    bound = bound_per_s(record(0), BOUND_S)
    settled_us = 0.0
    begin = now()
    while not decided.count or since_us(begin) < seconds * US_PER_S:
        decide(tally, given, decided)
        settled_us += settle(tally)
        bare(bare_values, bared)
    health = tally.health
    if health.dropped or health.elided or health.faults:
        raise RuntimeError("the recorder has faults: %s" % health.faults)
    records = decided.count * VARIANTS
    tally.close()
    return {
        "records": records,
        "per_s": records * US_PER_S / (decided.total_us + settled_us),
        "decision_us": decided.us_per_record(),
        "settle_us": settled_us / records,
        "bare_us": bared.us_per_record(),
        "bound_per_s": bound,
    }


def run_signatures(folder: str, seconds: float) -> "dict[str, Any]":
    """Records a second with one pure-Python Ed25519 signature each."""
    from tallystick.evidence import _ed25519, cose  # noqa: PLC0415 - costs heap
    from tallystick.evidence.keys import EDDSA  # noqa: PLC0415 - as above
    from tallystick.evidence.steps import finish  # noqa: PLC0415 - as above

    secret = bytes(range(32))
    public = finish(_ed25519.public_key(secret))
    protected = cose.protected_header(EDDSA, b"benchkey", None, None)
    count = 0
    with open(folder + "/signatures", "ab") as file:
        start = now()
        # The flush of every 64 is left out of a run that is shorter than 64: to its advantage.
        while not count or since_us(start) < seconds * US_PER_S:
            encoded = record(count % VARIANTS, count)
            message = cose.to_be_signed(protected, encoded)
            signature = finish(_ed25519.sign(secret, public, message))
            file.write(cose.encode(protected, encoded, signature))
            count += 1
            if count % CHECKPOINT_RECORDS == 0:
                file.flush()
        taken_us = since_us(start)
    return {"records": count, "per_s": count * US_PER_S / taken_us}


def main(argv: list[str]) -> int:
    """Run one of the two and print its JSON object."""
    mode, where, seconds = argv[1:4]
    run = {"recorder": run_recorder, "signatures": run_signatures}[mode]
    print(json.dumps(run(where, float(seconds))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
