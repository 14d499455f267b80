"""Proofs about devices: each near miss of a rollback or a missed interval is refused."""

from functools import partial
from typing import Any

import pytest

from support import guilt
from support.devices import VALID_S, key
from support.guilt import Guilt
from support.keychanges import rotate
from support.proven import left, refusal, refused, report, revoked
from support.story import START_MS, disclose
from tallystick.evidence import custody
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.deviceproofs import Disorder, Missed, Revived
from tallystick.evidence.errors import TallyError
from tallystick.evidence.half import Half

STORY = guilt.matched()


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["disorder", "revived"])
def test_a_stolen_key_convicts_nobody(name: str) -> None:
    made = guilt.ALL[name]()
    device = STORY.acme.device("arm-1")
    device.record(1)
    assert "compromised" in left(made._replace(credentials=[revoked(device, 2)]).file())


def test_a_head_beyond_the_end_of_its_key_convicts_nobody() -> None:
    made = guilt.disorder()
    device = STORY.acme.device("arm-1")
    device.record(1)
    assert "beyond the end" in left(made._replace(credentials=[revoked(device, 1)]).file())


def test_a_convicted_device_is_suspect() -> None:
    made = guilt.disorder()
    file = Guilt(STORY, made.proof, *guilt.claims_of(STORY)).file()
    statuses = {record.device: record.status for record in report(file).records}
    assert statuses == {STORY.giver.id: "suspect", STORY.receiver.id: "active"}


def a_gap(*steps_s: int, **changes: Any) -> tuple[Guilt, Missed]:
    device, log = guilt.log_with_a_gap(steps_s, **changes)
    proof = Missed(device.id, guilt.whole(log, 1))
    return Guilt(STORY, proof, [device.credential]), proof


@pytest.mark.parametrize(
    ("steps_s", "holds"),
    [((60, 60), False), ((60, 60, 1), True), ((61, 60), False), ((59,), False)],
)
def test_an_interval_counts_as_missed_past_the_way_of_a_head(
    steps_s: tuple[int, ...], holds: bool
) -> None:
    # The declared interval is 60 s, and a head may be on its way for as long.
    made, _ = a_gap(*steps_s)
    if holds:
        assert report(made.file()).proven
    else:
        assert refusal(made.file()).reason == "no-contradiction"


def test_a_validator_that_was_away_proves_nothing() -> None:
    made, proof = a_gap(50, 61, 50)
    assert proof.pause_ms == 61_000
    assert "not there" in refusal(made.file()).message


def test_a_gap_is_as_long_as_the_log_shows_it() -> None:
    # Its end left out: what is not shown is no gap.
    device, log = guilt.log_with_a_gap((50, 50, 50))
    proof = Missed(device.id, guilt.whole(log, 1, {1, 2, 3, 4}))
    assert proof.end_ms - proof.begin_ms == 100_000
    made = Guilt(STORY, proof, [device.credential])
    assert refusal(made.file()).reason == "no-contradiction"


def test_a_gap_without_end_is_one() -> None:
    made, _ = a_gap(50, 50, 50, back=False)
    assert report(made.file()).proven


def test_a_device_out_of_service_misses_nothing() -> None:
    device, log = guilt.log_with_a_gap()
    made = Guilt(STORY, Missed(device.id, guilt.whole(log, 1)), [])
    for reason in (0, 1):
        early = made._replace(credentials=[revoked(device, reason, START_MS + 1000)])
        assert "changed or ended" in refusal(early.file()).message
    late = made._replace(credentials=[revoked(device, 0, START_MS + 3_600_000)])
    assert report(late.file()).proven


def test_a_key_change_in_the_log_explains_a_gap() -> None:
    device, log = guilt.log_with_a_gap()
    log.entries.insert(4, revoked(device, 0)[-1])
    with pytest.raises(TallyError, match="key changed"):
        Missed(device.id, guilt.whole(log, 1))


def test_outside_the_enrolments_validity_nothing_is_missed() -> None:
    device, log = guilt.log_with_a_gap()
    credential = STORY.acme.enrol(device.signer, valid_s=(VALID_S[0], START_MS // 1000 + 100))
    made = Guilt(STORY, Missed(device.id, guilt.whole(log, 1)), [credential])
    assert "valid" in refusal(made.file()).message


def test_a_counter_that_falls_with_the_key_convicts_nobody() -> None:
    device = STORY.acme.device("arm-1")
    device.counter = 9
    first = device.record(2).checkpoint
    device.counter = 3
    proof = Disorder(first, device.record(2).checkpoint)
    assert proof.only_counter
    assert report(Guilt(STORY, proof, [device.credential]).file()).proven
    assert not guilt.disorder().proof.only_counter  # type: ignore[attr-defined]  # a Disorder


def test_two_logs_have_no_order() -> None:
    device, late, back = guilt.put_back()
    other = STORY.acme.device("arm-2")
    other.record(8)
    later = device.new_epoch(b"epoch--2")
    later.boot = 1
    later.record(8)
    for head in (other.stretches[0].checkpoint, later.stretches[0].checkpoint):
        assert refused(partial(Disorder, late, head)) == "no-contradiction"
    assert back


def test_an_epoch_is_revived_only_after_one_that_follows_it() -> None:
    device, later, first = guilt.two_epochs(counted=True)
    third = later.new_epoch(b"epoch--3")
    third.counter = 8
    third.event("epoch", previous=third.previous, reason="new")
    third.event("epoch", previous=[device.epoch, 1, bytes(32)], reason="new")
    third.event("boot", boot=1, cause="power-on", firmware=None, config=None)
    third.seal()
    stranger = STORY.acme.device("arm-2")
    stranger.record(1)
    foreign = stranger.new_epoch(b"epoch--2")
    foreign.counter = 8
    foreign.record(1)
    device.counter = 9
    head = device.record(1).checkpoint
    Revived(head, [first.encode(), disclose(third, 0).encode()], None)
    path = [bytes(32), *first.path[1:]]
    moved = Half(first.record, first.salt, 0, path, first.checkpoint, first.credential)
    for half in (
        disclose(third, 0),  # it follows another epoch
        disclose(third, 1),  # it is not the first record
        disclose(third, 2),  # it opens no epoch
        disclose(foreign, 0),  # another device's
        moved,  # not in the log that was signed
    ):
        wanted = {"no-contradiction", "bad-inclusion-proof"}
        assert refused(partial(Revived, head, [half.encode()], None)) in wanted


def test_custody_of_the_own_epoch_revives_nothing() -> None:
    # Every device names a receipt over the epoch that it is in.
    device, _, first = guilt.two_epochs(counted=False)
    signer, _ = STORY.gateways["acme"]
    made = CustodyReceipt(device.epoch, 0, device.size, device.root, True, START_MS)
    receipt = made.sign(signer, "acme", device.id)
    device.custody = custody.parse(receipt).digest
    head = device.record(1).checkpoint
    assert refused(lambda: Revived(head, [first.encode()], receipt)) == "no-contradiction"


def test_a_gap_begins_at_a_known_time() -> None:
    device, log = guilt.log_with_a_gap()
    assert refused(lambda: Missed(device.id, guilt.whole(log, 2))) == "no-contradiction"


def test_two_keys_may_count_in_two_chips() -> None:
    device = STORY.acme.device("arm-1")
    device.record(2)
    device.counter = 9
    first = device.record(2).checkpoint
    after = rotate(device, key("another chip of arm-1"))
    after.counter = 3
    proof = Disorder(first, after.record(2).checkpoint)
    assert proof.only_counter
    assert "two chips" in left(Guilt(STORY, proof, [after.credential]).file())
    later = after.new_epoch(b"epoch--2")
    later.named, later.counter = device.id, 8
    later.record(1)
    half = disclose(later, 0, embed=True)
    revived = Revived(first, [half.encode()], None)
    assert "chip of its own" in left(Guilt(STORY, revived, [after.credential]).file())
