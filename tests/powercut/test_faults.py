"""F05, F24 and what validators say: key faults at each call, lost journals, and other devices."""

from pathlib import Path
from typing import Any

import pytest

from powercut.bench import FLASHES, LONG, Bench, Case, Script, Site, judged
from powercut.flash import EILSEQ, EIO
from powercut.world import (
    BUSY_NUMBERS,
    LIFE_NUMBERS,
    Said,
    World,
    demand,
    judge,
    judge_lost,
)
from support.devices import Fleet
from support.validating import Gateway, Room

# How a key fails: [calls of it that fail, 0 for all from there on; polls that it is slow].
KEY_FAULTS = [[1, 0], [5, 0], [0, 0], [1, 30]]
FOR_EVER = 2
# [How many operations of the flash fail, 0 for all from there on; the error]: one of these at each
# operation, or all.
FLASH_FAULTS = [[[1, EIO]], [[6, EIO]], [[0, EIO]], [[1, EILSEQ]], [[6, EILSEQ]]]
if LONG:
    FLASH_FAULTS = [[kind for (kind,) in FLASH_FAULTS]]


@pytest.fixture
def script(bench: Bench) -> Script:
    return bench.script("hour", FLASHES[0])


def recording_went_on(case: Case) -> None:
    before = case.before
    if case.where == 1:
        demand("KeyDriverError" in before.raised, "opened without a key, and no clear error")
    else:
        demand(not before.raised, before.raised)
        demand(not before.ended["dropped"], "records were dropped for want of a signature")
        if case.how != FOR_EVER:
            demand(not before.ended["backlog"], f"no checkpoint followed: {before.ended}")
    judge(case.world, case.said)
    numbers = [one.inputs["n"] for one in case.world.decisions()]
    tried = [one for one in case.world.attempted if one >= BUSY_NUMBERS]
    demand(numbers[-len(tried) :] == tried, "a record was lost")
    demand(not case.said.ended["faults"], f"a fault that stays: {case.said.ended['faults']}")


@pytest.mark.slow
def test_the_key_fails_at_each_call(bench: Bench, script: Script) -> None:
    """F05: once, some times, for ever, slow; then the power goes, and the key is well again."""
    for part in range(1, 4 if LONG else 2):
        begin = script.operations * part // 4
        cases = bench.cases(script, begin, "keys", 1, 1000, KEY_FAULTS)
        assert judged(cases, recording_went_on) > 80


def it_recovered(case: Case) -> None:
    before = case.before
    if before.raised:
        # Where the folder cannot be made, and where the journal cannot be read.
        clear = "TallyError: journal" in before.raised or "make_folder" in before.raised
        demand(clear and not before.opened, before.raised)
    elif case.how and not spoilt(case.before):
        # It works again after a while: then nothing is missing but what a gap tells.
        demand(not before.ended["backlog"], f"no checkpoint followed: {before.ended}")
        there = {one.inputs["n"] for one in case.world.decisions()}
        tried = [one for one in case.world.attempted if one >= BUSY_NUMBERS]
        missing = [one for one in tried if one not in there]
        gaps = sum(one["dropped"] for one in case.world.events("gap"))
        demand(len(missing) <= gaps, f"{len(missing)} are missing, and gaps tell of {gaps}")
    if spoilt(case.said):
        # Then it only must not contradict itself.
        case.world.check_heads()
        demand(case.said.ended["faults"], "nothing was said")
    else:
        judge(case.world, case.said)


def spoilt(said: Said) -> bool:
    """Whether LittleFS does not write any more: an error between two of its updates did that."""
    return f"({EILSEQ})" in said.ended.get("last", "")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_flash_fails_at_each_operation(bench: Bench) -> None:
    """F01, F09: one, six, all operations from there on return an error; then the power goes."""
    for shape in FLASHES if LONG else FLASHES[:1]:
        script = bench.script("hour", shape)
        for part in range(4) if LONG else [2]:
            begin = script.operations * part // 4
            cases = bench.cases(script, begin, "errors", 1, 1000, FLASH_FAULTS)
            seen = list(cases)
            assert judged(iter(seen), it_recovered) > 100
            # Rare, and nothing that a recorder could repair.
            assert sum(spoilt(case.said) for case in seen) <= len(seen) // 50


def test_a_journal_is_lost_at_any_time(bench: Bench, script: Script) -> None:
    """F24: the next epoch opens; nothing contradicts what was signed before."""
    for at in range(0, script.operations, 1 if LONG else 11):
        before = script.world_at(at)
        for how in range(2):
            (case,) = bench.cases(script, at, "wipe", how)
            judge_lost(case.world, case.said, before)


# --- what a validator says ---------------------------------------------------------------------


def validated(folder: Path, site: Site, world: World) -> list[tuple[Any, ...]]:
    """Everything that left the board, through a real validator: its epochs, frozen or not."""
    depot = Fleet("depot")
    room = Room(folder, [depot, site.fleet])  # type: ignore[list-item]  # as far as it is asked
    gateway = Gateway(depot)
    gateway.take(*world.gate.taken)
    answer = room.send(gateway.batch(devices=[site]))  # type: ignore[list-item]  # as above
    assert answer.refused == []
    # The board, and the maker of the half that it accepted.
    suspects = room.rows("SELECT suspect FROM identities WHERE subject = 0")
    assert set(suspects) == {(None,)}
    device = world.gate.device.hex()
    found = room.rows(
        f"SELECT epoch, size, frozen_at FROM logs WHERE device = x'{device}' ORDER BY log"
    )
    room.close()
    return found


def test_a_validator_finds_no_fork_behind_a_cut(
    tmp_path: Path, bench: Bench, site: Site, script: Script
) -> None:
    step = script.operations // 6
    for at in range(step, script.operations, step):
        for case in bench.cuts(script, at, at + 1, [4]):
            (log,) = validated(tmp_path / str(at), site, case.world)
            epoch, size, frozen = log
            assert (epoch, frozen) == (case.said.ended["epoch"], None)
            assert size == case.said.ended["size"]


def test_a_validator_says_lost_and_not_suspect(
    tmp_path: Path, bench: Bench, site: Site, script: Script
) -> None:
    at = script.operations // 2
    (case,) = bench.cases(script, at, "wipe", 0)
    old, new = validated(tmp_path, site, case.world)
    assert old[1] == script.world_at(at).gate.trees[old[0]].size
    assert new[:2] == (case.said.ended["epoch"], case.said.ended["size"])
    assert LIFE_NUMBERS + 3 in [one.inputs["n"] for one in case.world.decisions()]
