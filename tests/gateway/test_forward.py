"""Batches to real validators: receipts, cursors, absence, repetition, gaps, refusals."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import until
from support.validating import HANDOVER
from tallystick.evidence import batch, checkpoint, notarised, receipt, verdict
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.errors import TallyError, TransportError
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.kinds import NOTARISED
from tallystick.gateway import steps, verdicts
from tallystick.gateway.batching import Builder
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.http import Http, Refusal
from tallystick.gateway.peers import Peer
from tallystick.gateway.receipts import Receipts
from tallystick.gateway.validatorconfig import Send
from tallystick.gateway.verdicts import VerdictPoller

ACME = Fleet("acme")


class Sending:
    """A memory gateway with forwarders and verdict pollers in threads."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.gate = MemoryGateway(folder, ACME, name=name)
        self.stop = threading.Event()
        self.forwarders: list[Forwarder] = []
        self.threads: list[threading.Thread] = []

    def add(self, notary: Notary, send: Send = "full", *, verdicts: bool = False) -> Forwarder:
        made = Forwarder(
            notary.peer(send),
            self.gate.store,
            self.gate.signing,
            tuple(self.gate.credential),
            self.gate.down_queue,
            self.stop,
            retry_s_max=0.2,
        )
        self.forwarders.append(made)
        self._run(made.run)
        if verdicts:
            poller = VerdictPoller(
                notary.peer(send),
                self.gate.store,
                self.gate.down_queue,
                self.stop,
                made.answered,
                poll_s=0.1,
                retry_s_max=0.2,
            )
            self._run(poller.run)
        return made

    def _run(self, target: object) -> None:
        thread = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self.threads.append(thread)

    def give(self, device: Device, *messages: bytes) -> None:
        self.gate.give(device, *messages)
        for made in self.forwarders:
            made.wake()

    def validator(self, name: str = "notary") -> dict[str, object]:
        found: list[dict[str, object]] = self.gate.status()["validators"]  # type: ignore[assignment]
        return next(row for row in found if row["name"] == name)

    def sent(self, count: int, name: str = "notary") -> None:
        until(lambda: self.validator(name)["cursor"] == count, f"{count} segments at {name}")

    def restart(self) -> None:
        self.close()
        self.stop = threading.Event()
        self.forwarders, self.threads = [], []
        self.gate.open()

    def close(self) -> None:
        self.stop.set()
        for made in self.forwarders:
            made.wake()
            made.answered.set()
        for thread in self.threads:
            thread.join(60)
        self.gate.store.close()


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[Notary]:
    made = Notary(tmp_path / "notary", ACME).start()
    yield made
    made.stop()


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    made = Sending(tmp_path / "gateway")
    yield made
    made.close()
    steps.on_step(None)


def robot_of(sending: Sending, count: int = 5, name: str = "robot-1") -> Device:
    robot = ACME.device(name)
    for _ in range(count):
        robot.record(4)
    sending.gate.know(robot)
    return robot


def get(notary: Notary, path: str) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(
        httpx2.get(notary.url + path, timeout=60).content
    )
    return found


def size_at(notary: Notary, robot: Device) -> tuple[object, object]:
    """(decisions, size of the only log) that a validator has of a device."""
    row = get(notary, f"/v1/devices/{robot.text}")
    logs: list[dict[str, object]] = row["logs"]  # type: ignore[assignment]
    return row["decisions"], logs[0]["size"]


def test_segments_are_receipted_and_the_receipt_goes_down(sending: Sending, notary: Notary) -> None:
    robot = robot_of(sending)
    sending.add(notary)
    sending.give(robot, *robot.segments())
    sending.sent(5)
    assert size_at(notary, robot) == (20, 21)
    sending.gate.turn()
    newest = [
        notarised.parse(data)
        for to, data in sending.gate.link.down
        if to == robot.id and data[:3] == b"\x84\x18\x19"
    ][-1]
    assert NOTARISED == 25
    assert newest.size == robot.size
    receipt.parse(newest.receipt).verify(robot.stretches[-1].checkpoint, notary.key)
    assert sending.validator()["receipts"] == 5
    # A device that says hello gets it again.
    sending.gate.link.down.clear()
    sending.gate.give(robot, robot.hello())
    assert any(data[:3] == b"\x84\x18\x19" for _, data in sending.gate.link.down)


def test_named_custody_receipts_go_along_and_unknown_ones_are_missing(
    sending: Sending, notary: Notary
) -> None:
    robot = robot_of(sending, 1)
    sending.give(robot, *robot.segments())
    robot.custody = sending.gate.custody(robot)[-1].digest
    robot.record(2)
    sending.give(robot, robot.segment(1))
    robot.custody = bytes(32)  # of another gateway, perhaps
    robot.record(2)
    sending.give(robot, robot.segment(2))
    sending.add(notary)
    sending.sent(3)
    assert sending.validator()["receipts"] == 4  # three checkpoints, one custody receipt
    row = get(notary, f"/v1/devices/{robot.text}")
    assert row["time_evidence_missing"] == 1
    # What is receipted is not sent a second time.
    robot.custody = sending.gate.custody(robot)[0].digest
    robot.record(2)
    sending.gate.give(robot, robot.segment(3))
    builder = Builder("notary", "full", sending.gate.signing, tuple(sending.gate.credential))
    reader = sending.gate.store.reader()
    built = builder.build(reader, 3, 10)
    reader.close()
    assert built is not None
    assert (batch.parse(built.data).receipts, batch.parse(built.data).missing) == ([], [])


def test_a_validator_that_is_away_delays_nobody_else(
    sending: Sending, notary: Notary, tmp_path: Path
) -> None:
    away = Notary(tmp_path / "away", ACME, name="away")
    robot = robot_of(sending)
    sending.add(away)
    sending.add(notary)
    for data in robot.segments():
        sending.give(robot, data)
    sending.sent(5)
    assert sending.validator("away")["cursor"] == 0
    until(lambda: sending.validator("away")["error"], "the error")
    away.start()
    try:
        sending.sent(5, "away")
        assert size_at(away, robot) == (20, 21)
        assert sending.validator("away")["error"] is None
    finally:
        away.stop()


def test_a_slow_validator_delays_nobody_else(
    sending: Sending, notary: Notary, tmp_path: Path
) -> None:
    import socket

    with socket.socket() as deaf:  # accepts, and never answers
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(4)
        slow = Notary(tmp_path / "slow", ACME, name="slow")
        slow.url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        robot = robot_of(sending)
        sending.add(slow)
        sending.add(notary)
        sending.give(robot, *robot.segments())
        sending.sent(5)
        # Its thread hangs in a request; the test's end must not wait for it.
        sending.threads = sending.threads[1:]


def test_an_answer_that_was_lost_is_got_again(
    sending: Sending, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    # F13: the validator committed, and the answer did not arrive.
    robot = robot_of(sending)
    real = Http.post
    lost: list[bytes] = []

    def losing(self: Http, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        answer = real(self, path, body, headers)
        if len(lost) < 2:
            lost.append(answer)
            raise TransportError("unreachable", "the answer was lost")
        lost.append(answer)
        return answer

    monkeypatch.setattr(Http, "post", losing)
    sending.gate.give(robot, *robot.segments())
    sending.add(notary)
    sending.sent(5)
    assert lost[0] == lost[1] == lost[2]
    assert size_at(notary, robot) == (20, 21)


def test_the_gateway_goes_on_after_a_restart(sending: Sending, notary: Notary) -> None:
    robot = robot_of(sending)
    sending.add(notary)
    sending.give(robot, *robot.segments())
    sending.sent(5)
    # Killed before the cursor was stored: everything is sent again, and nothing is there twice.
    with sending.gate.store.write() as connection:
        connection.execute("UPDATE validators SET cursor = 2")
    sending.restart()
    robot.record(3)
    sending.add(notary)
    sending.give(robot, robot.segment(5))
    sending.sent(6)
    assert size_at(notary, robot) == (23, 24)


def lose(sending: Sending) -> None:
    """An empty store, and the same key."""
    sending.close()
    for file in sending.gate.path.parent.glob("gateway.sqlite*"):
        file.unlink()
    sending.restart()


def heads_of(notary: Notary, sending: Sending) -> list[dict[str, object]]:
    found = get(notary, f"/v1/gateways/{device_text(sending.gate.signing.gateway)}/heads")
    return found["heads"]  # type: ignore[return-value]


@pytest.mark.parametrize("again", [0, 5, 7])
def test_a_gateway_that_lost_its_store_sends_nothing_under_its_key(
    sending: Sending, notary: Notary, again: int
) -> None:
    robot = robot_of(sending)
    sending.add(notary)
    sending.give(robot, *robot.segments())
    sending.sent(5)
    told = heads_of(notary, sending)
    lose(sending)
    other = robot_of(sending, again, "robot-2")
    sending.gate.give(other, *other.segments())
    made = sending.add(notary)
    until(lambda: made.put_back is not None, "it noticed")
    assert made.put_back is not None
    assert made.put_back.reason == "put-back"
    assert f"it has {again} segments" in made.put_back.message
    until(
        lambda: str(sending.validator()["error"]).endswith("under a new key and enrolment"), "told"
    )
    assert heads_of(notary, sending) == told
    assert get(notary, f"/v1/devices/{device_text(sending.gate.signing.gateway)}")["forks"] == 0


def test_a_gateway_whose_store_was_put_back_sends_nothing_under_its_key(
    sending: Sending, notary: Notary, tmp_path: Path
) -> None:
    robot = robot_of(sending)
    sending.add(notary)
    sending.give(robot, *robot.segments()[:3])
    sending.sent(3)
    sending.close()
    copy = sending.gate.path.read_bytes()
    sending.restart()
    sending.add(notary)
    sending.give(robot, *robot.segments()[3:])
    sending.sent(5)
    told = heads_of(notary, sending)
    lose(sending)
    sending.close()
    sending.gate.path.write_bytes(copy)
    sending.restart()
    made = sending.add(notary)
    until(lambda: made.put_back is not None, "it noticed")
    assert heads_of(notary, sending) == told


def test_no_validator_stops_a_gateway_by_heads_that_it_did_not_sign(
    sending: Sending, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = robot_of(sending)
    head = GatewayHead(9, bytes(32), 1).sign(ACME.root, "acme", sending.gate.signing.gateway)
    page = {"heads": [{"statement": b64u(head)}], "next": None}
    plain = Http.get

    def lying(self: Http, path: str) -> bytes:
        return msgspec.json.encode(page) if "/heads" in path else plain(self, path)

    monkeypatch.setattr(Http, "get", lying)
    sending.add(notary)
    sending.give(robot, *robot.segments())
    sending.sent(5)


@pytest.mark.parametrize("status", [404, 403])
def test_a_validator_that_shows_no_heads_is_sent_to_all_the_same(
    sending: Sending, notary: Notary, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    robot = robot_of(sending)

    def refusing(self: Http, path: str) -> bytes:
        raise Refusal("not-found", "no such thing", status, None)

    monkeypatch.setattr(Http, "get", refusing)
    sending.add(notary)
    sending.give(robot, *robot.segments())
    sending.sent(5)


def test_a_validator_that_lost_its_store_is_told_everything_again(
    sending: Sending, notary: Notary, tmp_path: Path
) -> None:
    robot = robot_of(sending)
    sending.add(notary)
    sending.give(robot, *robot.segments())
    sending.sent(5)
    notary.stop()
    for file in (tmp_path / "notary").glob("validator.sqlite*"):
        file.unlink()
    notary.start()
    robot.record(3)
    sending.give(robot, robot.segment(5))
    sending.sent(6)
    row = get(notary, f"/v1/devices/{robot.text}")
    assert row["decisions"] == 23
    assert sending.validator()["set_aside"] == 0


def test_claims_only_and_hashes_only_prove_the_same_tree(sending: Sending, tmp_path: Path) -> None:
    robot = ACME.device("mixed")
    other = ACME.device("peer")
    sending.gate.know(robot, other)
    parties = {"giver": [robot.id], "receiver": [other.id]}
    for n in range(3):
        robot.decisions(5)
        robot.claim(
            f"order-{n}", "giver", "released", parties, HANDOVER.digest, item="pallet",
            position_m=[1, 2],
        )  # fmt: skip
        robot.decisions(6)
        robot.seal()
    sending.give(robot, *robot.segments())
    counts = {}
    for send in ("full", "claims", "hashes"):
        notary = Notary(tmp_path / send, ACME, name=send).start()
        sending.add(notary, send)
        sending.sent(3, send)
        row = get(notary, f"/v1/devices/{robot.text}")
        logs: list[dict[str, object]] = row["logs"]  # type: ignore[assignment]
        counts[send] = (row["decisions"], row["claims"], row["events"], logs[0]["size"])
        assert sending.validator(send)["set_aside"] == 0
        notary.stop()
    assert counts == {
        "full": (33, 3, 1, 37),
        "claims": (0, 3, 1, 37),
        "hashes": (0, 0, 0, 37),
    }


def test_a_damaged_segment_is_not_forwarded_and_the_others_are(
    sending: Sending, notary: Notary
) -> None:
    robot = robot_of(sending)
    sending.gate.give(robot, *robot.segments())
    with sending.gate.store.write() as connection:
        (data,) = connection.execute("SELECT data FROM segments WHERE at = 1").fetchone()
        flipped = data[:200] + bytes([data[200] ^ 4]) + data[201:]
        connection.execute("UPDATE segments SET data = ? WHERE at = 1", (flipped,))
    sending.add(notary)
    sending.sent(5)
    reader = sending.gate.store.reader()
    rows = reader.execute("SELECT at, reason FROM set_aside").fetchall()
    reader.close()
    assert rows == [(1, "damaged")]


def test_one_segment_that_a_validator_cannot_read_is_set_aside(
    sending: Sending, notary: Notary
) -> None:
    # F14: it makes the whole batch unreadable; halving finds it.
    import zlib

    robot = robot_of(sending, 12)
    sending.gate.give(robot, *robot.segments())
    with sending.gate.store.write() as connection:
        broken = b"\x86\x0d"
        connection.execute(
            "UPDATE segments SET data = ?, crc = ? WHERE at = 11", (broken, zlib.crc32(broken))
        )
    sending.add(notary)
    sending.sent(12)
    assert sending.validator()["set_aside"] == 1
    assert size_at(notary, robot)[1] == robot.stretches[10].to


def test_a_refused_segment_is_set_aside_with_its_reason(sending: Sending, tmp_path: Path) -> None:
    # The validator does not accept this fleet's root: each segment is refused, none is deleted.
    stranger = Notary(tmp_path / "stranger", Fleet("borealis"), name="stranger").start()
    robot = robot_of(sending)
    sending.give(robot, *robot.segments())
    sending.add(stranger)
    until(lambda: sending.validator("stranger")["error"], "the refusal")
    assert "not-enrolled" in str(sending.validator("stranger")["error"]) or "unknown" in str(
        sending.validator("stranger")["error"]
    )
    assert sending.validator("stranger")["cursor"] == 0
    stranger.stop()


def test_forged_receipts_are_not_kept(sending: Sending, notary: Notary, tmp_path: Path) -> None:
    robot = robot_of(sending)
    other = ACME.device("other").signer.public_key()
    peer = notary.peer()
    wrong = Peer(peer.config, "notary", other)  # another key is pinned
    sending.gate.give(robot, *robot.segments())
    made = Forwarder(
        wrong,
        sending.gate.store,
        sending.gate.signing,
        tuple(sending.gate.credential),
        sending.gate.down_queue,
        sending.stop,
        retry_s_max=0.2,
    )
    sending.forwarders.append(made)
    sending._run(made.run)
    sending.sent(5)
    assert sending.validator()["receipts"] == 0
    shown = sending.gate.refused()
    assert sum(shown.values()) >= 1, "a forged receipt is counted and shown"
    sending.gate.turn()
    assert not any(data[:3] == b"\x84\x18\x19" for _, data in sending.gate.link.down)


def test_verdicts_are_checked_kept_and_sent_to_the_parties(
    sending: Sending, notary: Notary
) -> None:
    giver, receiver = ACME.device("giver"), ACME.device("receiver")
    sending.gate.know(giver, receiver)
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    sending.add(notary, verdicts=True)
    for robot, role, name in ((giver, "giver", "released"), (receiver, "receiver", "acquired")):
        robot.claim(
            "order-1", role, name, parties, HANDOVER.digest, item="pallet", position_m=[1, 2]
        )
        robot.seal()
        sending.give(robot, robot.segment())

    def verdicts_of(robot: Device) -> list[verdict.VerifiedVerdict]:
        sending.gate.turn()
        found = []
        for to, data in list(sending.gate.link.down):
            if to == robot.id and data[0] == 0xD2:
                try:
                    found.append(verdict.parse(data).verify(notary.key))
                except TallyError:
                    continue
        return found

    until(lambda: verdicts_of(giver) and verdicts_of(receiver), "the verdicts")
    assert verdicts_of(giver)[-1].finding.state == "matched"
    assert sending.validator()["verdicts"] == {"matched": 1}


def test_it_drains_a_backlog_in_batches(sending: Sending, notary: Notary) -> None:
    robot = robot_of(sending, 300)
    for begin in range(0, 300, 50):
        sending.gate.give(robot, *robot.segments()[begin : begin + 50])
    began_s = time.monotonic()
    sending.add(notary)
    sending.sent(300)
    batches = sending.validator()["batches"]
    assert isinstance(batches, int)
    assert batches <= 3, time.monotonic() - began_s


def test_an_answer_that_takes_less_than_was_sent_moves_nothing(
    sending: Sending, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = robot_of(sending)
    sending.gate.give(robot, *robot.segments())
    real = Http.post
    lying = [True]

    def post(self: Http, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        if lying:
            return BatchAnswer(2, [], []).encode()
        return real(self, path, body, headers)

    monkeypatch.setattr(Http, "post", post)
    sending.add(notary)
    until(lambda: sending.validator()["error"], "the error")
    assert sending.validator()["cursor"] == 0
    lying.clear()
    sending.sent(5)


def test_a_receipt_of_another_log_is_refused(sending: Sending, notary: Notary) -> None:
    robot = robot_of(sending)
    sending.add(notary)
    sending.give(robot, *robot.segments())
    sending.sent(5)
    reader = sending.gate.store.reader()
    rows = dict(reader.execute("SELECT statement, receipt FROM receipts").fetchall())
    reader.close()
    checks = Receipts("notary", notary.key)
    for sealed in robot.stretches:
        digest = checkpoint.parse(sealed.checkpoint).digest
        checks.check(rows[digest], sealed.checkpoint)
        assert Receipts("other", notary.key).reason(rows[digest], sealed.checkpoint) == "wrong-key"
        other = robot.stretches[0 if sealed is robot.stretches[1] else 1].checkpoint
        assert checks.reason(rows[digest], other) == "bad-signature"


def test_verdicts_that_are_not_what_they_seem_are_refused(sending: Sending, notary: Notary) -> None:
    giver, receiver = ACME.device("giver"), ACME.device("receiver")
    sending.gate.know(giver, receiver)
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    made = sending.add(notary)
    for n in range(2):
        for robot, role, name in (
            (giver, "giver", "released"),
            (receiver, "receiver", "acquired"),
        ):
            robot.claim(
                f"order-{n}", role, name, parties, HANDOVER.digest, item="p", position_m=[1, 2]
            )
            robot.seal()
            sending.give(robot, robot.segment(-1))
    page: dict[str, list[dict[str, str]]] = {}

    def two() -> bool:
        page.update(get(notary, "/v1/verdicts?after=0"))  # type: ignore[arg-type]
        return len(page["verdicts"]) == 2

    until(two, "two verdicts")
    first, second = page["verdicts"]
    poller = VerdictPoller(
        notary.peer(), sending.gate.store, sending.gate.down_queue, sending.stop, made.answered
    )

    def reason(**changed: str) -> str:
        item = msgspec.convert(first | changed, type=verdicts._Verdict)
        try:
            poller._check(item)
        except TallyError as error:
            return error.reason
        return ""

    assert reason() == ""
    assert reason(receipt=second["receipt"]) == "bad-signature"
    assert reason(statement=second["statement"]) == "bad-signature"
    flipped = first["statement"][:-3] + ("A" if first["statement"][-3] != "A" else "B")
    assert reason(statement=flipped + first["statement"][-2:]) == "bad-signature"
    assert reason(statement="%%") == "bad-value"
    poller._http.close()
    poller._reader.close()
