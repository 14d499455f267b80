# ruff: noqa: PTH104, PTH123
"""Two robots hand over a pallet and exchange halves, here through two files.

    python handover.py giver    CONFIG PEER_ID MAILBOX
    python handover.py receiver CONFIG PEER_ID MAILBOX

CONFIG is the robot's tallystick.json, PEER_ID the other robot's id (43 characters), MAILBOX a
folder that both can reach; a socket, BLE or a serial line does as well. A half is at most 4,000
bytes. Runs on MicroPython and on CPython.
"""

import os
import sys
import time

from tallystick.recorder import Recorder

WAIT_S = 60
CONNECT_S = 2
PROFILE = "handover@1"
TASK = "order-4711"


def send(mailbox: str, name: str, half: bytes) -> None:
    """Whole or not at all."""
    with open(mailbox + "/" + name + ".part", "wb") as file:
        file.write(half)
    os.rename(mailbox + "/" + name + ".part", mailbox + "/" + name)


def receive(mailbox: str, name: str, tally: "Recorder") -> bytes:
    """The half of the other robot; the control loop goes on meanwhile."""
    end = time.time() + WAIT_S
    while time.time() < end:
        tally.poll()
        try:
            with open(mailbox + "/" + name, "rb") as file:
                return file.read()
        except OSError:
            time.sleep(0.01)
    raise SystemExit("the other robot sent nothing")


def settle(tally: "Recorder") -> None:
    """Until a gateway has all. A robot runs on; what is left here is sent at the next start."""
    began = time.time()
    while tally.backlog():
        tally.poll()
        time.sleep(0.01)
        if time.time() - began > (WAIT_S if tally.health.connected else CONNECT_S):
            break


def main(role: str, config: str, peer: str, mailbox: str) -> None:
    tally = Recorder.open(config)
    other = "receiver" if role == "giver" else "giver"
    theirs = None
    if role == "receiver":
        # Verified before anything moves: a robot can refuse to act on what is not signed.
        theirs = tally.accept(receive(mailbox, other, tally))
        print("accepted a claim of", theirs.claim.role)
    half = tally.claim(
        PROFILE,
        task=TASK,
        role=role,
        claim="released" if role == "giver" else "acquired",
        peers={other: peer},
        relied=[] if theirs is None else [theirs],
        item="pallet-7",
        position_m=["1.20", "3.40"],
    )
    send(mailbox, role, half)
    if role == "giver":
        theirs = tally.accept(receive(mailbox, other, tally))
        print("accepted a claim of", theirs.claim.role)
    settle(tally)
    tally.close()


if __name__ == "__main__":
    main(*sys.argv[1:5])
