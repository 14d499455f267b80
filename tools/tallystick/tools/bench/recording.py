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
from tallystick.evidence.decision import encode_decision
from tallystick.tools.bench.bound import NS_PER_S, bound_per_s, now_ns

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
# Costs are taken from so many rounds at most.
ROUNDS_KEPT_MAX = 256
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


class Rounds:
    """Times of many rounds of 64 records."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.kept: list[int] = []

    def add(self, taken_ns: int) -> None:
        """One round more."""
        self.count += 1
        self.total_ns += taken_ns
        if len(self.kept) < ROUNDS_KEPT_MAX:
            self.kept.append(taken_ns)

    def us_per_record(self) -> float:
        """Of the fastest tenth of the rounds: what else the machine does must not count."""
        return sorted(self.kept)[len(self.kept) // 10] / CHECKPOINT_RECORDS / 1000


def bare_round(values: "list[list[Any]]") -> int:
    """Nanoseconds to encode 64 records, with the general encoder, and hash each three times."""
    encode = cbor.encode
    start = now_ns()
    for _ in range(TURNS):
        for value in values:
            encoded = encode(value)
            sha256(encoded).digest()
            sha256(encoded).digest()
            sha256(encoded).digest()
    return now_ns() - start


def run_recorder(config: str, seconds: float) -> "dict[str, Any]":
    """Decisions a second, the cost of decision() beside the bare one, and free memory."""
    # Imported here, so that `signatures` has the heap for itself.
    from tallystick.recorder import Recorder  # noqa: PLC0415 - as said

    tally = Recorder.open(config, background=False)
    given = [arguments(number) for number in range(VARIANTS)]
    # decision() gets floats; the bare encoder gets them canonical, as it would get them decoded.
    bare_values = [cbor.decode(record(number)) for number in range(VARIANTS)]
    decide, settle, bare = Rounds(), Rounds(), Rounds()
    _round(tally, given, Rounds(), Rounds())  # events of the boot, and whatever is made once
    bare_round(bare_values)
    bound = bound_per_s(record(0), BOUND_S)
    free_before = _free()
    end = now_ns() + int(seconds * NS_PER_S)
    while not decide.count or now_ns() < end:
        _round(tally, given, decide, settle)
        bare.add(bare_round(bare_values))
    free_after = _free()
    health = tally.health
    if health.dropped or health.faults:
        raise RuntimeError("the recorder has faults: %s" % health.faults)
    records = decide.count * CHECKPOINT_RECORDS
    tally.close()
    return {
        "records": records,
        "per_s": records * NS_PER_S / (decide.total_ns + settle.total_ns),
        "decision_us": decide.us_per_record(),
        "settle_us": settle.us_per_record(),
        "bare_us": bare.us_per_record(),
        "bound_per_s": bound,
        "memory_free_bytes_at_start": free_before,
        "memory_free_bytes": free_after,
    }


def _round(tally: "Any", given: "list[Arguments]", decide: Rounds, settle: Rounds) -> None:
    decision = tally.decision
    start = now_ns()
    for _ in range(TURNS):
        for inputs, constraints, output in given:
            decision(MODEL, inputs, constraints, output)
    middle = now_ns()
    # Seal, sync, sign, sync.
    while tally.poll():
        pass
    decide.add(middle - start)
    settle.add(now_ns() - middle)


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
        start = now_ns()
        end = start + int(seconds * NS_PER_S)
        # The flush of every 64 is left out of a run that is shorter than 64: to its advantage.
        while not count or now_ns() < end:
            encoded = record(count % VARIANTS, count)
            message = cose.to_be_signed(protected, encoded)
            signature = finish(_ed25519.sign(secret, public, message))
            file.write(cose.encode(protected, encoded, signature))
            count += 1
            if count % CHECKPOINT_RECORDS == 0:
                file.flush()
        taken = now_ns() - start
    return {"records": count, "per_s": count * NS_PER_S / taken}


def _free() -> "int | None":
    gc.collect()
    ask = getattr(gc, "mem_free", None)
    return ask() if ask else None


def main(argv: list[str]) -> int:
    """Run one of the two and print its JSON object."""
    mode, where, seconds = argv[1:4]
    run = {"recorder": run_recorder, "signatures": run_signatures}[mode]
    print(json.dumps(run(where, float(seconds))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
