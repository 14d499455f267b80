"""The whole recorder with a software key, in 64 KiB on 32 bits: records and signs."""

from _folder import within
from _keyfile import config
from tallystick.recorder import Recorder


def test_decisions_are_recorded_and_signed_in_a_small_heap() -> None:
    def run(path: str) -> None:
        tally = Recorder.open(
            config(path, checkpoint_records=16, checkpoint_s=1000), background=False
        )
        for number in range(200):
            tally.decision(
                model="grasp-net@3f2a91",
                inputs={"n": number},
                constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
                output={"action": "grip"},
            )
            while tally.poll(1):
                pass
        health = tally.health
        assert health.records == 202 and health.dropped == 0 and health.faults == {}
        assert health.checkpoints == 202 // 16

    within(run)
