"""Whatever the order, duplication and loss: the same final state, and nothing twice."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.devices import Device, Fleet
from support.gateways import MemoryGateway

ACME = Fleet("acme")
STRETCHES = 8

# What a link may deliver: a run of stretches, with or without an edge; or a restart.
_runs = st.tuples(st.integers(0, STRETCHES - 1), st.integers(1, 4), st.booleans(), st.booleans())
_steps = st.lists(st.one_of(_runs, st.just("turn"), st.just("restart")), max_size=30)


def a_device() -> Device:
    robot = ACME.device()
    for n in range(STRETCHES):
        robot.record((5, 1, 0, 8, 3, 0, 2, 7)[n])
    return robot


ROBOT = a_device()


def covered_once(ranges: list[tuple[int, int, int]], size: int) -> bool:
    """Whether the ranges that hold something cover [0, size) without overlap."""
    at = 0
    for _, first, until in sorted(row for row in ranges if row[1] != row[2]):
        if first != at:
            return False
        at = until
    return at == size


def deliver(gate: MemoryGateway, robot: Device, steps: list[Any]) -> None:
    for step in steps:
        if step == "turn":
            gate.turn()
        elif step == "restart":
            gate.turn()
            gate.reopen()
        else:
            begin, count, edge, elide = step
            gate.send(robot, robot.segment(begin, begin + count, edge=edge, elide=elide))
    gate.turn()


@settings(max_examples=150, deadline=None)
@given(_steps)
def test_any_order_duplication_and_loss_end_alike(steps: list[Any]) -> None:
    robot = ROBOT
    with tempfile.TemporaryDirectory() as folder:
        gate = MemoryGateway(Path(folder), ACME)
        gate.know(robot)
        deliver(gate, robot, steps)
        # Every receipt tells the truth, at any time.
        for receipt in gate.custody(robot):
            assert receipt.root == robot.tree(receipt.to).root()
        # The device sends what was not confirmed, in order.
        gate.give(robot, *robot.segments())
        assert [(began, size) for began, size, _ in gate.tracks()] == [(0, robot.size)]
        assert covered_once(gate.ranges(), robot.size)
        assert gate.custody(robot)[-1].to == robot.size
        status = gate.status()
        assert (status["parked_segments"], status["parked_bytes"]) == (0, 0)
        assert (status["forks"], status["suspect"]) == (0, [])
        assert set(gate.refused()) <= {"replayed"}
        # The head is the newest one, whatever came last.
        gate.reopen()
        gate.give(robot, robot.hello())
        assert gate.welcomes(robot)[-1].checkpoint == robot.stretches[-1].checkpoint
        gate.store.close()


def twins() -> tuple[Device, Device]:
    one = ACME.device("twin")
    for n in range(6):
        one.record(3 + n % 2)
    other = one.clone()
    del other.stretches[3:]
    del other.leaves[other.stretches[-1].to :]
    for n in range(4):
        other.decision(f"another {n}")
        other.decision("story")
        other.seal(bytes([n + 1]) * 32)
    return one, other


TWINS = twins()


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(13)), st.sets(st.integers(0, 12), max_size=5))
def test_a_fork_is_found_in_any_order_and_both_sides_are_kept(
    order: list[int], together: set[int]
) -> None:
    one, other = TWINS
    messages = [one.segment(n, n + 1, edge=n % 2 == 0) for n in range(6)]
    messages += [other.segment(n, n + 1, edge=True) for n in range(7)]
    with tempfile.TemporaryDirectory() as folder:
        gate = MemoryGateway(Path(folder), ACME)
        gate.know(one)
        for number in order:
            gate.send(one, messages[number])
            if number not in together:
                gate.turn()
        gate.turn()
        # Both devices send everything again, as they do while a receipt is missing.
        gate.give(one, *one.segments(), one.segment(0))
        gate.give(other, *other.segments(), other.segment(0))
        status = gate.status()
        assert status["suspect"] == [{"device": one.text, "reason": "fork"}]
        assert status["forks"]
        heads = {head for _, _, head in gate.tracks()}
        assert {one.stretches[-1].checkpoint, other.stretches[-1].checkpoint} <= heads
        roots = {receipt.root for receipt in gate.custody(one)}
        assert {one.root, other.root} <= roots
        assert status["parked_segments"] == 0
        gate.store.close()
