"""A recorder before and after its key was rotated: its journal remembers which key signed what."""

from _folder import within
from _rekeyed import kid_of, opened, record
from _reset import reset

RUNS_ON = ("cpython", "micropython64")
RUNS_ON_BECAUSE = "it boots three times in one process, whose 32-bit heap keeps what a reset clears"


def test_each_payload_keeps_the_hint_of_the_key_that_signed_it() -> None:
    def before(path: str) -> "tuple[bytes, bytes, int, bytes]":
        tally = opened(path, rotated=False)
        record(tally, 20)
        ordinal = tally._ledger.log.signed
        old = kid_of(tally._ledger.forms.checkpoint(b"payload", bytes(64), ordinal))
        tally.close()
        return tally.device, tally.epoch, ordinal, old

    def after(path: str, known: "tuple[bytes, bytes, int, bytes]", records: int) -> None:
        device, epoch, ordinal, old = known
        tally = opened(path, rotated=True)
        assert tally.device == device and tally.epoch == epoch
        assert tally.health.records == records
        record(tally, 10)
        forms, log = tally._ledger.forms, tally._ledger.log
        assert log.keys == [[ordinal + 1, kid_of(forms.checkpoint(b"p", bytes(64)))]]
        assert kid_of(forms.checkpoint(b"p", bytes(64), ordinal)) == old
        assert kid_of(forms.checkpoint(b"p", bytes(64), ordinal + 1)) == log.keys[0][1] != old
        assert kid_of(forms.checkpoint(b"p", bytes(64), log.signed)) == log.keys[0][1]
        assert tally.health.faults == {}
        tally.close()

    def run(path: str) -> None:
        known = before(path)
        reset()
        # The boot, and the new key once.
        after(path, known, 2)
        reset()
        after(path, known, 1)

    within(run)
