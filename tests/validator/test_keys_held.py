"""How keys are held, as a validator counts it: in its verdicts and on its read interface."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from support import heldkeys
from support.devices import VALID_S, Device, Fleet
from support.validating import Gateway, Room, handover
from tallystick.evidence import keychange, verdict
from tallystick.evidence.keys import ES256, b64u, device_text
from tallystick.evidence.kinds import VERDICT
from tallystick.hw.software_key import FileKey
from validator.test_http import World


def half_shown(_fleet: Fleet, _signer: FileKey) -> tuple[int, list[Any]]:
    opened = heldkeys.with_byte(heldkeys.config_zone(), 86, 0x55)
    return 3, [["atecc608-config", heldkeys.atecc608(opened).encode()], ["tropic-01", b"x"]]


def levels(room: Room) -> dict[bytes, int]:
    (data,) = room.rows(f"SELECT data FROM entries WHERE kind = {VERDICT} ORDER BY entry DESC")[0]
    finding = verdict.parse(data).verify(room.sequencer.keys.signer.public_key()).finding
    assert finding.state == "matched"
    return {row.device: row.custody for row in finding.claims}


def send(room: Room, fleet: Fleet, *devices: Device) -> None:
    gateway = Gateway(fleet)
    gateway.take(*(data for device in devices for data in device.segments()))
    room.send(gateway.batch(devices=list(devices)))
    room.settle()


def test_verdicts_have_the_counted_level(room: Room, fleet: Fleet) -> None:
    giver = fleet.device("held", ES256, heldkeys.in_tpm)
    receiver = fleet.device("claimed", ES256, half_shown)
    handover(giver, receiver, "order-1")
    send(room, fleet, giver, receiver)
    assert levels(room) == {giver.id: 2, receiver.id: 0}


def test_a_rotation_brings_its_own_level(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("first"), fleet.device("other")
    fresh = fleet.device("next of first", ES256).signer
    giver.record(2)
    giver.seal()
    made = heldkeys.tpm2(
        fresh,
        fleet.name,
        id=giver.id,
        vouched=heldkeys.attester(fleet.name, fleet.root, at_s=VALID_S[0]),
    )
    change = keychange.rotate(
        giver.signer,
        fresh,
        fleet.name,
        giver.id,
        2,
        [["tpm2-certify", made.encode()]],
        [giver.epoch, giver.size, giver.root],
        VALID_S[0] * 1000,
    )
    giver.credential.append(change.sign(fleet.root, fleet.name, giver.id))
    giver.named, giver.signer = giver.id, fresh
    handover(giver, receiver, "order-1")
    send(room, fleet, giver, receiver)
    assert levels(room) == {giver.id: 2, receiver.id: 0}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "validator")
    made.giver = made.fleet.device("held", ES256, heldkeys.in_tpm)
    made.receiver = made.fleet.device("claimed", ES256, half_shown)
    made.fill()
    yield made
    made.close()


def test_the_device_read_shows_level_evidence_and_what_was_not_checked(world: World) -> None:
    held = world.http.get(f"/v1/devices/{device_text(world.giver.id)}").json()
    assert held["custody"] == "tpm"
    (key,) = held["keys"]
    assert key["key"] == b64u(world.giver.id)
    assert (key["custody"], key["claimed"], key["alg"]) == ("tpm", "tpm", "ES256")
    assert "the fleet root vouches" in key["shown"][0]
    assert key["not_proven"]
    assert key["not_checked"] == []
    claimed = world.http.get(f"/v1/devices/{device_text(world.receiver.id)}").json()
    assert claimed["custody"] == "software"
    (key,) = claimed["keys"]
    assert (key["custody"], key["claimed"]) == ("software", "secure-element")
    assert key["shown"] == []
    assert key["not_checked"] == [
        {"type": "atecc608-config", "why": "the data zone is not locked"},
        {"type": "tropic-01", "why": "a type of evidence that is not known here"},
    ]


def test_evidence_that_does_not_check_is_counted_and_said(tmp_path: Path) -> None:
    world = World(tmp_path / "validator")
    world.giver = world.fleet.device("held", ES256, heldkeys.in_tpm)
    world.receiver = world.fleet.device("claimed", ES256, half_shown)
    with capture_logs() as said:
        world.fill()
        # The same credential again adds nothing.
        world.fill()
    try:
        assert world.http.get("/v1/status").json()["refusals"]["bad-custody"] == 2
        told = [line for line in said if line["event"] == "custody-not-counted"]
        assert {line["id"] for line in told} == {device_text(world.receiver.id)}
        assert [line["why"] for line in told] == [
            "the data zone is not locked",
            "a type of evidence that is not known here",
        ]
    finally:
        world.close()


def in_chip(_fleet: Fleet, _signer: FileKey) -> tuple[int, list[Any]]:
    return 3, [["atecc608-config", heldkeys.atecc608().encode()]]


def test_one_slot_under_two_ids_is_shown_with_both(tmp_path: Path) -> None:
    world = World(tmp_path / "validator")
    world.giver = world.fleet.device("chip", ES256, in_chip)
    world.receiver = world.fleet.device("the same chip", ES256, in_chip)
    world.fill()
    try:
        for one, other in ((world.giver, world.receiver), (world.receiver, world.giver)):
            (key,) = world.http.get(f"/v1/devices/{device_text(one.id)}").json()["keys"]
            (line,) = [line for line in key["not_proven"] if device_text(other.id) in line]
            assert heldkeys.SERIAL.hex().upper() in line and "slot" in line
    finally:
        world.close()


def test_a_slot_of_one_id_is_shared_with_nobody(world: World) -> None:
    for device in (world.giver, world.receiver):
        (key,) = world.http.get(f"/v1/devices/{device_text(device.id)}").json()["keys"]
        assert not [line for line in key["not_proven"] if "is enrolled with" in line]
