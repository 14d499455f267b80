"""`tally bench ingest`: Mosquitto to custody receipt, beside one signature a record."""

import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cbor2
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.evidence import custody, kinds
from tallystick.evidence.digest import sha256
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.segment import parse, verify_segment
from tallystick.evidence.tree import Tree
from tallystick.gateway.ahead import workers_by_default
from tallystick.tools import provision
from tallystick.tools.bench import floor, load, peer_gateway
from tallystick.tools.bench.bound import bound_per_s
from tallystick.tools.bench.load import Load
from tallystick.tools.bench.peers import PEERS, Peer, checked
from tallystick.tools.bench.publishing import Publisher, packets
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS, record
from tallystick.tools.bench.result import BenchFailed, Result
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.replay.processes import Processes

RECORDS = 524_288
DEVICES = 16
SECONDS = 3.0
# Verification alone, in segments of so many records.
ALONE_RECORDS = (64, 256)
ALONE_SEGMENTS = 64
ALONE_S = 0.5
START_S_MAX = 30.0
HELLO_EVERY_S = 0.5
ALIVE_EVERY_S = 1.0
# Nothing for so long means that something is lost, which QoS 1 on loopback does not do.
SILENCE_S_MAX = 60.0
# Messages that the sender may have on their way to the broker; many devices would have as many.
IN_FLIGHT_MAX = 400


# (folder, fleet, what was sent, the best peer) -> shares of both gateways, by kind.
Shares = Callable[[Path, Fleet, "list[Load]", str], dict[str, dict[str, float]]]


@dataclass(frozen=True)
class Received:
    """A message, and when it came."""

    at_s: float
    topic: str
    payload: bytes


class Sender:
    """The devices' side: one MQTT connection that publishes for all of them; a context manager.

    `alive` raises when the gateway that should answer has ended.
    """

    def __init__(self, port: int, downs: str, alive: Callable[[], None]) -> None:
        self._downs = downs
        self._alive = alive
        self._subscribed: queue.Queue[None] = queue.Queue()
        self.received: queue.Queue[Received] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-devices")
        self._client.max_inflight_messages_set(IN_FLIGHT_MAX)
        self._client.on_subscribe = lambda *_: self._subscribed.put(None)
        self._client.on_message = self._on_message
        self._port = port

    def __enter__(self) -> "Sender":
        """Connect and subscribe."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._client.subscribe(self._downs, 1)
        try:
            self._subscribed.get(timeout=START_S_MAX)
        except queue.Empty:
            message = "the broker did not confirm the subscription"
            raise BenchFailed("bench-failed", message) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.received.put(Received(time.perf_counter(), message.topic, bytes(message.payload)))

    def publish(self, topic: str, data: bytes) -> None:
        """QoS 1; paho queues what is not in flight yet."""
        self._client.publish(topic, data, qos=1)

    def next(self, wait_s: float) -> Received | None:
        """The next message, or None when none came in time."""
        try:
            return self.received.get(timeout=wait_s)
        except queue.Empty:
            return None

    def ask(self, topic: str, data: bytes, answers: Callable[[Received], bool]) -> None:
        """Publish until it is answered; then somebody is there and ready."""
        end = time.perf_counter() + START_S_MAX
        while time.perf_counter() < end:
            self._alive()
            self.publish(topic, data)
            until = time.perf_counter() + HELLO_EVERY_S
            while (left := until - time.perf_counter()) > 0:
                received = self.next(left)
                if received is not None and answers(received):
                    return
        message = f"nobody answered within {START_S_MAX:.0f} s"
        raise BenchFailed("bench-failed", message)

    def measure(
        self, messages: Iterable[tuple[str, bytes]], complete: Callable[[Received], bool]
    ) -> float:
        """Seconds from the first publish to the message for which `complete` is true."""
        made = packets(messages)
        with Publisher("127.0.0.1", self._port, "bench-load", IN_FLIGHT_MAX) as publisher:
            start = time.perf_counter()
            publisher.send(made, self._alive)
            heard = time.perf_counter()
            return self._until(complete, start, heard)

    def _until(self, complete: Callable[[Received], bool], start: float, heard: float) -> float:
        while True:
            received = self.next(ALIVE_EVERY_S)
            if received is not None:
                heard = received.at_s
                if complete(received):
                    return received.at_s - start
                continue
            self._alive()
            if time.perf_counter() - heard > SILENCE_S_MAX:
                message = f"no receipt came for {SILENCE_S_MAX:.0f} s"
                raise BenchFailed("bench-failed", message)


class Custody:
    """Says when custody receipts cover everything; each that counts is verified."""

    def __init__(self, loads: list[Load], key: PublicKey) -> None:
        self._key = key
        self._open = {f"{one.topic}/down": one for one in loads}

    def __call__(self, received: Received) -> bool:
        """Take one message; true when nothing is left to cover."""
        device = self._open.get(received.topic)
        if device is None or _kind(received.payload) != kinds.CUSTODY_RECEIPT:
            return False
        receipt = custody.parse(received.payload)
        if receipt.to < device.tree.size:
            return False
        verified = receipt.verify(self._key)
        if not verified.bodies or verified.from_ or verified.root != device.tree.root():
            message = "a custody receipt covers something else than what was sent"
            raise BenchFailed("bench-failed", message)
        del self._open[received.topic]
        return not self._open


def _kind(data: bytes) -> int:
    """The kind of a message, or of a statement's payload."""
    if data[:1] == b"\xd2":
        payload: bytes = cbor2.loads(data).value[2]
        data = payload
    return data[1]


def steps() -> list[str]:
    """What a run does, for a progress bar."""
    return ["segments", "tallystick", "tallystick, one thread", *PEERS, "shares", "bound"]


def run(
    records: int,
    devices: int,
    seconds: float,
    advance: Callable[[str], None],
    shares: Shares | None = None,
) -> Result:
    """Measure all; `advance(step)` is called before each of steps().

    shares: what tells what the time of ours and of the best peer goes to, in runs of its own.
    """
    records -= records % CHECKPOINT_RECORDS
    devices = min(devices, records // CHECKPOINT_RECORDS)
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        advance("segments")
        fleet = Fleet.init(folder / "fleet", "bench")
        members = [fleet.enrol("device", f"device-{number}") for number in range(devices)]
        loads = load.make(fleet, members, records)
        advance("tallystick")
        ours = _ours(folder / "tallystick", fleet, loads, None)
        advance("tallystick, one thread")
        alone_s = _ours(folder / "one-thread", fleet, loads, 0)
        peers = {}
        for name in PEERS:
            advance(name)
            peers[name] = _peer(folder / name, name, seconds)
        told: dict[str, Any] = {}
        if shares is not None:
            advance("shares")
            told["shares"] = shares(folder, fleet, loads, max(peers, key=peers.__getitem__))
        advance("bound")
        bound = bound_per_s(record(0))
        told |= verification(fleet, members[0], bound)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sent = sum(len(data) for one in loads for data in one.segments)
    details = {
        "records": records,
        "devices": devices,
        "records_a_segment": CHECKPOINT_RECORDS,
        "segment_bytes": round(sent / (records // CHECKPOINT_RECORDS)),
        "seconds": round(ours, 3),
        # As it comes, and without processes that verify ahead (limits.verify_workers = 0).
        "verify_workers": workers_by_default(),
        "one_thread_per_s": round(records / alone_s, 1),
        "one_thread_to_bound": round(records / alone_s / bound, 4),
        "one_thread_to_best_peer": round(records / alone_s / max(peers.values()), 2),
        **told,
    }
    return Result("ingest", records / ours, peers, bound, details)


def verification(fleet: Fleet, member: Member, bound: float) -> dict[str, Any]:
    """What verification alone is of the bound, beside the most that it can be (floor.py)."""
    (device,) = load.make(fleet, [member], ALONE_SEGMENTS * CHECKPOINT_RECORDS)
    one_s = floor.signature_s(device)
    # By records a checkpoint.
    alone = {each: verify_alone_per_s(fleet, member, each) / bound for each in ALONE_RECORDS}
    most = {each: floor.of_bound(each, bound, one_s) for each in ALONE_RECORDS}
    return {
        "signature_us": round(one_s * 1e6, 1),
        "verification_alone_to_bound": {str(each): round(alone[each], 4) for each in alone},
        "verification_floor_to_bound": {str(each): round(most[each], 4) for each in most},
        "verification_alone_to_floor": {
            str(each): round(alone[each] / most[each], 4) for each in alone
        },
    }


def verify_alone_per_s(fleet: Fleet, member: Member, each: int) -> float:
    """Records a second that one thread parses and verifies, without broker and store.

    The best of several rounds, as the bound; in the thread's own time, since a round is long enough
    to be interrupted.
    """
    (device,) = load.make(fleet, [member], ALONE_SEGMENTS * each, each)
    best_s = 0.0
    end = time.perf_counter() + ALONE_S
    while not best_s or time.perf_counter() < end:
        tree = Tree()
        start = time.thread_time()
        for data in device.segments:
            tree = verify_segment(parse(data), member.identity, tree).tree
        taken = time.thread_time() - start
        best_s = min(best_s or taken, taken)
    return ALONE_SEGMENTS * each / best_s


def _ours(folder: Path, fleet: Fleet, loads: list[Load], verify_workers: int | None) -> float:
    """Seconds; each call has a gateway of its own, with the default where the setting is None."""
    label = folder.name
    fleet.enrol("gateway", label)
    member = fleet.member("gateway", label)
    with Mosquitto(folder / "broker") as broker:
        url = f"mqtt://{broker.host}:{broker.port}"
        config = provision.gateway(fleet, member, broker=url)
        if verify_workers is not None:
            limits = f"\n[limits]\nverify_workers = {verify_workers}\n"
            config.write_text(config.read_text() + limits)
        with Processes(folder) as processes:
            processes.tally("gateway", "gateway", "run", "--config", str(config))
            return _send(broker, processes, fleet, member, loads)


def _send(
    broker: Mosquitto, processes: Processes, fleet: Fleet, gateway: Member, loads: list[Load]
) -> float:
    downs = f"{provision.topic_prefix(fleet)}/+/down"
    with Sender(broker.port, downs, lambda: processes.check(["gateway"])) as sender:
        for one in loads:
            sender.ask(f"{one.topic}/up", one.hello(), _welcomes(one))
        return sender.measure(load.in_turn(loads), Custody(loads, gateway.identity.key))


def _welcomes(one: Load) -> Callable[[Received], bool]:
    def answers(received: Received) -> bool:
        return received.topic == f"{one.topic}/down" and _kind(received.payload) == kinds.WELCOME

    return answers


def peer_messages(peer: Peer, seconds: float) -> list[bytes]:
    """Messages of 64 signed records, about as many as the peer can verify in the time.

    Every record is another one: some signatures are the same for the same record, and equal
    messages could not be told apart by their receipts.
    """
    start = time.perf_counter()
    for number in range(CHECKPOINT_RECORDS):
        peer.verify(peer.sign(record(number, number)))
    count = max(1, round(seconds / (time.perf_counter() - start)))
    return [
        cbor2.dumps([peer.sign(record(at + n, at + n)) for n in range(CHECKPOINT_RECORDS)])
        for at in range(0, count * CHECKPOINT_RECORDS, CHECKPOINT_RECORDS)
    ]


def _peer(folder: Path, name: str, seconds: float) -> float:
    """Records a second of one peer on the same way."""
    messages = peer_messages(checked(name, peer_gateway.SEED), seconds)
    waiting = {sha256(message) for message in messages}

    def complete(received: Received) -> bool:
        # A receipt is a signature and the digest of its message.
        waiting.discard(received.payload[-32:])
        return not waiting

    with (
        Mosquitto(folder / "broker") as broker,
        Processes(folder) as processes,
        Sender(broker.port, peer_gateway.DOWN, lambda: processes.check([name])) as sender,
    ):
        module = ["-m", "tallystick.tools.bench.peer_gateway"]
        store = str(folder / "peer.sqlite")
        processes.start(name, [sys.executable, *module, name, str(broker.port), store])
        sender.ask(peer_gateway.UP, peer_gateway.HELLO, lambda _received: True)
        taken = sender.measure(((peer_gateway.UP, message) for message in messages), complete)
    return len(messages) * CHECKPOINT_RECORDS / taken
