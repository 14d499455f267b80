"""The pure core of the gateway: one message in, decisions out. No socket, file or clock.

Cheap refusals come first: retained, topic, size, kind, device, enrolment; only then is anything
decoded and a signature checked. What was refused after that is remembered and costs no more work.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import hello as hellos
from tallystick.evidence import keys
from tallystick.evidence import segment as segments
from tallystick.evidence.credential import Credential, Identity
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.folded import Folded
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import HELLO, SEGMENT
from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.evidence.welcome import Welcome
from tallystick.gateway import limits
from tallystick.gateway.decisions import (
    Answer,
    Decision,
    EpochBegan,
    EpochOpened,
    Merged,
    Refused,
    Send,
    Suspected,
    Unparked,
)
from tallystick.gateway.guard import Guard
from tallystick.gateway.identities import Identities
from tallystick.gateway.leaving import previous_of
from tallystick.gateway.pace import Bounded
from tallystick.gateway.parking import Parking
from tallystick.gateway.placing import Early, Placed, Placer
from tallystick.gateway.repairing import Repairs
from tallystick.gateway.tracks import Log, Track
from tallystick.gateway.view import View


class Message(NamedTuple):
    """One MQTT message."""

    topic: str
    payload: bytes
    retained: bool = False


class Instant(NamedTuple):
    """Now: wall time for what is signed and stored, monotonic time for rates."""

    wall_ms: int
    mono_s: float


class Ingest:
    """The core: `handle` a message, then `more` until there is no more.

    What either decides must be applied to what the view reads before the next call.
    """

    def __init__(
        self,
        view: View,
        roots: dict[str, PublicKey],
        prefix: str = "tallystick/1",
        *,
        parked_device_bytes_max: int = limits.PARKED_DEVICE_BYTES_MAX,
        parked_bytes_max: int = limits.PARKED_BYTES_MAX,
    ) -> None:
        self._view = view
        self._prefix = prefix + "/"
        self._parking = Parking(view, parked_device_bytes_max, parked_bytes_max)
        self.identities = Identities(view, roots)
        self._placer = Placer(view, self._next_track, self._log)
        self._repairs = Repairs(view, self._placer)
        self._logs: Bounded[tuple[bytes, bytes], Log] = Bounded(2**31)
        self._topics: Bounded[str, bytes] = Bounded(limits.IDENTITIES_CACHED_MAX)
        self._guard = Guard()
        self.dirty: dict[int, Track] = {}  # tracks that changed since take_dirty()
        self._heads: dict[bytes, bytes] = {}  # devices' newest heads since then
        self._ready: list[Log] = []  # parked segments of these may have found their place
        self._tracks_next = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything that the view may contradict now: a transaction was rolled back."""
        self._logs.clear()
        self.identities.reset()
        self.dirty = {}
        self._heads = {}
        self._ready = []
        self._tracks_next, parked = self._view.next_numbers()
        self._parking.reset(parked)

    def take_dirty(self) -> list[Track]:
        """The tracks whose rows must be written; asked once a transaction, at its end."""
        dirty, self.dirty = self.dirty, {}
        self._heads = {}
        # Only now may a log be forgotten: its rows are about to be as new as it is.
        if len(self._logs) > limits.LOGS_CACHED_MAX:
            self._logs.clear()
        return list(dirty.values())

    def frozen(self, track: Track) -> bool:
        """Whether the device left the epoch of this track."""
        return self._log(track.device, track.epoch).frozen_at is not None

    # --- the door ---------------------------------------------------------------------------

    def sender(self, topic: str) -> bytes | None:
        """The known device whose topic this is."""
        try:
            device = self._device_of(Message(topic, b""))
        except TallyError:
            return None
        return None if self.identities.find(device) is None else device

    def tell_full(self, topics: Iterable[str], at: Instant) -> list[Decision]:
        """What devices hear while the store is full and nothing of theirs is taken."""
        found: list[Decision] = []
        for device in filter(None, map(self.sender, topics)):
            found += self._guard.notice(device, "store-full", None, at.mono_s)
        return found

    def handle(self, message: Message, at: Instant, folded: Folded | None = None) -> list[Decision]:
        """Decide on one message; what is wrong with it is a decision too, never an exception.

        `folded` is what a process of ours found of its payload, and changes no decision.
        """
        device = None
        try:
            device = self._device_of(message)
            return self._accept(device, message.payload, at, folded)
        except TallyError as error:
            return self._refuse(error, device, message.payload, at)

    def learn(self, statements: list[bytes], at: Instant) -> list[Decision]:
        """Take a credential from the enrolments folder; a TallyError says what is wrong with it."""
        credential = Credential(statements)
        learned = self.identities.learn(credential, None, at.wall_ms // 1000)
        return [] if learned is None else [learned]

    def _device_of(self, message: Message) -> bytes:
        if message.retained:
            raise Malformed("retained", "a retained message: devices never send one")
        device = self._topics.get(message.topic)
        if device is None:
            prefix, topic = self._prefix, message.topic
            if not topic.startswith(prefix) or not topic.endswith("/up"):
                raise Malformed("wrong-topic", f"not a topic of {prefix}<device id>/up")
            try:
                device = keys.device_from_text(topic[len(prefix) : -3])
            except Malformed as error:
                raise Malformed("wrong-topic", "the topic names no device id") from error
            self._topics.put(topic, device)
        return device

    def _accept(
        self, device: bytes, payload: bytes, at: Instant, folded: Folded | None
    ) -> list[Decision]:
        if len(payload) > SEGMENT_BYTES_MAX:
            raise Malformed("too-large", f"a message of {len(payload)} bytes")
        if len(payload) < 2:
            raise Malformed("truncated", "a message without a kind")
        kind = payload[1] if payload[0] >> 5 == 4 else -1
        if kind == SEGMENT:
            return self._segment(device, payload, at, folded)
        if kind == HELLO:
            return self._hello(device, payload, at)
        raise Malformed("unknown-kind", "neither a segment nor a hello")

    def _refuse(
        self, error: TallyError, device: bytes | None, payload: bytes, at: Instant
    ) -> list[Decision]:
        if device is None:
            return [Refused(error.reason, error.message)]
        known = self.identities.find(device) is not None
        if known:
            self._guard.refused(device, payload, error, at.mono_s)
        refused = Refused(error.reason, error.message, device if known else None)
        return [refused, *self._guard.notice(device, error.reason, None, at.mono_s)]

    # --- hello ------------------------------------------------------------------------------

    def _hello(self, device: bytes, payload: bytes, at: Instant) -> list[Decision]:
        self._guard.check(device, payload, at.mono_s)
        hello = hellos.parse(payload)
        if hello.device != device:
            raise Unverified("wrong-device", "a hello on the topic of another device")
        self._guard.check_hello(device, at.mono_s)
        decisions: list[Decision] = []
        credential = Credential(hello.credential)
        if not self.identities.same(device, credential):
            self._guard.check_credentials(at.mono_s)
            learned = self.identities.learn(credential, device, at.wall_ms // 1000)
            if learned is not None:
                decisions.append(learned)
                self._guard.forgive(device)
        self.identities.current(device, at.wall_ms // 1000)
        return decisions + self._welcome(hello, at)

    def _welcome(self, hello: hellos.Hello, at: Instant) -> list[Decision]:
        device = hello.device
        log = self._log(device, hello.epoch)
        newest = self._newest(log)
        receipts = [] if newest is None else newest.receipts()
        custody = receipts[-1] if receipts else None
        welcome = Welcome(at.wall_ms, self._heads.get(device) or self._view.newest(device), custody)
        decisions: list[Decision] = [Send(device, welcome.encode())]
        decisions += [Send(device, data) for data in self._view.notarised(device, hello.epoch)]
        if newest is not None and newest.custody_to < newest.size:
            # It was committed and the process died before the receipt was signed.
            decisions.append(Answer(newest))
        known = log.hole(hello.size)
        if known < hello.size and hello.first < hello.size:
            decisions += self._ask(log, max(known, hello.first), None, at)
        return decisions

    @staticmethod
    def _newest(log: Log) -> Track | None:
        return max(log.tracks, key=lambda track: track.size, default=None)

    # --- segments ---------------------------------------------------------------------------

    def _segment(
        self, device: bytes, payload: bytes, at: Instant, folded: Folded | None
    ) -> list[Decision]:
        # [13, device, ...]: the id stands at a fixed place, before anything is decoded.
        if payload[2:4] == b"\x58\x20" and payload[4:36] != device:
            raise Unverified("wrong-device", "a segment on the topic of another device")
        identity = self.identities.current(device, at.wall_ms // 1000)
        self._guard.check(device, payload, at.mono_s)
        if folded is not None and folded.device == device:
            log = self._log(device, folded.epoch)
            quick = self._placer.folded(log, folded, payload, identity) if log.opened else None
            if quick is not None:
                return self._take(log, quick, at)
        segment = segments.parse(payload)
        if segment.device != device:
            raise Unverified("wrong-device", "a segment on the topic of another device")
        log = self._log(device, segment.epoch)
        if not log.opened and len(self._view.epochs(device)) >= limits.EPOCHS_PER_DEVICE_MAX:
            raise Unverified("over-quota", "the device has begun too many epochs")
        known = log.known_to()
        # Nothing is damaged of what is not known yet; one segment may bring back, and go on.
        begins = segment.first < known or segment.to <= known
        repaired = self._repairs.part(log, segment, identity) if begins else None
        if repaired is not None and segment.to <= known:
            return [*repaired, Refused("replayed", "known already, and damaged here", device)]
        found: list[Decision] = [*(repaired or ())]
        try:
            return found + self._place(log, segment, identity, at)
        except TallyError as error:
            found += self._refuse(error, device, payload, at)
            if error.reason == "bad-root" and segment.first:
                # Perhaps the other side of a fork: with an edge, or from 0, it can be shown.
                found += self._ask(log, 0, None, at)
            return found

    def _place(
        self, log: Log, segment: segments.Segment, identity: Identity, at: Instant
    ) -> list[Decision]:
        try:
            placed = self._placer.place(log, segment, identity)
        except Early:
            return self._park(log, segment, identity, at)
        if placed.repeats is not None:
            return [
                Refused("replayed", "known already; answered as before", log.device),
                Answer(placed.repeats),
            ]
        return self._take(log, placed, at)

    def _take(self, log: Log, placed: Placed, at: Instant) -> list[Decision]:
        decisions: list[Decision] = []
        if not log.opened:
            log.opened = True
            decisions.append(EpochOpened(log.device, log.epoch))
        decisions += placed.decisions
        self._touch(log, placed)
        if placed.first_record is not None:
            decisions += self._begin(log, placed.first_record)
        for decision in placed.decisions:
            if isinstance(decision, Suspected):
                message = "kept as evidence; the device contradicts itself"
                decisions.append(Refused(decision.reason, message, log.device))
                decisions += self._guard.notice(log.device, decision.reason, log.epoch, at.mono_s)
        if log.parked and log not in self._ready:
            self._ready.append(log)
        return decisions

    def _touch(self, log: Log, placed: Placed) -> None:
        for track in placed.touched:
            self.dirty[track.track] = track
            if log.frozen_at is None:
                self._heads[log.device] = track.head
        for decision in placed.decisions:
            if isinstance(decision, Merged):
                self.dirty.pop(decision.gone.track, None)

    def _begin(self, log: Log, record: bytes) -> list[Decision]:
        # The epoch's first record names the epoch that its device left (docs/protocol.md, 2.1).
        previous = previous_of(record)
        left_at = self._view.named_as_previous(log.device, log.epoch)
        frozen = []
        if left_at is not None:
            # A later epoch was seen first: this one is history, and freezes nothing.
            log.frozen_at = max(left_at, log.known_to())
            frozen.append((log.epoch, log.frozen_at))
        else:
            for epoch in self._view.epochs(log.device):
                other = self._log(log.device, epoch)
                if epoch == log.epoch or other.frozen_at is not None:
                    continue
                named = previous[1] if previous is not None and previous[0] == epoch else 0
                other.frozen_at = max(named, other.known_to())
                frozen.append((epoch, other.frozen_at))
        return [EpochBegan(log.device, log.epoch, previous, tuple(frozen))]

    # --- what comes early -------------------------------------------------------------------

    def _park(
        self, log: Log, segment: segments.Segment, identity: Identity, at: Instant
    ) -> list[Decision]:
        signed = segment.stretches[-1].checkpoint
        head = checkpoints.parse(signed)
        if any(digest == head.digest for _, _, digest in log.parked.values()):
            again = Refused("replayed", "parked already", log.device)
            return [again, *self._ask_for_hole(log, segment.first, at)]
        # Only what the device signed may use its quota.
        if head.sub != identity.text or head.epoch != segment.epoch or head.size != segment.to:
            raise Unverified("bad-stretch", "the segment's last checkpoint is not its own")
        head.verify(identity.key_of(head))
        decisions: list[Decision] = [self._parking.park(log, segment, head)]
        return decisions + self._ask_for_hole(log, segment.first, at)

    def more(self, at: Instant) -> list[Decision]:
        """Place one parked segment whose hole was filled; empty when there is none."""
        while self._ready:
            log = self._ready[-1]
            number = self._placeable(log)
            if number is None:
                self._ready.pop()
                continue
            placed = self._place_parked(log, self._parking.take(log, number), at)
            return [Unparked(number), *placed]
        return []

    @staticmethod
    def _placeable(log: Log) -> int | None:
        # The earliest first; a track that reaches it, or passes it, gives it history.
        for number, (first, _, _) in sorted(log.parked.items(), key=lambda item: item[1][0]):
            if any(track.began <= first <= track.size for track in log.tracks):
                return number
        return None

    def _place_parked(self, log: Log, data: bytes, at: Instant) -> list[Decision]:
        try:
            identity = self.identities.current(log.device, at.wall_ms // 1000)
            placed = self._placer.place(log, segments.parse(data), identity)
        except Early:
            return [Refused("no-history", "parked, and still without history", log.device)]
        except TallyError as error:
            return self._refuse(error, log.device, data, at)
        if placed.repeats is not None:
            return [Answer(placed.repeats)]
        return self._take(log, placed, at)

    def _ask_for_hole(self, log: Log, first: int, at: Instant) -> list[Decision]:
        return self._ask(log, log.hole(first), first, at)

    def _ask(self, log: Log, from_: int, to: int | None, at: Instant) -> list[Decision]:
        return self._guard.ask(log.device, log.epoch, from_, to, at.mono_s)

    def moved(self, leaves: Callable[[bytes], bool]) -> list[bytes]:
        """Devices of which something is parked here, and which `leaves` says are elsewhere now."""
        return self._parking.moved(leaves)

    def drop_parked(self, devices: list[bytes], most: int) -> list[Unparked]:
        """Give up to `most` parked segments of these devices up: none of them was in custody."""
        return self._parking.drop(devices, most, self._logs.get)

    # --- memory -----------------------------------------------------------------------------

    def _log(self, device: bytes, epoch: bytes) -> Log:
        log = self._logs.get((device, epoch))
        if log is None:
            log = self._view.log(device, epoch)
            self._logs.put((device, epoch), log)
        return log

    def _next_track(self) -> int:
        self._tracks_next += 1
        return self._tracks_next - 1
