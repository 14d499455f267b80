"""A recorder under a new key: it notes the key once, and signs with it."""

from _folder import within
from _rekeyed import kid_of, opened, record


def test_a_rotated_device_records_under_its_new_key() -> None:
    def run(path: str) -> None:
        tally = opened(path, rotated=True)
        # The epoch, the boot, and the new key.
        assert tally.health.records == 3
        log = tally._ledger.log
        assert len(log.keys) == 1 and log.keys[0][0] == 1
        record(tally, 20)
        statement = tally._ledger.forms.checkpoint(b"payload", bytes(64), log.signed)
        assert log.signed and kid_of(statement) == log.keys[0][1]
        assert tally.health.faults == {} and tally.health.dropped == 0

    within(run)
