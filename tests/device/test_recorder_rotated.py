"""A recorder before and after its key was rotated: its journal remembers which key signed what."""

from _boots import follow, note, noted
from _rekeyed import kid_of, opened, record


def boot_under_the_old_key(path: str) -> None:
    tally = opened(path, rotated=False)
    record(tally, 20)
    ordinal = tally._ledger.log.signed
    note(path, "device", tally.device)
    note(path, "epoch", tally.epoch)
    note(path, "ordinal", ordinal.to_bytes(2, "big"))
    note(path, "old", kid_of(tally._ledger.forms.checkpoint(b"payload", bytes(64), ordinal)))
    tally.close()


def rotated(path: str, records: int) -> None:
    tally = opened(path, rotated=True)
    assert tally.device == noted(path, "device") and tally.epoch == noted(path, "epoch")
    assert tally.health.records == records
    record(tally, 10)
    ordinal = int.from_bytes(noted(path, "ordinal"), "big")
    forms, log = tally._ledger.forms, tally._ledger.log
    assert log.keys == [[ordinal + 1, kid_of(forms.checkpoint(b"p", bytes(64)))]]
    assert kid_of(forms.checkpoint(b"p", bytes(64), ordinal)) == noted(path, "old")
    assert kid_of(forms.checkpoint(b"p", bytes(64), ordinal + 1)) == log.keys[0][1]
    assert log.keys[0][1] != noted(path, "old")
    assert kid_of(forms.checkpoint(b"p", bytes(64), log.signed)) == log.keys[0][1]
    assert tally.health.faults == {}
    tally.close()


def boot_under_the_new_key(path: str) -> None:
    # The boot, and the new key once.
    rotated(path, 2)


def boot_once_more(path: str) -> None:
    rotated(path, 1)


def test_each_payload_keeps_the_hint_of_the_key_that_signed_it() -> None:
    follow(boot_under_the_old_key, boot_under_the_new_key, boot_once_more)
