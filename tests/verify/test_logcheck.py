"""Each entry of a validator's log can stand where it stands, or the log is refused."""

from typing import Any

import pytest

from support import examples as ex
from tallystick.evidence import cbor
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.verdict import Verdict
from tallystick.evidence.verdict import parse as parse_verdict
from tallystick.verify.logcheck import LogCheck, Told

LOG = ex.validator_log()
CLAIM, CLOSING = 4, 7


def read(entries: tuple[bytes, ...] | list[bytes], first: int = 0) -> LogCheck:
    check = LogCheck(ex.ORIGIN, ex.note_key(), first=first)
    for at, entry in enumerate(entries[first:], first):
        check.entry(at, entry)
    return check


def refused(entries: tuple[bytes, ...] | list[bytes]) -> tuple[str, str]:
    with pytest.raises(TallyError) as error:
        read(entries)
    return error.value.reason, error.value.message


def changed(at: int, field: int, value: Any) -> list[bytes]:
    """The log with one field of one unsigned entry changed."""
    array = cbor.decode(LOG[at])
    array[field] = value
    return [*LOG[:at], cbor.encode(array), *LOG[at + 1 :]]


def verdict(key: Any = ex.VALIDATOR, size: int = 8) -> bytes:
    """The example's verdict as an entry, by a key, having read a size."""
    made = parse_verdict(ex.the_verdict())
    again = Verdict(made.finding, size, None, made.uninvited, made.time_ms)
    return again.sign(key, ex.INITECH, made.subject())


def test_a_good_log_is_counted_and_told() -> None:
    check = read([*LOG, verdict()])
    assert check.counts == {
        "genesis": 1,
        "times": 2,
        "device checkpoints": 2,
        "claims": 2,
        "closings": 1,
        "verdicts": 1,
    }
    assert check.not_checked == {}
    assert check.time_ms == ex.TIME_MS + 6000
    assert {head.size for head in check.told.heads.values()} == {3}
    assert len(check.told.verdicts) == 1


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (changed(CLAIM, 4, bytes(32)), "entry 4: the leaf is not in the tree"),
        (changed(CLAIM, 3, 0), "entry 4: the proof is too short"),
        (changed(CLAIM, 5, 3), "entry 4: the checkpoint that it names is of another log"),
        (changed(CLAIM, 5, 1), "entry 4: no device checkpoint is where it says"),
        (changed(CLAIM, 5, CLAIM), "entry 4: the checkpoint that it names comes after it"),
        (changed(CLOSING, 5, 6001), "entry 7: it was logged before the deadline passed"),
        (changed(CLOSING, 4, 2), "entry 7: no claim is where it says"),
        (changed(CLOSING, 4, 99), "entry 7: no claim is where it says"),
        ([*LOG[:6], TimeEntry(ex.TIME_MS - 1).encode()], "entry 6: its time"),
        ([*LOG, LOG[0]], "entry 8: a second genesis"),
        ([LOG[1]], "entry 0: "),
        ([LOG[0][:-1] + bytes([LOG[0][-1] ^ 1])], "entry 0: the signature is not by this key"),
        ([*LOG, verdict(size=9)], "entry 8: the verdict says that it read 9 entries"),
        ([*LOG, verdict()[:-1] + b"\x00"], "entry 8: "),
    ],
)
def test_an_entry_that_cannot_stand_there(entries: list[bytes], says: str) -> None:
    assert says in refused(entries)[1]


def test_a_log_of_somebody_else() -> None:
    for origin, key, says in (
        ("other.example/log", ex.note_key(), "the genesis is of"),
        (ex.ORIGIN, type(ex.note_key())(ex.ORIGIN, ex.WITNESS.public_key()), "another note key"),
    ):
        with pytest.raises(TallyError, match=says):
            LogCheck(origin, key).entry(0, LOG[0])


def test_a_verdict_by_another_key_is_not_checked() -> None:
    check = read([*LOG, verdict(ex.GIVER)])
    assert check.not_checked == {"verdicts by another key than the genesis names": 1}


def resumed(first: int, told: Told, key: PublicKey | None) -> LogCheck:
    check = LogCheck(ex.ORIGIN, ex.note_key(), first=first)
    check.resume(ex.TIME_MS, key, told)
    for at, entry in enumerate([*LOG, verdict()][first:], first):
        check.entry(at, entry)
    return check


def test_going_on_in_the_middle_says_what_it_cannot_check() -> None:
    before = read(LOG[:CLAIM])
    assert resumed(CLAIM, before.told, before.receipt_key).not_checked == {}
    late = resumed(CLOSING, read(LOG[:CLOSING]).told, before.receipt_key)
    assert late.not_checked == {"closings of claims that were not read": 1}
    nothing = resumed(CLAIM, Told(), None)
    assert nothing.not_checked == {
        "claims under checkpoints that were not read": 2,
        "verdicts by another key than the genesis names": 1,
    }
    # Time goes on from where it was.
    again = resumed(8, Told(), None)
    with pytest.raises(TallyError, match="its time"):
        again.entry(9, TimeEntry(ex.TIME_MS - 1).encode())
