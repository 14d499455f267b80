"""Everything that a device does with its ATECC608: runs on CPython and on MicroPython.

chip_device.py URI SERIAL [unplug]    Prints a line for each part that works.
"""

import sys
import time

from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.hw.signer import Signer

MESSAGE = b"a decision's checkpoint"
WAIT_S = 60
HEX = "0123456789abcdef"


def hexadecimal(data: bytes) -> str:
    return "".join([HEX[byte >> 4] + HEX[byte & 15] for byte in data])


def finish(work: "object") -> int:
    steps = 1
    while not work.step():  # type: ignore[attr-defined]
        steps += 1
    return steps


def signs(key: "object") -> None:
    key.begin(MESSAGE)  # type: ignore[attr-defined]
    polls = 1
    while not key.poll():  # type: ignore[attr-defined]
        polls += 1
    assert polls > 10
    signature = key.signature()  # type: ignore[attr-defined]
    print("SIGNATURE", hexadecimal(signature))
    public = key.public_key()  # type: ignore[attr-defined]
    finish(key.verifier(public, signature, MESSAGE))  # type: ignore[attr-defined]
    try:
        finish(key.verifier(public, signature, MESSAGE + b"."))  # type: ignore[attr-defined]
    except Unverified as error:
        print("VERIFIES", error.reason)


def counts(key: "object") -> None:
    counter = key.counter()  # type: ignore[attr-defined]
    before = counter.read()
    counter.begin()
    while not counter.poll():
        pass
    assert counter.value() == before + 1 and counter.increment() == before + 2
    print("COUNTS", counter.read(), counter.limit)


def survives(key: "object") -> None:
    # The test pulls the chip's wires at the next signature, and puts them back after a while.
    reasons: list[str] = []
    end = time.time() + WAIT_S
    while time.time() < end:
        try:
            key.sign(MESSAGE)  # type: ignore[attr-defined]
            if reasons:
                print("BACK", " ".join(reasons))
                return
        except KeyDriverError as error:
            if error.reason not in reasons:
                reasons.append(error.reason)
        time.sleep(0.05)


def main(uri: str, serial: str, unplug: bool) -> None:
    if serial:
        from tallystick.hw.atecc608_setup import provision

        said: list[str] = []
        provision(uri, lambda _: serial, said.append)
        print("PROVISIONED", len(said))
        del said, provision
        forget()
    key = Signer.from_uri(uri)
    print("PUBLIC", hexadecimal(key.public_key().raw))
    signs(key)
    counts(key)
    if unplug:
        survives(key)
    key.close()


def forget() -> None:
    # As the recorder does: what was needed once gives its heap back.
    import gc

    for name in list(sys.modules):
        if name.startswith("tallystick.hw.atecc608"):
            del sys.modules[name]
            parent = sys.modules["tallystick.hw"]
            short = name[len("tallystick.hw.") :]
            if hasattr(parent, short):
                delattr(parent, short)
    gc.collect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "", len(sys.argv) > 3)
