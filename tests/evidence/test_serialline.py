"""Frames and lines of section 3.5: every loss, every echo, and no byte twice (fault F22)."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import wire
from support.mutants import flips
from support.scenarios.lines import GOOD
from tallystick.evidence import serialframe
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.evidence.serialframe import ACK, CLOSED, DOWN, LAST, OPEN, PIECE, PIECE_BYTES_MAX
from tallystick.evidence.serialline import MESSAGES_MAX
from tallystick.gateway.serialport import GatewayLine
from tallystick.recorder.serial_uplink import DeviceLine

SESSION = b"abcd"
KINDS = st.sampled_from((PIECE, LAST, DOWN | PIECE, DOWN | LAST))
PAYLOADS = st.binary(min_size=1, max_size=PIECE_BYTES_MAX)
HOUR_MS = 3_600_000


@given(KINDS, st.binary(min_size=4, max_size=4), st.integers(0, 65535), PAYLOADS)
def test_frames_round_trip(kind: int, session: bytes, sequence: int, payload: bytes) -> None:
    frame = serialframe.encode(kind, session, sequence, payload)
    assert len(frame) <= 256
    assert frame.index(0) == len(frame) - 1
    assert serialframe.parse(frame[:-1]) == (kind, session, sequence, payload)


@pytest.mark.parametrize("name", GOOD)
def test_every_flip_of_a_bit_is_refused(name: str) -> None:
    for flipped in flips(GOOD[name][:-1]):
        with pytest.raises(Malformed):
            serialframe.parse(flipped)


class Pair:
    """A device and a gateway, a wire in each direction, and a clock."""

    def __init__(self, credit: int = 8) -> None:
        self.device, self.gateway = DeviceLine(0, credit, 66_048), GatewayLine()
        self.up: Callable[[bytes], bytes] = wire.clean
        self.down: Callable[[bytes], bytes] = wire.clean
        self.now = 0
        self.device.begin(SESSION, self.now)

    def turn(self) -> None:
        self.now += 5
        if not self.device.up:
            self.device.wait(self.now)
        up, down = said(self.device, self.now), said(self.gateway, self.now)
        self.gateway.feed(self.up(up), self.now)
        self.device.feed(self.down(down), self.now)
        self.gateway.tick(self.now)

    def run(self, up: list[bytes], down: list[bytes]) -> tuple[list[bytes], list[bytes]]:
        """What arrived, when everything did or an hour is over."""
        todo_up, todo_down = list(up), list(down)
        got_up: list[bytes] = []
        got_down: list[bytes] = []
        while self.now < HOUR_MS and (len(got_up), len(got_down)) != (len(up), len(down)):
            for line, todo in ((self.device, todo_up), (self.gateway, todo_down)):
                if todo and line.send(len(todo[0]), (todo[0],)):
                    todo.pop(0)
            self.turn()
            got_up += self.gateway.messages
            got_down += self.device.messages
            self.gateway.messages.clear()
            self.device.messages.clear()
        return got_up, got_down


def said(line: DeviceLine | GatewayLine, now: int) -> bytes:
    out = b""
    while frame := line.output(now):
        out += frame
    return out


def made(seed: int, sizes: tuple[int, ...]) -> list[bytes]:
    drawn = Random(seed)
    return [drawn.randbytes(size) for size in sizes]


UP, DOWNWARDS = made(1, (0, 1, 242, 243, 244, 486, 9000)), made(2, (300, 1, 4000))


@pytest.mark.parametrize("credit", [1, 8])
def test_the_largest_segment_crosses(credit: int) -> None:
    pair = Pair(credit)
    up = made(3, (SEGMENT_BYTES_MAX,))
    assert pair.run(up, DOWNWARDS) == (up, DOWNWARDS)
    assert pair.gateway.bad == pair.device.resent == pair.gateway.repeated == 0


@pytest.mark.parametrize("seed", range(20))
def test_noise_costs_time_only(seed: int) -> None:
    pair = Pair(1 + seed % 8)
    rate = 200 + 100 * (seed % 5)
    pair.up, pair.down = wire.noisy(seed, rate), wire.noisy(-seed - 1, rate)
    assert pair.run(UP, DOWNWARDS) == (UP, DOWNWARDS)
    assert pair.gateway.bad
    assert pair.gateway.resyncs


def whole_frames(seed: int) -> Callable[[bytes], bytes]:
    """Loses and doubles whole frames, which no CRC shows."""
    drawn = Random(seed)

    def fault(data: bytes) -> bytes:
        frames = [frame + b"\0" for frame in data.split(b"\0")[:-1]]
        return b"".join(frame * drawn.choice((0, 1, 1, 1, 2, 3)) for frame in frames)

    return fault


@pytest.mark.parametrize("seed", range(20))
def test_frames_lost_and_doubled_are_taken_once(seed: int) -> None:
    pair = Pair(1 + seed % 8)
    pair.up, pair.down = whole_frames(seed), whole_frames(-seed - 1)
    assert pair.run(UP, DOWNWARDS) == (UP, DOWNWARDS)
    assert pair.gateway.repeated
    assert not pair.gateway.bad


def test_an_echo_is_no_answer() -> None:
    pair = Pair()
    pair.gateway.feed(b"", 0)
    for _ in range(300):
        pair.now += 5
        pair.device.wait(pair.now)
        pair.device.feed(said(pair.device, pair.now), pair.now)
    assert not pair.device.up
    assert pair.device.bad
    assert pair.device.messages == []


def test_numbers_go_round() -> None:
    pair = Pair()
    up = made(4, (1,)) * 66_000
    assert pair.run(up, []) == (up, [])


@given(st.lists(st.binary(max_size=40), max_size=20))
@settings(max_examples=200)
def test_after_any_noise_the_next_frame_is_read(noise: list[bytes]) -> None:
    line = GatewayLine()
    for data in noise:
        line.feed(data, 0)
    line.feed(b"\0" + serialframe.encode(OPEN, b"good", 0, b"\1\1"), 0)
    assert line.up
    assert line.session == b"good"


def frame(kind: int, sequence: int = 0, payload: bytes = b"", session: bytes = SESSION) -> bytes:
    return serialframe.encode(kind, session, sequence, payload)


@pytest.fixture
def gateway() -> GatewayLine:
    line = GatewayLine()
    line.feed(frame(OPEN, 0, b"\1\4"), 0)
    said(line, 0)
    return line


def test_an_opening_that_comes_twice_begins_nothing(gateway: GatewayLine) -> None:
    gateway.feed(frame(PIECE, 0, b"one "), 0)
    gateway.feed(frame(OPEN, 0, b"\1\4") + frame(PIECE, 0, b"one ") + frame(LAST, 1, b"two"), 0)
    assert gateway.messages == [b"one two"]
    assert (gateway.sessions, gateway.repeated) == (1, 1)


def test_a_new_session_forgets_what_was_begun(gateway: GatewayLine) -> None:
    gateway.feed(frame(PIECE, 0, b"one "), 0)
    gateway.feed(frame(OPEN, 0, b"\1\4", b"next") + frame(LAST, 0, b"two", b"next"), 0)
    gateway.feed(frame(LAST, 1, b"three"), 0)
    assert gateway.messages == [b"two"]
    kinds = [serialframe.parse(one)[0] & ~DOWN for one in said(gateway, 0).split(b"\0")[:-1]]
    assert kinds == [OPEN, CLOSED, ACK]


def test_what_is_too_long_ends_the_session(gateway: GatewayLine) -> None:
    piece = bytes(PIECE_BYTES_MAX)
    for number in range(SEGMENT_BYTES_MAX // PIECE_BYTES_MAX + 1):
        assert gateway.up
        gateway.feed(frame(PIECE, number, piece), 0)
    assert (gateway.up, gateway.oversized, gateway.messages) == (False, 1, [])
    assert len(gateway._parts) == 0


def test_messages_beyond_the_credit_are_dropped(gateway: GatewayLine) -> None:
    most = MESSAGES_MAX + gateway._window
    for number in range(2 * most):
        gateway.feed(frame(LAST, number, b"x"), 0)
    assert len(gateway.messages) == most
    (ack,) = said(gateway, 0).split(b"\0")[:-1]
    assert serialframe.parse(ack)[2:] == (most, b"\0")
    gateway.messages.clear()
    (ack,) = said(gateway, 0).split(b"\0")[:-1]
    assert serialframe.parse(ack)[2:] == (most, bytes([gateway._window]))


def test_without_credit_nothing_new_is_sent(gateway: GatewayLine) -> None:
    message = bytes(5000)
    assert gateway.send(len(message), (message,))
    assert said(gateway, 0).count(b"\0") == 4
    gateway.feed(frame(ACK, 3, b"\0"), 0)
    assert said(gateway, 0) == b""
    # One that may be lost is sent again all the same: the end that awaits it may be full no more.
    assert said(gateway, 9000).count(b"\0") == 3
    gateway.feed(frame(ACK, 4, b"\2"), 9000)
    assert said(gateway, 9000).count(b"\0") == 2


def test_an_ack_of_what_was_not_sent_is_none(gateway: GatewayLine) -> None:
    assert gateway.send(500, (bytes(500),))
    said(gateway, 0)
    for sequence in (4, 9, 65535):
        gateway.feed(frame(ACK, sequence, b"\4"), 0)
        assert gateway.pending == 3


@pytest.mark.parametrize(("size", "pieces"), [(10, (b"short",)), (3, (b"long", b""))])
def test_a_message_of_another_size_is_told(
    gateway: GatewayLine, size: int, pieces: tuple[bytes, ...]
) -> None:
    gateway.send(size, pieces)
    with pytest.raises(TransportError) as told:
        gateway.output(0)
    assert told.value.reason == "wrong-size"


def test_another_version_is_told() -> None:
    gateway, device = GatewayLine(), DeviceLine(0, 1, 100)
    device.begin(SESSION, 0)
    gateway.feed(frame(OPEN, 0, b"\2\1"), 0)
    assert not gateway.up
    with pytest.raises(TransportError, match="another version"):
        device.feed(said(gateway, 0), 0)


def test_a_silent_session_is_forgotten(gateway: GatewayLine) -> None:
    gateway.tick(30_000)
    assert gateway.up
    gateway.tick(30_001)
    assert not gateway.up
    assert said(gateway, 90_000) == b""
