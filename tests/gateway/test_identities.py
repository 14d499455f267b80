"""Who is known, and for how long: renewals, rotations, keys that belong to another."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import VALID_S, WALL_MS, Device, Fleet, key
from support.gateways import MemoryGateway
from support.keychanges import Rotated, head_of, revoke, rotate
from tallystick.evidence import enrolment
from tallystick.evidence.enrolment import possession_message
from tallystick.evidence.keychange import COMPROMISED, RETIRED, Revocation, Rotation
from tallystick.gateway.decisions import Refused
from tallystick.gateway.ingest import Instant, Message
from tallystick.hw.signer import Signer

ACME = Fleet("acme")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, ACME)
    yield made
    made.store.close()


def rotation(robot: Device, new: Signer) -> bytes:
    """The statement by which a device's key becomes `new`."""
    old, public = robot.signer.public_key(), new.public_key()
    head = [robot.epoch, robot.size, robot.root] if robot.size else None
    possession = new.sign(possession_message(public.alg, robot.id, ACME.name))

    def made(old_signature: bytes) -> Rotation:
        return Rotation(
            robot.id,
            old.thumbprint(),
            public,
            enrolment.CUSTODY_SOFTWARE,
            [],
            head,
            WALL_MS,
            None,
            possession,
            old_signature,
        )

    message = made(bytes(64)).old_message(old.alg)
    return made(robot.signer.sign(message)).sign(ACME.root, ACME.name, robot.id)


def stored_credential(gate: MemoryGateway, robot: Device) -> bytes:
    reader = gate.store.reader()
    (found,) = reader.execute(
        "SELECT credential FROM devices WHERE device = ?", (robot.id,)
    ).fetchone()
    reader.close()
    return bytes(found)


def test_a_rotated_key_goes_on_with_the_log(gate: MemoryGateway) -> None:
    robot = ACME.device()
    robot.record(3)
    gate.give(robot, robot.hello(), robot.segment())
    identity = robot.id
    new = key("second key of robot-1")
    robot.credential = [*robot.credential, rotation(robot, new)]
    rotated = Rotated(robot, new, robot.credential)
    rotated.record(3)
    gate.give(rotated, rotated.segment(1))
    assert gate.refused() == {"wrong-key": 1}
    gate.give(rotated, rotated.hello(), rotated.segment(1))
    assert gate.custody(rotated)[-1].to == rotated.size
    assert rotated.id == identity
    # An old hello, replayed, does not undo it.
    before = stored_credential(gate, rotated)
    robot.credential = robot.credential[:1]
    gate.give(rotated, robot.hello())
    assert stored_credential(gate, rotated) == before
    rotated.record(2)
    gate.give(rotated, rotated.segment(2))
    assert gate.custody(rotated)[-1].to == rotated.size


def test_what_an_old_key_goes_on_with_is_kept_and_makes_nobody_suspect(
    gate: MemoryGateway,
) -> None:
    robot = ACME.device()
    robot.record(3)
    gate.give(robot, robot.hello(), robot.segment())
    thief = robot.clone()
    renewed = rotate(robot, key("second key of robot-1"))
    renewed.record(3)
    gate.give(renewed, renewed.hello(), renewed.segment(1))
    thief.decision("let go")
    thief.record(2)
    gate.give(renewed, thief.segment(1, edge=True))
    renewed.record(2)
    gate.give(renewed, renewed.segment(2))
    assert gate.custody(renewed)[-1].to == renewed.size
    status = gate.status()
    assert status["suspect"] == []
    assert (status["forks"], len(gate.ranges())) == (1, 4)


@pytest.mark.parametrize("named", [True, False])
def test_what_a_compromised_old_key_goes_on_with_makes_nobody_suspect(
    gate: MemoryGateway, named: bool
) -> None:
    robot = ACME.device()
    robot.record(3)
    robot.seal()
    thief = robot.clone()
    robot.record(2)
    robot.seal()
    head = head_of(robot)
    first = robot.signer.public_key().thumbprint()
    renewed = rotate(robot, key("second key of robot-1"))
    renewed.credential = revoke(renewed, COMPROMISED, head if named else None, key=first)
    gate.give(renewed, renewed.hello(), *renewed.segments())
    thief.decision("let go")
    thief.record(1)
    gate.give(renewed, thief.segment(1, edge=True))
    status = gate.status()
    assert (status["suspect"], status["forks"]) == ([], 1)


def test_a_key_that_is_another_devices_is_refused(gate: MemoryGateway) -> None:
    one, two = ACME.device("one"), ACME.device("two")
    gate.know(one, two)
    one.credential = [*one.credential, rotation(one, two.signer)]
    gate.give(one, one.hello())
    assert gate.refused() == {"already-enrolled": 1}


def test_a_renewed_enrolment_replaces_an_older_one_and_not_the_reverse(
    gate: MemoryGateway,
) -> None:
    robot = ACME.device()
    first = robot.credential
    gate.give(robot, robot.hello())
    robot.credential = ACME.enrol(robot.signer, valid_s=(VALID_S[0], VALID_S[1] + 9))
    gate.give(robot, robot.hello())
    renewed = stored_credential(gate, robot)
    robot.credential = first
    gate.give(robot, robot.hello())
    assert stored_credential(gate, robot) == renewed
    gate.reopen()
    gate.give(robot, robot.hello())
    assert stored_credential(gate, robot) == renewed


def test_what_comes_after_the_enrolment_ended_is_refused(gate: MemoryGateway) -> None:
    robot = ACME.device()
    robot.record(2)
    gate.know(robot)
    late = Instant((VALID_S[1] + 1) * 1000, time.monotonic())
    topic = f"tallystick/1/{robot.text}/up"
    for payload in (robot.segment(), robot.hello()):
        (refused, *_) = gate.worker.core.handle(Message(topic, payload), late)
        assert isinstance(refused, Refused)
        assert refused.reason == "expired"


def test_what_a_revoked_key_signed_is_kept_for_validators_to_judge(gate: MemoryGateway) -> None:
    robot = ACME.device()
    robot.record(2)
    revoked = Revocation(
        robot.id,
        robot.signer.public_key().thumbprint(),
        [robot.epoch, robot.size, robot.root],
        RETIRED,
        WALL_MS,
    ).sign(ACME.root, ACME.name, robot.id)
    robot.credential = [*robot.credential, revoked]
    gate.give(robot, robot.hello(), robot.segment())
    assert gate.custody(robot)[-1].to == robot.size


def test_a_root_that_is_pinned_no_more_vouches_for_nobody(
    gate: MemoryGateway, tmp_path: Path
) -> None:
    robot = ACME.device()
    robot.record(2)
    gate.know(robot)
    gate.store.close()
    gate.roots = Fleet("globex").roots
    gate.open()
    gate.give(robot, robot.segment())
    assert gate.refused() == {"unknown-device": 1}
