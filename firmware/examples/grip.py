"""Three lines in a robot's program. Runs on MicroPython and on CPython.

python grip.py        with tallystick.json in this folder, as `tally fleet enroll` wrote it
"""

from tallystick.recorder import Recorder

tally = Recorder.open()


def grip(frame_digest: bytes, speed_m_s: float) -> str:
    """What the robot did before, and one line more."""
    action = "grip" if speed_m_s <= 0.5 else "wait"
    tally.decision(
        model="grasp-net@3f2a91",
        inputs={"camera": frame_digest},
        constraints={"speed_m_s": (speed_m_s, "<=", "0.5", "m/s")},
        output={"action": action},
    )
    return action


if __name__ == "__main__":
    for tenth in range(10):
        print(grip(bytes(32), tenth / 10))
        tally.poll()  # on CPython a thread does this
    tally.close()
    print(tally.health.records, "records,", tally.health.dropped, "dropped")
