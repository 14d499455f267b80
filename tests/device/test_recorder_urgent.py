"""An urgent decision."""

from _folder import within
from _keyfile import config
from tallystick.recorder import Recorder


def test_an_urgent_decision_is_signed_when_it_returns() -> None:
    def run(path: str) -> None:
        tally = Recorder.open(config(path, checkpoint_s=1000, checkpoint_records=1000))
        tally.decision("m", {"n": 1}, output="stop", urgent=True)
        ledger = tally._ledger
        assert ledger.sendable == ledger.log.ordinal and not ledger.log.unsealed
        tally.close()

    within(run)
