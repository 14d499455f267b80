"""A robot that is sold with its key: its id is enrolled by a root that is accepted no more."""

from pathlib import Path

import pytest

from support.devices import Device, Fleet, key
from support.validating import Gateway, Room, compress
from tallystick.evidence import batchanswer


@pytest.mark.databases
def test_it_is_refused_and_nobody_else_is(tmp_path: Path, store: str) -> None:
    acme, borealis = Fleet("acme"), Fleet("borealis")
    room = Room(tmp_path / "v", [acme, borealis], store=store)
    try:
        signer = key("a robot that is sold")
        old = Device(borealis, signer, borealis.enrol(signer))
        old.record(1)
        before = Gateway(borealis)
        before.take(old.segment())
        assert room.send(before.batch(devices=[old])).refused == []
        room.close()
        room.fleets[:] = [acme]
        room.open()
        new = Device(acme, signer, acme.enrol(signer))
        new.record(1)
        other = acme.device("b")
        other.record(1)
        gateway = Gateway(acme)
        gateway.take(other.segment(), new.segment())
        future = room.sequencer.submit(compress(gateway.batch(devices=[new, other])))
        room.sequencer.turn(0)
        answer = batchanswer.parse(future.result(1))
        assert answer.refused == [(1, "unknown-device")]
        assert room.sequencer.failure is None
        assert room.sequencer.refusals.totals()["already-enrolled"] == 1
        # Who accepts the first root again has it as it was.
        room.close()
        room.fleets[:] = [acme, borealis]
        room.open()
        old.record(1)
        before.take(old.segment())
        assert room.send(before.batch(1)).refused == []
    finally:
        room.close()
