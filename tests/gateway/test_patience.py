"""A batch goes when it is full or old enough; what is urgent never waits."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.test_preparing import MOST, Yard
from support.devices import Fleet
from support.site import Site
from tallystick.evidence.errors import Malformed
from tallystick.gateway import config as configs
from tallystick.gateway import draining, limits
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.patience import Patience
from tallystick.gateway.service import Gateway
from tallystick.gateway.store import Store
from tallystick.gateway.validatorconfig import ValidatorConfig

ACME = Fleet("acme")
LONG_S = 1_000.0


def test_what_waits_is_as_old_as_its_first() -> None:
    patience = Patience(2.0)
    # What was here at the start has waited long enough.
    assert patience.left_s(10.0) == 0
    patience.sent(10.0)
    patience.nothing()
    assert patience.left_s(100.0) == 2.0
    assert patience.left_s(101.5) == 0.5
    assert patience.left_s(103.0) == 0
    # What came while a batch was under way came after that was built.
    patience.sent(103.0)
    assert patience.left_s(104.0) == 1.0
    # One that was built long ago, for another validator, makes nothing older than it is.
    patience.sent(50.0)
    assert patience.left_s(104.0) == 1.0


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", MOST)
    made = Yard(tmp_path)
    made.choice._patience = Patience(LONG_S)
    yield made
    made.close()


def begun(yard: Yard) -> int:
    """After what was here at the start: the cursor."""
    yard.fill(1)
    first = yard.choice.next(0, MOST)
    assert first is not None and first.to == 3
    yard.answer(first)
    yard.choice.answered(first, expected=True)
    assert yard.choice.next(3, MOST) is None
    assert yard.choice.waits_s > LONG_S  # nothing is here that could wait
    return 3


def give(yard: Yard, count: int) -> None:
    for _ in range(count):
        yard.robots[0].record(1)
        yard.gate.give(yard.robots[0], yard.robots[0].segments()[-1])


def test_it_waits_until_it_is_full_in_segments(yard: Yard) -> None:
    cursor = begun(yard)
    give(yard, MOST - 1)
    assert yard.choice.next(cursor, MOST) is None
    assert LONG_S / 2 < yard.choice.waits_s <= LONG_S
    give(yard, 1)
    built = yard.choice.next(cursor, MOST)
    assert built is not None and built.full


def test_it_waits_until_it_is_full_in_bytes(yard: Yard) -> None:
    cursor = begun(yard)
    give(yard, 1)
    assert yard.choice.next(cursor, MOST) is None
    yard.builder.bytes_max = 100
    assert yard.choice.next(cursor, MOST) is not None


def test_it_waits_until_it_is_old(yard: Yard) -> None:
    cursor = begun(yard)
    give(yard, 1)
    assert yard.choice.next(cursor, MOST) is None
    yard.choice._patience.age_s = 0.000_001
    assert yard.choice.next(cursor, MOST) is not None


def test_after_a_quiet_time_the_first_waits_again(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = begun(yard)
    later_s = time.monotonic() + 2 * LONG_S
    monkeypatch.setattr("tallystick.gateway.choosing.time.monotonic", lambda: later_s)
    give(yard, 1)
    assert yard.choice.next(cursor, MOST) is None
    assert yard.choice.waits_s == LONG_S


def test_what_is_urgent_never_waits(yard: Yard) -> None:
    cursor = begun(yard)
    give(yard, 2)
    assert yard.choice.next(cursor, MOST) is None
    yard.urgent.add(cursor + 1)
    built = yard.choice.next(cursor, MOST)
    assert built is not None and built.to == cursor + 2


def test_what_was_held_back_never_waits(yard: Yard) -> None:
    cursor = begun(yard)
    give(yard, 1)
    with yard.gate.store.write_aside() as connection:
        yard.holding.note(connection, [(yard.robots[1].id, 1)])
    yard.holding.answered([(yard.robots[1].id, 1)], None)
    built = yard.choice.next(cursor, MOST)
    assert built is not None and built.late == yard.robots[1].id


def test_a_validator_that_is_tried_again_gets_its_one_segment_at_once(yard: Yard) -> None:
    cursor = begun(yard)
    give(yard, 1)
    assert yard.choice.next(cursor, MOST) is None
    assert yard.choice.next(cursor, 1) is not None


# --- the configuration -------------------------------------------------------------------------


def site_of(folder: Path, line: str) -> Site:
    lines = ["[[validators]]", 'name = "far"', 'url = "http://127.0.0.1:1"']
    lines += [f'key = "{ACME.root_line}"', line, ""]
    return Site(folder, ACME, 1, validators="\n".join(lines))


@pytest.mark.parametrize(
    ("line", "age_s"),
    [
        ("", limits.BATCH_AGE_S),
        ("batch_age_s = 0", 0.0),
        ("batch_age_s = 1.5", 1.5),
        (f"batch_age_s = {limits.BATCH_AGE_S_MAX}", limits.BATCH_AGE_S_MAX),
    ],
)
def test_the_age_is_configured(tmp_path: Path, line: str, age_s: float) -> None:
    (validator,) = site_of(tmp_path, line).config.validators
    assert validator.batch_age_s == age_s


@pytest.mark.parametrize("value", ["-0.1", "30.1", "nan", "inf"])
def test_an_age_without_sense_is_refused_by_its_name(tmp_path: Path, value: str) -> None:
    with pytest.raises(Malformed, match=r"validators\.far\.batch_age_s"):
        configs.load(site_of(tmp_path, f"batch_age_s = {value}").path)


def test_a_reload_takes_another_age_over(tmp_path: Path) -> None:
    site = site_of(tmp_path, "batch_age_s = 5")
    gateway = Gateway(site.config)
    try:
        (before,) = gateway.forwarders
        assert before._choice._patience.age_s == 5
        text = site.path.read_text()
        site.path.write_text(text.replace("batch_age_s = 5", "batch_age_s = 0"))
        gateway.reloading.turn()
        assert gateway.reloading.error == ""
        (after,) = gateway.forwarders
        assert after._choice._patience.age_s == 0
    finally:
        before.close()
        gateway.stop()


def test_a_drain_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ValidatorConfig] = []

    def made(peer: object, *arguments: object, **more: object) -> object:
        seen.append(peer.config)  # type: ignore[attr-defined]
        return Forwarder(peer, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(draining, "Forwarder", made)
    site = site_of(tmp_path, "batch_age_s = 30")
    Store(site.config.store).close()
    draining.drain(site.config, threading.Event(), 0.0)
    assert [one.batch_age_s for one in seen] == [0.0]
