"""The whole recorder: open, record, sign, open again."""

from _folder import within
from _keyfile import config
from _reset import reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder import Recorder


def opened(settings: "dict[str, Any]") -> "Recorder":
    from tallystick.recorder import Recorder  # there again after a reset

    return Recorder.open(settings, background=False)


def decide(tally: "Recorder", count: int) -> None:
    for number in range(count):
        tally.decision(
            model="grasp-net@3f2a91",
            inputs={"n": number},
            constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
            output={"action": "grip"},
        )


def test_records_are_sealed_signed_and_there_again() -> None:
    def run(path: str) -> None:
        settings = config(path, checkpoint_records=16, checkpoint_s=1000)
        tally = opened(settings)
        epoch = tally.epoch
        for _ in range(10):
            decide(tally, 10)
            while tally.poll(1):
                pass
        assert tally.health.records == 102 and tally.health.dropped == 0
        assert tally.health.checkpoints >= 5
        tally.event("gripper.calibrated", force_n="4.5")
        assert tally.flush()
        tally.close()
        del tally
        reset()
        again = opened(settings)
        assert again.epoch == epoch and again.backlog() == 104
        assert again.health.faults == {}
        again.close()

    within(run)
