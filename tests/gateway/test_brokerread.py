"""Many messages with one system call: those that paho reads by itself, however they come."""

import contextlib
import socket
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.gateway import limits
from tallystick.gateway.brokerclient import make_client
from tallystick.gateway.brokerread import ReadingClient, Received
from tallystick.gateway.config import BrokerConfig

Seen = list[tuple[Any, ...]]
VERSIONS = (mqtt.MQTTv311, mqtt.MQTTv5)


def packet(first: int, body: bytes) -> bytes:
    size = len(body)
    head = [first]
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    return bytes([*head, size]) + body


def publish(
    five: bool,
    topic: bytes = b"t",
    payload: bytes = b"",
    flags: int = 2,
    mid: int = 1,
    properties: bytes = b"\0",
) -> bytes:
    number = mid.to_bytes(2, "big") if flags & 6 else b""
    body = len(topic).to_bytes(2, "big") + topic + number + (properties if five else b"") + payload
    return packet(0x30 | flags, body)


class Line:
    """A client without threads at one end of a line, and what its callback was given."""

    def __init__(self, kind: Callable[..., mqtt.Client], version: int) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.client = kind(CallbackAPIVersion.VERSION2, protocol=version, manual_ack=True)
        self.client._sock = self.near
        self.client.on_message = self._on_message
        self.seen: Seen = []
        self.quick = 0
        self.waits = 0

    def _on_message(self, _client: mqtt.Client, _data: Any, got: Any) -> None:
        self.quick += isinstance(got, Received)
        try:
            topic = got.topic
        except UnicodeDecodeError:
            topic = None
        self.seen.append((topic, bytes(got.payload), got.qos, got.retain, got.mid))

    def turn(self) -> None:
        """Read until nothing is left in the socket, as select() would have it."""
        while self.client._sock is not None:
            try:
                more = self.near.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return
            except ConnectionResetError:
                more = b""
            self.client.loop_read()
            if not more:
                return

    def close(self) -> None:
        self.far.close()
        self.near.close()


def both(version: int, parts: list[bytes]) -> list[Line]:
    lines = [Line(mqtt.Client, version), Line(ReadingClient, version)]
    for line in lines:
        for part in parts:
            line.far.sendall(part)
            # paho's own, of a packet that is cut off within
            with contextlib.suppress(struct.error):
                line.turn()
        line.far.close()
        with contextlib.suppress(struct.error):
            line.turn()
        line.close()
    return lines


PACKETS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([b"t", b"a/b", "\u00fc".encode(), b"\xff", b"x" * 300]),
            st.binary(max_size=300),
            st.sampled_from([0, 1, 2, 3, 8, 10]),
            st.integers(1, 65_535),
            # None; a message's expiry.
            st.sampled_from([b"\0", b"\x05\x02\0\0\0\x09"]),
        ),
        st.just(None),
    ),
    max_size=12,
)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(VERSIONS), PACKETS, st.lists(st.integers(0, 4_000), max_size=8))
def test_however_it_is_cut_the_messages_are_those_that_paho_reads(
    version: int, packets: list[Any], cuts: list[int]
) -> None:
    # None is a PINGRESP, which is paho's own.
    made = [b"\xd0\0" if one is None else publish(version == mqtt.MQTTv5, *one) for one in packets]
    data = b"".join(made)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    plain, ours = both(version, [data[a:b] for a, b in pairwise(ends)])
    assert ours.seen == plain.seen
    assert len(ours.seen) == sum(one is not None for one in packets)
    common = [
        one
        for one in packets
        if one and one[0] != b"\xff" and (version != mqtt.MQTTv5 or one[4] == b"\0")
    ]
    assert ours.quick == len(common)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "bad",
    [
        packet(0x32, b"\0\0\0\1\0"),  # no topic
        packet(0x34, b"\0\1t\0\1\0xxxx"),  # QoS 2
        packet(0x36, b"\0\1t\0\1\0xxxx"),  # QoS 3
        packet(0x32, b"\0\5t\0\1"),  # a topic beyond its end
        b"\x32\xff\xff\xff\xff\1",  # a length of five bytes
        packet(0x90, b"\0\1\0\0"),  # a SUBACK to nobody
        b"",  # the end
    ],
)
def test_what_is_malformed_is_paho_s(version: int, bad: bytes) -> None:
    good = publish(version == mqtt.MQTTv5, payload=b"good")
    plain, ours = both(version, [good + bad])
    assert ours.seen == plain.seen
    assert ours.seen[0] == ("t", b"good", 1, False, 1)
    assert (ours.client._sock is None) == (plain.client._sock is None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_long_message_is_collected(version: int) -> None:
    five = version == mqtt.MQTTv5
    # Within, it looks as if others began.
    within = publish(five, payload=b"l" * 100)
    long = publish(five, payload=within * (limits.BROKER_READ_BYTES // len(within) + 1), mid=2)
    fits = publish(five, payload=b"f" * (limits.BROKER_READ_BYTES - 100), mid=3)
    data = publish(five, payload=b"s") + long + fits + publish(five, payload=b"e", mid=4)
    parts = [data[at : at + 50_000] for at in range(0, len(data), 50_000)]
    plain, ours = both(version, parts)
    assert ours.seen == plain.seen
    assert [one[4] for one in ours.seen] == [1, 2, 3, 4]
    assert ours.quick == 3


def test_many_messages_take_one_call() -> None:
    line = Line(ReadingClient, mqtt.MQTTv311)
    calls: list[int] = []
    read = mqtt.Client._sock_recv

    def counted(client: mqtt.Client, size: int) -> bytes:
        calls.append(size)
        return read(client, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mqtt.Client, "_sock_recv", counted)
        line.far.sendall(b"".join(publish(False, payload=b"x" * 1_000) for _ in range(50)))
        # Without another look at the socket: select() would not say that there is more.
        line.client.loop_read()
    assert len(line.seen) == 50
    assert calls == [limits.BROKER_READ_BYTES]
    line.close()


def test_who_sends_without_end_keeps_nobody_from_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BROKER_READ_BYTES", 1_000)
    line = Line(ReadingClient, mqtt.MQTTv311)
    one = publish(False, payload=b"x" * 100, flags=0)
    line.far.sendall(one * 50)
    # paho reads as many packets at once as it has messages on their way.
    line.client._out_messages.update(dict.fromkeys(range(100), mqtt.MQTTMessage()))
    line.client.loop_read()
    assert len(line.seen) == 1_000 // len(one)
    line.client._out_messages.clear()
    line.turn()
    assert len(line.seen) == 50
    line.close()


def test_a_new_connection_has_nothing_of_the_one_before() -> None:
    client = make_client(BrokerConfig(client_id="gw"))
    line = Line(lambda *_args, **_given: client, mqtt.MQTTv311)
    line.far.sendall(publish(False, payload=b"whole") + publish(False, payload=b"cut")[:-1])
    line.turn()
    line.close()
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        client._sock = near
        client._call_socket_open(near)
        near.setblocking(False)
        line.far, line.near = far, near
        far.sendall(publish(False, payload=b"new"))
        line.turn()
        line.close()
    assert [one[1] for one in line.seen] == [b"whole", b"new"]


def test_what_comes_counts_as_a_sign_of_the_broker_s_life() -> None:
    line = Line(ReadingClient, mqtt.MQTTv311)
    line.client._last_bytes_received = 0.0
    line.far.sendall(publish(False))
    line.turn()
    assert line.client._last_bytes_received > 0
    line.close()
