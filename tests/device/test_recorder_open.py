"""The whole recorder: open, record, sign, open again."""

from _folder import within
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink

HEAP_32_KIB = 128
HEAP_32_BECAUSE = "it makes keys, opens twice and closes; test_recorder_small.py runs in 64 KiB"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def config(path: str, **more: "Any") -> "dict[str, Any]":
    more.update(fleet="acme", key="file:" + path + "/key", journal=path + "/journal")
    return more


def decide(tally: Recorder, count: int) -> None:
    for number in range(count):
        tally.decision(
            model="grasp-net@3f2a91",
            inputs={"n": number},
            constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
            output={"action": "grip"},
        )


def test_records_are_sealed_signed_and_there_again() -> None:
    def run(path: str) -> None:
        Signer.create("file:" + path + "/key")
        settings = config(path, checkpoint_records=16, checkpoint_s=1000)
        tally = Recorder.open(settings, background=False)
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
        again = Recorder.open(settings, background=False)
        assert again.epoch == epoch and again.backlog() == 104
        assert again.health.faults == {}
        again.close()

    within(run)


def test_a_wrong_argument_raises_and_a_dead_link_does_not() -> None:
    def run(path: str) -> None:
        Signer.create("file:" + path + "/key")
        tally = Recorder.open(config(path), background=False)
        for wrong in (7, "", "@", ("a", "b")):
            try:
                tally.decision(wrong)
            except ValueError:
                pass
            except Exception as error:  # noqa: BLE001  # ours
                assert getattr(error, "reason", "")
            else:
                raise AssertionError(wrong)
        tally.close()
        try:
            Recorder.open(config(path), uplink=MemoryUplink(), background=False)
        except Exception as error:  # noqa: BLE001  # ours
            assert "credential" in str(error) or getattr(error, "reason", "") == "bad-config"
        else:
            raise AssertionError

    within(run)


def test_an_urgent_decision_is_signed_when_it_returns() -> None:
    def run(path: str) -> None:
        Signer.create("file:" + path + "/key")
        tally = Recorder.open(config(path, checkpoint_s=1000, checkpoint_records=1000))
        tally.decision("m", {"n": 1}, output="stop", urgent=True)
        ledger = tally._ledger
        assert ledger.sendable == ledger.log.ordinal and not ledger.log.unsealed
        tally.close()

    within(run)
