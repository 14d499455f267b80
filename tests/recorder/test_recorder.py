"""The recorder against an honest gateway, over an uplink in memory."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from support.station import FLEET, Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.checkpoint import parse as parse_checkpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.event import Event
from tallystick.evidence.half import parse as parse_half
from tallystick.evidence.resend import Resend
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


class Site:
    """A recorder that is polled by the test, its link and its gateway."""

    def __init__(
        self, fleet: Fleet, config: dict[str, Any], station: Station | None = None
    ) -> None:
        self.config = config
        self.station = station or Station(fleet, read_credential(config))
        self.link = MemoryUplink()
        self.tally = Recorder.open(config, uplink=self.link, background=False)

    def turn(self, turns: int = 60, until: Any = None) -> None:
        for _ in range(turns):
            self.tally.poll(1)
            for message in self.link.take():
                for answer in self.station.answer(message):
                    self.link.deliver(answer)
            if until is not None and until():
                return
            time.sleep(0.002)
        if until is not None:
            pytest.fail(f"not reached: {self.tally.health.as_dict()}")

    def settle(self) -> None:
        self.turn(20)  # the link's first event is a record too
        self.tally.flush()
        self.turn(2000, lambda: self.tally.backlog() == 0)

    def decide(self, number: int) -> None:
        self.tally.decision(
            model="grasp-net@3f2a91",
            inputs={"n": number},
            constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
            output={"action": "grip"},
        )

    def decisions(self) -> list[int]:
        found = []
        for item in self.station.records[self.tally.epoch]:
            parsed = record.parse(item)
            if isinstance(parsed, Decision):
                found.append(parsed.inputs["n"])
        return found

    def events(self, name: str) -> list[Event]:
        parsed = [record.parse(item) for item in self.station.records[self.tally.epoch]]
        return [one for one in parsed if isinstance(one, Event) and one.event == name]


def test_decisions_arrive_once_and_in_order(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one"))
    for number in range(100):
        site.decide(number)
    site.settle()
    assert site.decisions() == list(range(100))
    assert site.station.records[site.tally.epoch][0][1] == 2
    assert site.events("epoch")[0].details == {"previous": None, "reason": "new"}
    assert site.events("boot")[0].details["boot"] == 1
    assert site.tally.health.faults == {}
    assert site.tally.health.refused == {}
    assert site.tally.health.custody > 0
    site.tally.close()


def test_bytes_added_to_a_decision(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one", checkpoint_records=64, checkpoint_s=100))
    site.settle()
    for number in range(64 * 3):
        site.decide(number)
        site.tally.poll(1)
    site.settle()
    full = [one for one in site.station.segments if one.to - one.first == 64]
    assert full
    for one in full:
        items = sum(len(item) for item in one.stretches[0].items if isinstance(item, bytes))
        assert (len(one.segment.encode()) - items) / 64 <= 8


def test_a_second_boot_goes_on(fleet: Fleet) -> None:
    config = fleet.device("one")
    first = Site(fleet, config)
    for number in range(10):
        first.decide(number)
    first.settle()
    first.tally.close()
    second = Site(fleet, config, first.station)
    second.decide(10)
    second.settle()
    assert second.tally.epoch == first.tally.epoch
    assert second.decisions() == list(range(11))
    assert [one.details["boot"] for one in second.events("boot")] == [1, 2]
    assert len(second.events("epoch")) == 1


def test_what_a_crash_left_unsealed_is_sealed_as_soon_as_anything(fleet: Fleet) -> None:
    config = fleet.device("one", checkpoint_s=0.05, checkpoint_records=1000, interval_s=3600)
    first = Recorder.open({**config, "checkpoint_s": 3600}, background=False)
    first.decision(model="m@1", inputs={"n": 1}, output={})
    first._ledger.journal.sync(first._ledger.lock)
    assert first.health.checkpoints == 0
    left = f"{config['journal']}-left"
    shutil.copytree(config["journal"], left)
    first.close()
    again = Recorder.open({**config, "journal": left}, background=False)
    time.sleep(0.06)
    while again.poll():
        pass
    assert again.health.checkpoints == 1
    again.close()


def test_urgent_is_durable_and_signed_on_return(fleet: Fleet) -> None:
    config = fleet.device("one", checkpoint_s=1000, checkpoint_records=1000)
    tally = Recorder.open(config, background=False)
    tally.decision("m", {"n": 1}, output="stop", urgent=True)
    assert tally._ledger.sendable == tally._ledger.log.ordinal == 1
    assert tally._ledger.log.unsealed == 0


def test_claim_and_accept(fleet: Fleet) -> None:
    giver = Site(fleet, fleet.device("giver"))
    receiver = Site(fleet, fleet.device("receiver"))
    half = giver.tally.claim(
        "handover@1",
        task="order-4711",
        role="giver",
        claim="released",
        peers={"receiver": receiver.tally.device},
        constraints={"speed_m_s": ("<=", "0.5")},
        item="pallet-7",
        position_m=["1.20", 3.4],
        speed_m_s=0.25,
    )
    assert len(half) < 2560
    accepted = receiver.tally.accept(half)
    assert accepted.claim.fields["item"] == "pallet-7"
    assert accepted.claim.constraints["speed_m_s"][2:] == ["m/s", True]
    assert accepted.device == giver.tally.device
    other = receiver.tally.claim(
        "handover@1",
        task="order-4711",
        role="receiver",
        claim="acquired",
        peers={"giver": giver.tally.device},
        relied=[half],
        item="pallet-7",
        position_m=["1.21", "3.40"],
    )
    back = giver.tally.accept(other)
    assert back.claim.relied == [accepted.reference]
    assert back.claim.party_set() == accepted.claim.party_set()
    for site in (giver, receiver):
        site.settle()
        kinds = [item[1] for item in site.station.records[site.tally.epoch]]
        assert kinds.count(1) == 1
        assert kinds.count(3) == 1
    with pytest.raises(Unverified) as own:
        giver.tally.accept(half)
    assert own.value.reason == "not-a-party"


def test_accept_refuses_what_does_not_hold_together(fleet: Fleet, tmp_path: Path) -> None:
    giver = Site(fleet, fleet.device("giver"))
    receiver = Site(fleet, fleet.device("receiver"))
    third = Site(fleet, fleet.device("third"))
    stranger = Recorder.open(Fleet(tmp_path / "other").device("x"), background=False)
    half = handover(giver, receiver.tally.device)
    with pytest.raises(Unverified) as foreign:
        stranger.accept(half)
    assert foreign.value.reason in ("not-enrolled", "bad-signature", "wrong-key")
    with pytest.raises(Unverified) as party:
        third.tally.accept(half)
    assert party.value.reason == "not-a-party"
    for at in range(0, len(half), 7):
        broken = bytearray(half)
        broken[at] ^= 1
        try:
            accepted = receiver.tally.accept(bytes(broken))
        except (Malformed, Unverified):
            continue
        # Other bytes of a root's signature that was verified before: the same content.
        assert accepted.claim.encode() == parse_half(half).record
        assert accepted.half.credential != parse_half(half).credential
    with pytest.raises(Malformed):
        receiver.tally.accept(b"")
    assert receiver.tally.health.dropped == 0


def handover(site: Site, other: bytes, **more: Any) -> Any:
    return site.tally.claim(
        "handover@1",
        task="order-4711",
        role="giver",
        claim="released",
        peers={"receiver": other},
        item="pallet-7",
        position_m=["1.20", "3.40"],
        **more,
    )


def test_handles(fleet: Fleet) -> None:
    giver = Site(fleet, fleet.device("giver"))
    receiver = Site(fleet, fleet.device("receiver"))
    handles = [handover(giver, receiver.tally.device, wait=False) for _ in range(5)]
    assert not handles[0].ready
    with pytest.raises(Exception, match="poll"):
        handles[0].result()
    giver.turn(20)
    assert all(handle.ready for handle in handles)
    indexes = [parse_half(handle.result()).index for handle in handles]
    assert indexes == sorted(set(indexes))
    accepted = [receiver.tally.accept(handle.result(), wait=False) for handle in handles]
    receiver.turn(30)
    assert [one.result().index for one in accepted] == indexes
    wrong = receiver.tally.accept(b"\x00", wait=False)
    receiver.turn(5)
    assert wrong.ready
    with pytest.raises(Malformed):
        wrong.result()


@pytest.mark.parametrize(
    "call",
    [
        lambda tally: tally.decision(model=7),
        lambda tally: tally.decision("m", inputs={"x": object()}),
        lambda tally: tally.decision("m", inputs={"x": float("nan")}),
        lambda tally: tally.decision("m", constraints={"x": (1, "~", 2)}),
        lambda tally: tally.decision("m", inputs={"x": "y" * 5000}),
        lambda tally: tally.event("boot"),
        lambda tally: tally.claim("none@1", role="giver", claim="x", peers={}, task="t"),
        lambda tally: tally.claim("handover@1", role="giver", claim="x", peers={}, task="t"),
        lambda tally: tally.claim("handover@1", role="giver", claim="released", peers={}),
        lambda tally: tally.claim(
            "handover@1", role="giver", claim="released", peers={}, task="t", item=5, position_m=[]
        ),
        lambda tally: tally.claim(
            "handover@1",
            role="giver",
            claim="released",
            peers={"receiver": bytes(32)},
            task="t",
            item="x" * 1000,
            position_m=["123456.789"] * 330,
        ),
        lambda tally: tally.decision(model={"name": "m"}),
        lambda tally: tally.decision(model=("m", ["1"], None)),
        lambda tally: tally.claim(
            "handover@1",
            role="giver",
            claim="released",
            peers={"taker": bytes(32)},
            task="t",
            item="x",
            position_m=["1"],
        ),
        lambda tally: tally.claim("../x@1", role="giver", claim="released", peers={}, task="t"),
    ],
)
def test_a_wrong_argument_raises_and_records_nothing(fleet: Fleet, call: Any) -> None:
    tally = Recorder.open(fleet.device("one"), background=False)
    before = tally.health.records
    with pytest.raises(Malformed):
        call(tally)
    assert tally.health.records == before


def test_what_comes_after_close_is_counted_and_not_written(fleet: Fleet) -> None:
    config = fleet.device("one")
    tally = Recorder.open(config, background=False)
    tally.decision("m", {"n": 1})
    tally.close()
    files = {path: path.read_bytes() for path in Path(config["journal"]).iterdir()}
    tally.decision("m", {"n": 2})
    assert tally.health.dropped == 1
    assert "'dropped': 1" in repr(tally.health)
    assert {path: path.read_bytes() for path in Path(config["journal"]).iterdir()} == files


def test_no_setting_makes_a_device_quieter_than_its_enrolment(fleet: Fleet) -> None:
    tally = Recorder.open(fleet.device("one", interval_s=100_000), background=False)
    assert tally._ledger.policy.interval_ms == 60_000
    tally.close()


# Custody.


def test_forged_custody_frees_nothing(fleet: Fleet, tmp_path: Path) -> None:
    site = Site(fleet, fleet.device("one"))
    site.station.silent = True
    for number in range(30):
        site.decide(number)
    site.tally.flush()
    site.turn(200, lambda: len(site.station.heads) > 0 and site.tally.health.sent >= 4)
    epoch = site.tally.epoch
    tree = site.station.trees[epoch]
    stranger = Signer.create(f"file:{tmp_path / 'stranger'}")
    good = CustodyReceipt(epoch, 0, tree.size, tree.root(), True, 1)
    device = site.tally.device
    signed = bytearray(good.sign(fleet.gateway, FLEET, device))
    signed[-1] ^= 1
    forged = {
        "wrong-key": good.sign(stranger, FLEET, device),
        "bad-signature": bytes(signed),
        "bad-root": CustodyReceipt(epoch, 0, tree.size, b"r" * 32, True, 1).sign(
            fleet.gateway, FLEET, device
        ),
        "wrong-device": good.sign(fleet.gateway, FLEET, bytes(32)),
        "frozen-epoch": CustodyReceipt(b"e" * 8, 0, tree.size, tree.root(), True, 1).sign(
            fleet.gateway, FLEET, device
        ),
        "bad-value": CustodyReceipt(epoch, 0, tree.size, tree.root(), False, 1).sign(
            fleet.gateway, FLEET, device
        ),
    }
    for reason, message in forged.items():
        site.link.deliver(message)
        site.turn(5)
        assert site.tally.health.refused.get(reason) == 1, reason
        assert site.tally.backlog() == site.tally._ledger.log.tree.size
    # Honest, and yet it says nothing of what lies before it.
    behind = CustodyReceipt(epoch, 5, tree.size, tree.root(), True, 1)
    site.link.deliver(behind.sign(fleet.gateway, FLEET, device))
    site.turn(5)
    assert site.tally.health.refused["bad-value"] == 2
    assert site.tally.backlog() == site.tally._ledger.log.tree.size
    site.link.deliver(good.sign(fleet.gateway, FLEET, device))
    site.turn(5)
    assert site.tally.backlog() == site.tally._ledger.log.tree.size - tree.size


def test_an_idle_device_checkpoints_and_names_new_custody(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one", interval_s=0.1))
    site.settle()
    before = len(site.station.heads)
    site.turn(400, lambda: len(site.station.heads) >= before + 4)
    idle = site.station.heads[before:]
    assert len({head.size for head in idle}) == 1
    named = [head.custody for head in idle]
    assert len(set(named)) == len(named)
    assert site.tally.health.resent == 0


def test_resends_until_custody(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one", resend_s=0.1))
    site.station.silent = True
    for number in range(20):
        site.decide(number)
    site.tally.flush()
    site.turn(1000, lambda: site.station.repeated >= 3)
    assert site.tally.health.resent >= 1
    site.station.silent = False
    site.settle()
    assert site.decisions() == list(range(20))


def test_forged_resend_requests_are_harmless(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one"))
    for number in range(20):
        site.decide(number)
    site.settle()
    sent = site.tally.health.sent
    epoch = site.tally.epoch
    for _ in range(50):
        site.link.deliver(Resend(epoch, 0, None).encode())
        site.link.deliver(Resend(epoch, 10**9, None).encode())
        site.link.deliver(Resend(b"x" * 8, 0, None).encode())
    site.turn(200)
    assert site.tally.health.sent - sent <= 5
    assert site.tally.health.refused["over-quota"] >= 149
    assert site.decisions() == list(range(20))


def test_rubbish_from_above_is_counted(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one"))
    for message in (
        b"",
        b"\x00",
        b"\xff" * 40,
        b"\xd2\x00\x00",
        b"\x83\x18\x63\x00",
        b"\x84\x18\x18\x00",
    ):
        site.link.deliver(message)
    site.turn(60)
    assert sum(site.tally.health.refused.values()) == 6
    site.decide(0)
    site.settle()


def test_the_link_comes_and_goes(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one", resend_s=0.1))
    for round_ in range(4):
        for number in range(round_ * 10, round_ * 10 + 10):
            site.decide(number)
        site.tally.flush()
        site.tally.poll(5)
        site.link.take()  # lost on the way
        site.link.pull()
        site.turn(3)
        site.link.plug()
        # Greeted: only then the pause before the next attempt is short again.
        site.turn(1000, lambda: site.tally._link.greeted)  # type: ignore[union-attr]  # it has one
    site.turn(3000, lambda: site.tally.backlog() == 0)
    assert site.decisions() == list(range(40))
    assert site.link.session >= 4


# Epochs.


def test_a_lost_journal_opens_the_next_epoch(fleet: Fleet, tmp_path: Path) -> None:
    config = fleet.device("one")
    first = Site(fleet, config)
    for number in range(10):
        first.decide(number)
    first.settle()
    first.tally.close()
    lost = {**config, "journal": str(tmp_path / "elsewhere")}
    second = Site(fleet, lost, first.station)
    second.decide(77)
    second.settle()
    assert second.tally.epoch != first.tally.epoch
    assert second.decisions() == [77]
    with pytest.raises(TallyError, match="another recorder"):
        Recorder.open(lost, background=False)
    second.tally.close()
    third = Site(fleet, lost, first.station)
    third.decide(78)
    third.settle()
    assert third.tally.epoch == second.tally.epoch


@pytest.mark.parametrize("with_receipt", [True, False])
def test_an_older_journal_is_left(fleet: Fleet, tmp_path: Path, with_receipt: bool) -> None:
    import shutil

    config = fleet.device("one")
    site = Site(fleet, config)
    for number in range(10):
        site.decide(number)
    site.settle()
    site.tally.close()
    shutil.copytree(config["journal"], tmp_path / "image")
    again = Site(fleet, config, site.station)
    for number in range(10, 20):
        again.decide(number)
    again.settle()
    again.tally.close()
    left = again.tally.epoch
    shutil.rmtree(config["journal"])
    shutil.copytree(tmp_path / "image", config["journal"])
    if not with_receipt:
        site.station.receipts.clear()
    back = Site(fleet, config, site.station)
    # It records before it hears of it, so its journal contradicts what it once sent.
    for number in range(20, 25):
        back.decide(number)
    back.tally.flush()
    back.turn(500, lambda: back.tally.epoch != left)
    back.decide(99)
    back.settle()
    assert back.tally.epoch != left
    first = back.events("epoch")[0]
    assert first.details["previous"][0] == left
    assert first.details["reason"] == "rollback"
    assert back.events("gap")[0].details["dropped"] > 0
    assert 99 in back.decisions()


def test_a_replayed_welcome_opens_no_epoch(fleet: Fleet, tmp_path: Path) -> None:
    from tallystick.evidence.welcome import Welcome

    config = fleet.device("one")
    first = Site(fleet, config)
    first.decide(0)
    first.settle()
    first.tally.close()
    old_head = first.station.newest
    assert old_head is not None
    second = Site(fleet, {**config, "journal": str(tmp_path / "new")}, first.station)
    second.decide(1)
    second.settle()
    epoch = second.tally.epoch
    receipt = second.station.receipts[epoch]
    for _ in range(3):
        second.link.deliver(Welcome(1, old_head.encode(), receipt).encode())
        second.turn(10)
    assert second.tally.epoch == epoch


def test_two_algorithms(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet", alg=-7)
    site = Site(fleet, fleet.device("one", alg=-7))
    other = Site(fleet, fleet.device("two"))
    half = handover(site, other.tally.device)
    assert parse_checkpoint(other.tally.accept(half).half.checkpoint).received().alg == -7
    site.settle()
    other.settle()


def test_background_thread(fleet: Fleet) -> None:
    config = fleet.device("one")
    station = Station(fleet, read_credential(config))
    link = MemoryUplink()
    tally = Recorder.open(config, uplink=link)
    for number in range(500):
        tally.decision("m", {"n": number}, output=None, urgent=number % 100 == 0)
    deadline = time.monotonic() + 60
    while tally.backlog() and time.monotonic() < deadline:
        for message in link.take():
            for answer in station.answer(message):
                link.deliver(answer)
        time.sleep(0.001)
    tally.close()
    assert not tally.backlog()
    decisions = [record.parse(item) for item in station.records[tally.epoch]]
    numbers = [one.inputs["n"] for one in decisions if isinstance(one, Decision)]
    assert numbers == list(range(500))
    assert not tally.health.last_fault


def test_a_claim_needs_its_profile_fields(fleet: Fleet) -> None:
    site = Site(fleet, fleet.device("one"))
    with pytest.raises(Malformed, match="required"):
        site.tally.claim("handover@1", role="giver", claim="released", peers={}, task="t", item="x")
    half = site.tally.claim(
        "handover@1",
        role="giver",
        claim="released",
        peers={"receiver": [bytes(32), "A" * 42 + "E"]},
        interaction=bytes(16),
        interval=(1, 2, 3),
        item="x",
        position_m=[0.1 + 0.2],
    )
    parsed = record.parse(parse_half(half).record)
    assert isinstance(parsed, Claim)
    assert parsed.interval == [1, 2, 3]
    assert str(parsed.fields["position_m"][0]) == "Dec(3, -1)"
    assert len(parsed.parties["receiver"]) == 2
