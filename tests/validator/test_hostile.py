"""Whatever an enrolled device or gateway signs: an answer or a named refusal, never a defect."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.devices import Device, Fleet
from support.story import disclose
from support.validating import HANDOVER, START_MS, Gateway, Room, handover
from tallystick.evidence import claim, evidencefile, keychange, segment, verdict
from tallystick.evidence import leaf as leaves
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError
from tallystick.evidence.segment import Edge, Segment, Stretch
from tallystick.evidence.tree import Tree
from tallystick.validator import limits
from tallystick.validator.evidence import Exporter


class Liar:
    """A device that signs whatever it likes: branches, gaps, stretches across its own heads."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.device = fleet.device("liar")
        self.fleet = fleet
        self.random = random.Random(seed)
        self.epochs = [b"epoch--1", b"epoch--2"]
        # Known trees by epoch: (records so far, the tree, a signed head of that size).
        self.past: dict[bytes, list[tuple[Tree, bytes | None]]] = {
            epoch: [(Tree(), None)] for epoch in self.epochs
        }
        self.uptime = 0

    def record(self, index: int, epoch: bytes) -> bytes:
        device, choose = self.device, self.random
        device.pending.clear()
        parties = {"giver": [device.id], "receiver": [bytes(32)]}
        kind = choose.randrange(7)
        if index == 0 and kind < 4:
            other = next(e for e in self.epochs if e != epoch)
            previous = choose.choice([None, [other, choose.randrange(9), bytes(32)], "x", [1, 2]])
            return device.event("epoch", previous=previous, reason="new")
        if kind == 0:
            task = f"t{choose.randrange(3)}"
            return device.claim(
                task, "giver", "released", parties, HANDOVER.digest, item="box",
                position_m=[choose.randrange(2), 0],
                relied=[bytes([choose.randrange(3)]) * 32] * choose.randrange(2),
            )  # fmt: skip
        if kind == 1:
            return device.event("boot", boot=choose.choice([1, 2, -3, "x"]), cause="power")
        if kind == 2:
            return device.accept(choose.choice([b"\0", b"\x87\x0e", self.half()]))
        if kind == 3:
            return choose.choice([b"", b"\x01", b"\x8c\x01\x00", b"\x87\x00junk", b"\xff" * 9])
        return device.decision(n=choose.randrange(3))

    def half(self) -> bytes:
        maker = self.fleet.device(f"maker-{self.random.randrange(2)}")
        maker.uptime_ms = self.random.randrange(2) * 1000
        handover(maker, maker, f"t{self.random.randrange(3)}", sides="g")
        return disclose(maker, 1, embed=self.random.random() < 0.5).encode()

    def segment(self) -> bytes:
        choose = self.random
        epoch = choose.choice(self.epochs)
        base, head = choose.choice(self.past[epoch][-4:])
        first, tree = base.size, base.copy()
        stretches = []
        for _ in range(choose.randrange(1, 4)):
            begin = tree.size
            records = [self.record(begin + n, epoch) for n in range(choose.randrange(4))]
            seed = sha256(choose.randbytes(2))
            hashes = leaves.leaves(seed, begin, records)
            tree.extend(hashes)
            if not tree.size:
                continue
            self.uptime += choose.choice([1, 1, 1, 0])
            custody = choose.choice([None, bytes(32), b"\x01" * 32])
            claims = min(tree.size - 1, sum(r[1:2] == b"\x01" for r in records))
            made = Checkpoint(
                epoch, tree.size, tree.root(), claims, choose.randrange(1, 3), self.uptime, None,
                None, custody,
            )  # fmt: skip
            signed = made.sign(self.device.signer, self.fleet.name, self.device.id)
            items: list[bytes | tuple[int, bytes]] = list(records)
            secret: bytes | list[bytes] | None = seed if records else None
            if records and choose.random() < 0.3:
                kept = choose.randrange(len(records))
                items = [r if n == kept else (0, hashes[n]) for n, r in enumerate(records)]
                secret = [leaves.salt(seed, begin + kept)]
            stretches.append(Stretch(items, secret, signed))
            self.past[epoch].append((tree.copy(), signed))
        if not stretches:
            return self.segment()
        edge = None
        if first and head is not None and choose.random() < 0.6:
            edge = Edge(head, list(base.edge))
        return Segment(self.device.id, epoch, first, edge, stretches).encode()


def check_store(room: Room) -> None:
    """What must hold whatever came in."""
    for size, began, covered, claims, ahead, heads in room.rows(
        "SELECT size, began, covered, claims, ahead, heads_ahead FROM logs"
    ):
        assert 0 <= began <= size
        assert 0 <= covered <= size - began
        assert min(claims, ahead, heads) >= 0
    entries = room.rows("SELECT entry FROM entries ORDER BY entry")
    assert [row[0] for row in entries] == list(range(len(entries)))
    ((published,),) = room.rows("SELECT max(size) FROM heads")
    assert published == len(entries)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_a_device_that_signs_anything_breaks_nothing(seed: int) -> None:
    fleet = Fleet("acme")
    liar, gateway = Liar(fleet, seed), Gateway(fleet)
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder) / "validator", [fleet])
        try:
            sent = 0
            for _ in range(8):
                for _ in range(liar.random.randrange(1, 4)):
                    made = liar.segment()
                    gateway.take(made)
                    if liar.random.random() < 0.2:
                        gateway.take(liar.random.choice(gateway.items))
                answer = room.send(gateway.batch(sent, devices=[liar.device]))
                sent = answer.size
                room.clock.now_ms += liar.random.choice([0, HANDOVER.deadline_ms])
                room.settle()
                check_store(room)
            # What was refused for want of history may be taken when it comes again; that ends.
            held: list[object] = []
            for _ in range(6):
                gateway.time_ms += 1
                room.send(gateway.batch(0, devices=[liar.device]))
                room.settle()
                held.append(room.rows("SELECT count(*) FROM claims"))
            assert held[-1] == held[-2]
            check_store(room)
        finally:
            room.close()


@settings(max_examples=40)
@given(st.data())
def test_changed_bytes_in_a_signed_batch_are_an_answer_or_a_refusal(data: st.DataObject) -> None:
    fleet = Fleet("acme")
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(3)
    handover(device, device, "order", sides="g")
    custody = gateway.custody(device, START_MS)
    device.seal()
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder) / "validator", [fleet])
        try:
            for made in device.segments():
                changed = bytearray(made)
                for _ in range(data.draw(st.integers(0, 3))):
                    at = data.draw(st.integers(0, len(changed) - 1))
                    changed[at] = data.draw(st.integers(0, 255))
                try:
                    segment.parse(bytes(changed))
                    gateway.take(bytes(changed))
                except TallyError:
                    continue
            junk = data.draw(st.lists(st.binary(max_size=40), max_size=3))
            broken = bytearray(device.credential[0])
            broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1
            other = Device(fleet, device.signer, [bytes(broken)])
            try:
                room.send(gateway.batch(devices=[other, device], receipts=[*junk, custody]))
            except TallyError as error:
                reason = error.reason
            else:
                reason = "taken"
            assert reason
            room.settle()
            check_store(room)
        finally:
            room.close()


def test_a_flipped_bit_anywhere_in_a_segment_is_refused(room: Room, fleet: Fleet) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(2)
    handover(device, device, "order", sides="g")
    gateway.take(*device.segments()[:1])
    room.send(gateway.batch(devices=[device]))
    made = bytearray(device.segment(1))
    size = room.sequencer.log.tree.size
    take = room.sequencer.ingest._segments.take
    for bit in range(0, len(made) * 8, 5):
        made[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(TallyError):
            room.sequencer.ingest.transaction(lambda work: take(work, bytes(made)))  # type: ignore[arg-type]  # its result is not needed
        made[bit // 8] ^= 1 << (bit % 8)
    assert room.sequencer.log.tree.size == size
    assert room.rows("SELECT count(*) FROM claims") == [(0,)]


def test_a_device_that_repeats_itself_meets_a_quota(
    room: Room, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.validator import partysets

    monkeypatch.setattr(partysets, "CLAIMS_PER_SET_AND_DEVICE_MAX", 5)
    monkeypatch.setattr(partysets, "SETS_PER_DEVICE_MAX", 3)
    device, gateway = fleet.device(), Gateway(fleet)
    for _ in range(7):
        handover(device, fleet.device("peer"), "order", sides="g")
    for n in range(4):
        handover(device, fleet.device(f"peer-{n}"), "order", sides="g")
    gateway.take(*device.segments())
    assert room.send(gateway.batch(devices=[device])).refused == []
    assert room.rows("SELECT reason, count(*) FROM refused_records GROUP BY reason") == [
        ("over-quota", 4)
    ]
    assert room.rows("SELECT count(*) FROM claims") == [(7,)]
    assert room.rows("SELECT claims FROM logs") == [(11,)]
    assert limits.CLAIMS_PER_SET_AND_DEVICE_MAX > 32


def _squat(device: Device, count: int) -> None:
    for n in range(count):
        parties = {"giver": [device.id], "receiver": [n.to_bytes(32, "big")]}
        device.claim(
            "order", "giver", "released", parties, HANDOVER.digest, item="x", position_m=[0, 0]
        )
    device.seal()


def test_a_stranger_cannot_use_up_an_interaction(
    room: Room, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A23: by one device, and by all devices of another fleet."""
    from tallystick.validator import partysets

    monkeypatch.setattr(partysets, "SETS_PER_FLEET_MAX", 20)
    gateway = Gateway(fleet)
    strangers = [Fleet("borealis").device(f"stranger-{n}") for n in range(3)]
    for stranger in strangers:
        _squat(stranger, 300)
        gateway.take(stranger.segment())
    giver, receiver = fleet.device("giver"), fleet.device("receiver")
    handover(giver, receiver, "order")
    gateway.take(giver.segment(), receiver.segment())
    room.send(gateway.batch(devices=[*strangers, giver, receiver]))
    room.settle()
    assert room.states() == {"matched": 1, "pending": 20}
    # Nor the file that shows it.
    with room.sequencer.store.read() as connection:
        exporter = Exporter(room.sequencer.config.roots, room.sequencer.profiles, None)
        (key,) = room.rows("SELECT namespace, interaction FROM party_sets WHERE state = 'matched'")
        file = evidencefile.parse(exporter.interaction(connection, *key))
    makers = {claim.parse(half.record).parties["giver"][0] for half in file.halves}
    assert giver.id in makers


def test_a_counterpart_cannot_use_up_a_party_set(room: Room, fleet: Fleet) -> None:
    giver, receiver = fleet.device("giver"), fleet.device("receiver")
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    for n in range(1_100):
        giver.claim(
            "order", "giver", "released", parties, HANDOVER.digest, item=f"{n}", position_m=[0, 0]
        )
    giver.seal()
    handover(giver, receiver, "order", sides="r")
    gateway = Gateway(fleet)
    gateway.take(giver.segment(), receiver.segment())
    room.send(gateway.batch(devices=[giver, receiver]))
    room.settle()
    # Not one-sided: the honest receiver's claim is there.
    assert room.states() == {"conflicting": 1}
    assert room.rows("SELECT count(DISTINCT device) FROM claims") == [(2,)]


def test_a_gateway_that_dates_ahead_makes_nobody_silent(room: Room, fleet: Fleet) -> None:
    """A10: a receipt from the future is no evidence of what its device had not claimed by then."""
    giver, receiver = fleet.device("giver"), Fleet("borealis").device("receiver")
    gateway = Gateway(fleet)
    handover(giver, receiver, "order", sides="g")
    receiver.record(2)
    ahead = gateway.custody(receiver, START_MS + 10 * HANDOVER.deadline_ms)
    receiver.seal()
    gateway.take(giver.segment(), receiver.segment())
    room.send(gateway.batch(devices=[giver, receiver], receipts=[ahead]))
    room.clock.now_ms += 20 * HANDOVER.deadline_ms
    room.settle()
    (data,) = room.rows("SELECT data FROM entries WHERE kind = 10")[0]
    assert verdict.parse(data).finding.missing[0][3] == "unheard"
    # An honest receipt over the same log shows the silence.
    true = gateway.custody(receiver, room.clock.now_ms)
    receiver.seal()
    gateway.take(receiver.segment(2))
    room.send(gateway.batch(2, receipts=[true]))
    room.settle()
    (data,) = room.rows("SELECT data FROM entries WHERE kind = 10")[-1]
    assert verdict.parse(data).finding.missing[0][3] == "silent"


@pytest.mark.parametrize("reason", [keychange.RETIRED, keychange.COMPROMISED])
def test_a_gateway_whose_key_was_revoked_is_not_heard(
    room: Room, fleet: Fleet, reason: int
) -> None:
    device, gateway = fleet.device(), Gateway(fleet)
    device.record(2)
    gateway.take(device.segment())
    assert room.send(gateway.batch(devices=[device])).refused == []
    change = keychange.Revocation(gateway.id, gateway.id, None, reason, START_MS)
    ended = [*gateway.credential, change.sign(fleet.root, fleet.name, gateway.id)]
    # Another gateway brings the news, and a receipt that the revoked key signed.
    other = Gateway(fleet, "other")
    receipt = gateway.custody(device, START_MS)
    device.seal()
    device.record(1)
    other.take(device.segment(1))
    news = Device(fleet, gateway.signer, ended)
    room.send(other.batch(devices=[device, news], receipts=[receipt]))
    taken = room.rows("SELECT count(*) FROM custody")[0][0]
    assert taken == (0 if reason == keychange.COMPROMISED else 1)
    gateway.take(device.segment(1))
    with pytest.raises(TallyError) as caught:
        room.send(gateway.batch(1))
    assert caught.value.reason == "revoked"
