"""Any order and duplication of batches from two gateways gives the same claims and findings."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.devices import Device, Fleet
from support.story import disclose
from support.validating import HANDOVER, START_MS, Gateway, Room, handover

DEADLINE_MS = HANDOVER.deadline_ms


class Told:
    """One story, told by two gateways: they share devices, and one elides what the other has."""

    def __init__(self) -> None:
        self.fleet = Fleet("acme")
        giver, receiver = self.fleet.device("a"), self.fleet.device("b")
        self.devices: list[Device] = [giver, receiver]
        self.north, self.south = Gateway(self.fleet, "north"), Gateway(self.fleet, "south")
        giver.record(3)
        handover(giver, receiver, "order-1")
        handover(giver, receiver, "order-2", received_x=7)
        handover(giver, receiver, "order-3", sides="g")
        receiver.accept(disclose(giver, giver.size - 1, embed=True).encode())
        handover(giver, receiver, "order-4", sides="r")
        after = self.north.custody(giver, START_MS + DEADLINE_MS + 9)
        giver.seal()
        self.receipts = [after]
        self.north.take(*giver.segments(), receiver.segment(0, 2))
        self.south.take(
            receiver.segment(2, edge=True),
            giver.segment(1, 3, edge=True),
            giver.segment(0, 2, elide=True),
            receiver.segment(0, 1),
        )
        self.sizes = {id(self.north): len(self.north.items), id(self.south): len(self.south.items)}


TOLD = Told()


def state(room: Room) -> Any:
    """What must not depend on how it came: claims, and findings by interaction."""
    from tallystick.evidence import verdict

    claims = sorted(room.rows("SELECT claim, at, leaf, device FROM claims"))
    newest = room.rows(
        "SELECT e.data FROM party_sets p JOIN entries e ON e.entry = p.verdict_entry"
    )
    findings = sorted(verdict.parse(row[0]).finding.encode() for row in newest)
    held = room.rows(
        "SELECT device, size, began, covered, claims, ahead, heads_ahead FROM logs ORDER BY device"
    )
    counted = room.rows("SELECT id, decisions, claims, events, halves FROM identities ORDER BY id")
    return claims, findings, held, counted


def play(order: list[tuple[int, int]]) -> Any:
    """Send (gateway, until) steps; each gateway's log goes on from where the validator has it."""
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder) / "validator", [TOLD.fleet])
        sent = {0: 0, 1: 0}
        gateways = (TOLD.north, TOLD.south)
        try:
            for which, count in [*order, (0, 99), (1, 99), (1, 0), (0, 0)]:
                gateway = gateways[which]
                total = TOLD.sizes[id(gateway)]
                first = 0 if count == 0 else sent[which]
                until = total if count == 0 else min(total, first + count)
                answer = room.send(
                    gateway.batch(first, until, devices=TOLD.devices, receipts=TOLD.receipts)
                )
                assert {reason for _, reason in answer.refused} <= {"no-history"}
                sent[which] = max(sent[which], until)
                room.settle()
            room.clock.now_ms += DEADLINE_MS
            room.settle()
            return state(room)
        finally:
            room.close()


EXPECTED = None


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=8))
def test_order_and_duplication_change_nothing(order: list[tuple[int, int]]) -> None:
    global EXPECTED  # noqa: PLW0603 - computed once
    if EXPECTED is None:
        EXPECTED = play([])
        assert len(EXPECTED[0]) == 6
        assert len(EXPECTED[1]) == 4
    assert play(order) == EXPECTED
