"""What a stranger may send to a gateway, and what it costs: bombs (A11) and floods (A19)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.bombs import BOMBS
from support.devices import Fleet
from support.gateways import MemoryGateway
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.gateway import limits

ACME = Fleet("acme")
STRANGERS = 40
BURST = int(limits.CREDENTIAL_CHECKS_BURST)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, ACME)
    yield made
    made.worker.close()
    made.store.close()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each signature that is checked."""
    found: list[int] = []
    real = PublicKey.verify

    def counting(self: PublicKey, signature: bytes, message: bytes) -> None:
        found.append(len(message))
        real(self, signature, message)

    monkeypatch.setattr(PublicKey, "verify", counting)
    return found


def test_bombs_of_a_known_device_are_refused_before_any_signature(
    gate: MemoryGateway, checked: list[int]
) -> None:
    robot, other = ACME.device(), ACME.device("other")
    other.record(4)
    gate.know(robot)
    gate.know(other)
    checked.clear()
    gate.give(robot, *BOMBS.values(), bytes(SEGMENT_BYTES_MAX + 1))
    assert checked == []
    refused = gate.refused()
    assert sum(refused.values()) == len(BOMBS) + 1
    assert "internal-error" not in refused
    # Nobody else pays, and what comes after them is heard.
    gate.give(other, other.segment())
    assert gate.custody(other)[-1].to == other.size
    assert checked


def test_a_flood_of_unknown_devices_costs_no_signature(
    gate: MemoryGateway, checked: list[int]
) -> None:
    nobody, own = Fleet("nobody"), ACME.device()
    own.record(4)
    gate.know(own)
    checked.clear()
    for n in range(STRANGERS):
        stranger = nobody.device(f"stranger-{n}")
        stranger.record(4)
        # Also with an enrolment, by a root that nobody accepts.
        gate.give(stranger, *stranger.segments(), stranger.hello(), *stranger.segments())
    assert checked == []
    refused = gate.refused()
    assert refused["unknown-device"] + refused.get("over-quota", 0) >= 2 * STRANGERS
    assert gate.status()["devices"] == 1
    gate.give(own, own.segment())
    assert gate.custody(own)[-1].to == own.size


def test_enrolments_that_must_be_checked_have_a_rate(
    tmp_path: Path, checked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes an accepted root's key into a header makes a gateway check signatures."""
    # So slow that however long it takes none is allowed again.
    monkeypatch.setattr(limits, "CREDENTIAL_CHECKS_PER_S", 0.001)
    gate = MemoryGateway(tmp_path, ACME)
    own = ACME.device()
    own.record(4)
    gate.know(own)
    checked.clear()
    for n in range(BURST + 50):
        liar = ACME.device(f"liar-{n}")
        liar.credential = [liar.credential[0][:-1] + b"\0"]
        gate.send(liar, liar.hello())
    gate.turn()
    # An enrolment has two signatures, its possession's and the root's: one of them is wrong.
    assert BURST - 1 <= len(checked) <= 2 * BURST
    assert gate.refused()["over-quota"] >= 50
    gate.give(own, own.segment())
    assert gate.custody(own)[-1].to == own.size
    gate.worker.close()
    gate.store.close()
