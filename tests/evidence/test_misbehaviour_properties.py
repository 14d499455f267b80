"""Extracts and scores for any log and any numbers: they come back, nothing is slipped in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import guilt
from support.story import StoryValidator
from tallystick.evidence import cbor, extract, note, score
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.score import GatewayScore, Score, ScoreLog, ValidatorScore, in_order
from tallystick.verify.logcopy import LogCopy

SETTINGS = settings(max_examples=60, deadline=None)
UINTS = st.integers(0, 2**63 - 1)
HASHES = st.binary(min_size=32, max_size=32)


def log_of(size: int) -> StoryValidator:
    entries = [cbor.encode([17, at]) for at in range(size)]
    return StoryValidator(guilt.matched().validators[0].fleet, entries=entries)


@SETTINGS
@given(st.data(), st.integers(1, 70))
def test_a_cut_gives_what_was_wanted_where_it_stands(data: st.DataObject, size: int) -> None:
    log = log_of(size)
    first = data.draw(st.integers(0, size - 1))
    wanted = data.draw(st.sets(st.integers(first, size - 1)))
    made = extract.cut(log.entries, note.parse(log.note()), first, wanted)
    assert made.entries == {at: log.entries[at] for at in wanted}
    read = extract.from_array(cbor.decode(cbor.encode(made.array())))
    assert (read.array(), read.entries) == (made.array(), made.entries)
    assert read.whole_below(size) is (first == 0 and len(wanted) == size)
    assert [at for at, _ in read.run()] == list(range(first, first + len(read.run())))


@SETTINGS
@given(st.data(), st.integers(2, 40))
def test_nothing_is_changed_moved_or_left_out_unseen(data: st.DataObject, size: int) -> None:
    log = log_of(size)
    wanted = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    values = extract.cut(log.entries, note.parse(log.note()), 0, wanted).array()
    items = values[2]
    at = data.draw(st.integers(0, len(items) - 1))
    how = data.draw(st.sampled_from(("drop", "twice", "entry", "swap")))
    if how == "drop":
        del items[at]
    elif how == "twice":
        items.insert(at, items[at])
    elif how == "entry":
        items[at] = cbor.encode([17, 2**40])
    else:
        items[at], items[at - 1] = items[at - 1], items[at]
    if values == extract.cut(log.entries, note.parse(log.note()), 0, wanted).array():
        return
    with pytest.raises(TallyError):
        extract.from_array(values)


DELAYS = st.none() | st.lists(UINTS, min_size=3, max_size=3).map(sorted)


def rows(who: st.SearchStrategy[object]) -> st.SearchStrategy[list[list[object]]]:
    row = st.tuples(who, UINTS, UINTS, UINTS, UINTS, DELAYS, UINTS).map(
        lambda one: [one[0], one[1], max(one[2:4]), min(one[2:4]), *one[4:]]
    )
    return st.lists(row, max_size=3, unique_by=cbor.encode)


@SETTINGS
@given(
    st.lists(st.tuples(st.text("abc", min_size=1), UINTS, HASHES), min_size=1, max_size=3,
             unique_by=lambda one: cbor.encode(list(one))),
    rows(st.text("abc", min_size=1)),
    rows(HASHES),
    st.sets(HASHES, max_size=3),
)  # fmt: skip
def test_a_score_comes_back(
    logs: list[object], validators: list[object], gateways: list[object], proofs: set[bytes]
) -> None:
    made = Score(1, 2, in_order(logs), in_order(validators), in_order(gateways), sorted(proofs))
    signed = made.sign(guilt.matched().acme.root, "acme", score.SUBJECT)
    read = score.parse(signed)
    assert read.payload() == made.payload()
    assert read.verify(guilt.matched().acme.root.public_key()).values() == made.values()
    assert all(isinstance(one, ScoreLog) for one in read.logs)
    assert all(isinstance(one, ValidatorScore) for one in read.validators)
    assert all(isinstance(one, GatewayScore) for one in read.gateways)


@pytest.mark.parametrize(
    "row",
    [
        ["log", 0, 1, 2, 0, None, 0],
        ["log", 0, 0, 0, 0, [3, 2, 4], 0],
        ["log", 0, 0, 0, 0, [1, 2], 0],
        ["", 0, 0, 0, 0, None, 0],
    ],
)
def test_a_score_that_cannot_be_is_refused(row: list[object]) -> None:
    logs = [["log", 1, bytes(32)]]
    with pytest.raises(Malformed):
        Score(1, 2, logs, [row], [], [])
    for begin, end in ((2, 2), (3, 2)):
        with pytest.raises(Malformed):
            Score(begin, end, logs, [], [], [])


def test_a_log_as_it_was() -> None:
    log = log_of(20)
    whole = LogCopy(log.note(), log.entries)
    for size in range(1, 21):
        assert (
            whole.at(size).note.root == LogCopy(log_of(size).note(), log.entries[:size]).note.root
        )
    for size in (0, 21):
        with pytest.raises(Malformed):
            whole.at(size)
