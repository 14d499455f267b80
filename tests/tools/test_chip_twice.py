"""A18 in spirit: one slot of one chip is enrolled once, whatever key it is said to hold."""

from pathlib import Path
from typing import Any

import pytest

from support import heldkeys
from tallystick.evidence import custody_atecc608, enrolmentrequest
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import ES256
from tallystick.hw.signer import Signer
from tallystick.tools import keychanges
from tallystick.tools.fleetdir import Fleet, Member


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "acme", "acme")


def in_slot(path: Path, config: Any = None) -> Signer:
    """A key that is said to be in a chip's slot: nothing in that evidence is attested."""
    made: Any = Signer.create(f"file:{path}", alg=ES256)
    evidence = (config or heldkeys.atecc608()).encode()
    made.custody = "secure-element"
    made.evidence = lambda _context: [[custody_atecc608.TYPE, evidence]]
    signer: Signer = made
    return signer


def enrolled(fleet: Fleet, label: str, key: Signer, **named: Any) -> Member:
    request = enrolmentrequest.make(key, fleet.name)
    return fleet.enrol("device", label, request=request.encode(), **named)


def test_one_slot_under_two_ids_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    first = enrolled(fleet, "robot-1", in_slot(tmp_path / "1"))
    for as_software in (False, True):
        with pytest.raises(Unverified, match="enrolled already, as robot-1") as refused:
            enrolled(
                fleet, "robot-2", in_slot(tmp_path / f"2{as_software}"), as_software=as_software
            )
        assert refused.value.reason == "already-enrolled"
        assert heldkeys.SERIAL.hex().upper() in refused.value.message
    assert [member.label for member in fleet.members()] == ["robot-1"]
    # The slot made a new key and the old one is gone: said first, it may be enrolled.
    keychanges.revoke(fleet, first, "lost", None)
    assert enrolled(fleet, "robot-2", in_slot(tmp_path / "new")).label == "robot-2"


def test_another_slot_is_another_key(fleet: Fleet, tmp_path: Path) -> None:
    enrolled(fleet, "robot-1", in_slot(tmp_path / "1"))
    shown = heldkeys.atecc608()
    other = custody_atecc608.Atecc608Config(
        shown.serial, shown.revision, shown.config, (shown.slot + 1) % 16
    )
    enrolled(fleet, "robot-2", in_slot(tmp_path / "2", other), as_software=True)


def test_a_rotation_into_anothers_slot_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    enrolled(fleet, "robot-1", in_slot(tmp_path / "1"))
    old = Signer.create(f"file:{tmp_path / 'old'}", alg=ES256)
    request = enrolmentrequest.make(old, fleet.name)
    robot = fleet.enrol("device", "robot-2", request=request.encode())
    rotation = keychanges.make_rotation(
        old, in_slot(tmp_path / "2"), fleet.name, robot.id, None, robot.identity.last_change
    )
    with pytest.raises(Unverified, match="enrolled already, as robot-1"):
        keychanges.sign_rotation(fleet, robot, rotation)
