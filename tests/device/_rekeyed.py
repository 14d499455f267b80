# A key change of the key in _keyfile.py, for the tests of the recorder under a new key.

import gc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder import Recorder


STEPS_MAX = 100000


def opened(path: str, *, rotated: bool) -> "Recorder":
    made = settings(path, rotated=rotated)
    from tallystick.recorder import Recorder  # there again after a reset

    return Recorder.open(made, background=False)


def settings(path: str, *, rotated: bool) -> "dict[str, Any]":
    # By hand, so that a small heap need not hold what encodes: an array of one or two byte strings.
    # Nor what is written: a board has it in its files.
    from _keyfile import config
    from _rekeyedmade import ENROLMENT, KEY_2, ROTATION

    with open(path + "/credential.cbor", "wb") as file:
        file.write(b"\x82" if rotated else b"\x81")
        for data in (ENROLMENT, ROTATION) if rotated else (ENROLMENT,):
            file.write(bytes((0x59, len(data) >> 8, len(data) & 255)))
            file.write(data)
    made = config(path, checkpoint_records=8, checkpoint_s=1000)
    made["credential"] = path + "/credential.cbor"
    if rotated:
        with open(made["key"][5:], "wb") as file:
            file.write(KEY_2)
    del config, ENROLMENT, KEY_2, ROTATION
    del sys.modules["_keyfile"], sys.modules["_rekeyedmade"]
    gc.collect()
    return made


def record(tally: "Recorder", count: int) -> None:
    for number in range(count):
        tally.decision(model="m@1", inputs={"n": number}, output={"action": "grip"})
        while tally.poll(1):
            pass
    # As flush() does, whose code would lie beside what signs.
    ledger = tally._ledger
    while ledger.write():
        pass
    ledger.seal()
    for _ in range(STEPS_MAX):
        if ledger.settled():
            break
        tally.step()
    assert ledger.settled(), tally.health.faults


def kid_of(statement: bytes) -> bytes:
    """The hint in a checkpoint: the protected header's label 4, after its label 1."""
    at = statement.find(b"\xa3\x01\x27\x04\x48") + 5
    return statement[at : at + 8]
