"""The whole recorder: open, record, sign, open again."""

from _boots import follow, note, noted
from _keyfile import config
from tallystick.recorder import Recorder

SETTINGS = {"checkpoint_records": 16, "checkpoint_s": 1000}


def decide(tally: Recorder, count: int) -> None:
    for number in range(count):
        tally.decision(
            model="grasp-net@3f2a91",
            inputs={"n": number},
            constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
            output={"action": "grip"},
        )


def boot_and_record(path: str) -> None:
    tally = Recorder.open(config(path, **SETTINGS), background=False)
    note(path, "epoch", tally.epoch)
    for _ in range(10):
        decide(tally, 10)
        while tally.poll(1):
            pass
    assert tally.health.records == 102 and tally.health.dropped == 0
    assert tally.health.checkpoints >= 5
    tally.event("gripper.calibrated", force_n="4.5")
    assert tally.flush()
    tally.close()


def boot_again(path: str) -> None:
    tally = Recorder.open(config(path, **SETTINGS), background=False)
    assert tally.epoch == noted(path, "epoch") and tally.backlog() == 104
    assert tally.health.faults == {}
    tally.close()


def test_records_are_sealed_signed_and_there_again() -> None:
    follow(boot_and_record, boot_again)
