"""A recorder before and after its key was rotated: its journal remembers which key signed what."""

from _folder import within
from _rekeyed import kid_of, record, settings
from tallystick.recorder import Recorder

RUNS_ON = ("cpython", "micropython64")
RUNS_ON_BECAUSE = "it opens three recorders in one process, and a board opens one"


def test_each_payload_keeps_the_hint_of_the_key_that_signed_it() -> None:
    def run(path: str) -> None:
        tally = Recorder.open(settings(path, rotated=False), background=False)
        record(tally, 20)
        device, epoch, ordinal = tally.device, tally.epoch, tally._ledger.log.signed
        old = kid_of(tally._ledger.forms.checkpoint(b"payload", bytes(64), ordinal))
        records = tally.health.records
        tally.close()
        for again in range(2):
            tally = Recorder.open(settings(path, rotated=True), background=False)
            assert tally.device == device and tally.epoch == epoch
            # The boot, and the new key once.
            assert tally.health.records == (1 if again else 2), (again, records)
            record(tally, 10)
            forms, log = tally._ledger.forms, tally._ledger.log
            assert log.keys == [[ordinal + 1, kid_of(forms.checkpoint(b"p", bytes(64)))]]
            assert kid_of(forms.checkpoint(b"p", bytes(64), ordinal)) == old
            assert kid_of(forms.checkpoint(b"p", bytes(64), ordinal + 1)) == log.keys[0][1] != old
            assert kid_of(forms.checkpoint(b"p", bytes(64), log.signed)) == log.keys[0][1]
            assert tally.health.faults == {}
            tally.close()

    within(run)
