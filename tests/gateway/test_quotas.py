"""A19: a gateway obeys a validator's signed refusals; nothing is lost and nobody else waits."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.test_forward import ACME, Sending, get, robot_of, size_at
from support.devices import key
from support.notary import Notary
from support.site import until
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import device_text
from tallystick.evidence.quotarefusal import QuotaRefusal, parse
from tallystick.gateway import limits
from tallystick.gateway.built import Built
from tallystick.gateway.peers import Peer
from tallystick.gateway.quotas import Holding, wall_ms
from tallystick.gateway.store import set_meta
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.validator.quotaconfig import parse_quotas

# 20 records at once, then 20 a second: a batch of 100 is refused for the four seconds after it.
TIGHT = {"records_per_s": 20, "burst_s": 1}
SEGMENTS = 20  # of a batch; each has four records
BATCH = sha256(b"a batch")


class Strict(Notary):
    """A validator that takes little of one holder."""

    def tighten(self, holder: str) -> "Strict":
        self._config = replace(self._config, quotas=parse_quotas({holder: TIGHT}))
        return self


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    made = Sending(tmp_path / "gateway")
    yield made
    made.close()


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strict]:
    # One batch follows the other at once, however slow this machine is.
    monkeypatch.setattr(limits, "BATCH_SEGMENTS", SEGMENTS)
    made = Strict(tmp_path / "notary", ACME)
    yield made
    made.stop()


def row(sending: Sending) -> dict[str, Any]:
    return dict(sending.validator())


def test_a_device_that_must_wait_holds_up_nobody(sending: Sending, strict: Strict) -> None:
    strict.tighten("device").start()
    noisy, quiet = robot_of(sending, 2 * SEGMENTS), robot_of(sending, 3, "robot-2")
    sending.gate.give(noisy, *noisy.segments())
    sending.gate.give(quiet, *quiet.segments())
    sending.add(strict)
    sending.sent(2 * SEGMENTS + 3)
    assert size_at(strict, quiet) == (12, 13)
    seen = row(sending)
    (said,) = seen["quotas"]
    assert seen["held"] == SEGMENTS or wall_ms() >= said["until_ms"]
    assert (said["holder"], said["key"], said["quota"]) == ("device", noisy.text, "records_per_s")
    assert said["limit"] == 20 and said["until_ms"] > said["since_ms"]
    # Signed, and kept as it came: whoever has the validator's key can check it.
    assert parse(_octets(said["refusal"])).iss == "notary"
    # After its time all of it is there, in order, once.
    until(lambda: size_at(strict, noisy) == (160, 161), "what was held back")
    assert wall_ms() >= said["until_ms"], "and not before"
    heads: Any = get(strict, "/v1/heads")["heads"]
    logged = {head["device"]: head["entry"] for head in heads}
    assert logged[quiet.text] < logged[noisy.text], "the other one did not wait"
    until(lambda: row(sending)["held"] == 0, "nothing is held")
    assert row(sending)["set_aside"] == 0


def _octets(text: str) -> bytes:
    from tallystick.evidence.keys import from_b64u

    return from_b64u(text, len(text) * 3 // 4)


def test_a_restart_forgets_neither_the_refusal_nor_what_waits(
    sending: Sending, strict: Strict
) -> None:
    strict.tighten("device").start()
    noisy = robot_of(sending, 2 * SEGMENTS)
    sending.gate.give(noisy, *noisy.segments())
    sending.add(strict)
    sending.sent(2 * SEGMENTS)
    seen = row(sending)
    (said,) = seen["quotas"]
    assert seen["held"] == SEGMENTS or wall_ms() >= said["until_ms"]
    sending.restart()
    quiet = robot_of(sending, 1, "robot-2")
    made = sending.add(strict)
    assert made._holding.holds(noisy.id) or wall_ms() >= said["until_ms"]
    sending.give(quiet, *quiet.segments())
    sending.sent(2 * SEGMENTS + 1)
    until(lambda: size_at(strict, noisy) == (160, 161), "what was held back")
    assert wall_ms() >= said["until_ms"]


@pytest.mark.parametrize("holder", ["gateway", "fleet"])
def test_all_of_a_gateway_waits_when_the_quota_is_its_own(
    sending: Sending, strict: Strict, holder: str
) -> None:
    strict.tighten(holder).start()
    robot = robot_of(sending, 2 * SEGMENTS)
    sending.gate.give(robot, *robot.segments())
    sending.add(strict)
    until(lambda: row(sending)["quotas"], "the refusal")
    (said,) = row(sending)["quotas"]
    assert said["holder"] == holder
    sending.sent(2 * SEGMENTS)
    assert wall_ms() >= said["until_ms"], "it waited as long as it was asked to"
    assert size_at(strict, robot) == (160, 161)
    assert strict.service is not None
    refused = strict.service.sequencer.refusals.totals()["over-quota"]
    assert refused == 1, "and asked once"


# --- what is believed -----------------------------------------------------------------------

VALIDATOR, STRANGER, DEVICE = key("a validator"), key("a stranger"), key("a device")


@pytest.fixture
def holding(sending: Sending) -> Holding:
    config = ValidatorConfig(name="notary", url="http://x", key=None)
    peer = Peer(config, "notary", VALIDATOR.public_key())
    return Holding(peer, sending.gate.signing.gateway, sending.gate.store)


def refusal(
    sending: Sending, *, by: Any = VALIDATOR, iss: str = "notary", to: bytes = b"",
    wait_ms: int = 9_000, batch: bytes = BATCH, device: bytes | None = None,
) -> bytes:  # fmt: skip
    device = DEVICE.public_key().thumbprint() if device is None else device
    made = QuotaRefusal(batch, "device", device, "bytes_per_day", 5, 6, 1_000, 1_000 + wait_ms)
    return made.sign(by, iss, to or sending.gate.signing.gateway)


def sent() -> Built:
    return Built(0, 1, b"", digest=BATCH, devices={DEVICE.public_key().thumbprint(): None})


def test_a_refusal_is_obeyed_by_our_own_clock(sending: Sending, holding: Holding) -> None:
    device = DEVICE.public_key().thumbprint()
    holding.obey(sent(), [refusal(sending)])
    assert holding.holds(device)
    # The validator's clock says 1970: only how long it asks for counts.
    kept = sending.gate.store.reader().execute("SELECT since_ms, until_ms FROM quota_refusals")
    ((since_ms, until_ms),) = kept.fetchall()
    assert until_ms - since_ms == 9_000 and abs(since_ms - wall_ms()) < 60_000


FORGED = {
    "by a stranger": {"by": STRANGER},
    "under another name": {"iss": "acme"},
    "to another gateway": {"to": bytes(32)},
    "of another batch": {"batch": bytes(32)},
    "of a device that was not sent": {"device": bytes(32)},
}


@pytest.mark.parametrize("changed", FORGED.values(), ids=FORGED)
def test_no_other_refusal_makes_anybody_wait(
    sending: Sending, holding: Holding, changed: dict[str, Any]
) -> None:
    with pytest.raises(TallyError):
        holding.obey(sent(), [refusal(sending, **changed)])
    assert not holding.holds(DEVICE.public_key().thumbprint())
    assert holding.wait_s() == 0
    reader = sending.gate.store.reader()
    assert reader.execute("SELECT count(*) FROM quota_refusals").fetchone() == (0,)
    reader.close()


def test_a_good_one_among_bad_ones_counts(sending: Sending, holding: Holding) -> None:
    holding.obey(sent(), [b"junk", refusal(sending, by=STRANGER), refusal(sending)])
    assert holding.holds(DEVICE.public_key().thumbprint())


def test_a_clock_that_was_set_back_makes_nobody_wait_for_years(
    sending: Sending, holding: Holding
) -> None:
    holding.obey(sent(), [refusal(sending)])
    with sending.gate.store.write() as connection:
        connection.execute("UPDATE quota_refusals SET until_ms = until_ms + 31536000000")
    holding._until.clear()
    holding.reload()
    assert not holding.holds(DEVICE.public_key().thumbprint())


def test_an_answer_of_429_without_a_good_refusal_is_a_failure(
    sending: Sending, strict: Strict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again with growing waits, and counted; a liar cannot silence a device."""
    from tallystick.gateway.http import Http, Refusal

    asked: list[float] = []

    def lies(_self: Http, path: str, _body: bytes, _headers: dict[str, str]) -> bytes:
        asked.append(time.monotonic())
        text = "AAAA" if len(asked) % 2 else "%%%%"
        raise Refusal("over-quota", "go away", 429, None, (text,))

    strict.start()
    robot = robot_of(sending, 1)
    with monkeypatch.context() as patched:
        patched.setattr(Http, "post", lies)
        sending.add(strict)
        sending.give(robot, *robot.segments())
        until(lambda: len(asked) >= 3, "three tries")
        assert row(sending)["quotas"] == [] and row(sending)["held"] == 0
    sending.sent(1)
    assert sum(sending.gate.refused().values()) >= 3


def test_newer_segments_of_a_device_wait_behind_those_that_wait(
    sending: Sending, holding: Holding
) -> None:
    """Or a validator would see its log begin in the middle."""
    device = DEVICE.public_key().thumbprint()
    holding.obey(sent(), [refusal(sending, wait_ms=1)])
    until(lambda: not holding.holds(device), "its end")
    with sending.gate.store.write_aside() as connection:
        holding.note(connection, [(device, 7)])
    holding.answered([(device, 7)], None)
    assert holding.holds(device) and holding.due() == device
    with sending.gate.store.write_aside() as connection:
        assert not holding.sent(connection, device, {7})
    holding.answered([], device)
    assert not holding.holds(device) and holding.due() is None


def test_the_status_says_who_waits_and_until_when(sending: Sending, holding: Holding) -> None:
    from click.testing import CliRunner

    from tallystick.evidence import cbor
    from tallystick.tools.main import cli

    folder = sending.gate.path.parent
    (folder / "credential.cbor").write_bytes(cbor.encode(list(sending.gate.credential)))
    config = folder / "gateway.toml"
    config.write_text(
        f'name = "gate"\nfleet = "acme"\nkey = "file:key"\ncredential = "credential.cbor"\n'
        f'store = "{sending.gate.path}"\nroots = ["{ACME.root_line}"]\n'
    )
    holding.obey(sent(), [refusal(sending, wait_ms=3_600_000)])
    device = DEVICE.public_key().thumbprint()
    peer = {"name": "borealis", "organisation": "B", "valid_until_s": 2_000_000_000}
    told = [{**peer, "state": "expires-soon", "problem": "it is [bold]old[/] (replayed)"}]
    process = {"running": True, "connected": True, "error": "", "not_taken": 0,
               "not_sent_down": 0, "clients_replaced": 0, "circle": told}  # fmt: skip
    with sending.gate.store.write_aside() as connection:
        holding.note(connection, [(device, 3), (device, 4)])
        connection.execute(
            "INSERT INTO validators (name, key, cursor, verdicts_after, batches) "
            "VALUES ('notary', x'00', 5, 0, 1)"
        )
        set_meta(connection, "state", msgspec.json.encode(process))
    shown = CliRunner().invoke(cli, ["gateway", "status", "--config", str(config)]).output
    assert f"notary takes no more of the device {device_text(device)} until" in shown
    assert "bytes_per_day is 5" in shown and "2 segments wait for notary" in shown
    assert "peer borealis: expires-soon until 2033-05-18" in shown
    assert "changes nothing: it is [bold]old[/] (replayed)" in shown
