"""Reading from a broker: many messages with one system call, each with little work.

paho reads a packet's type, each byte of its length and its body by system calls of their own, and
returns to select() after each packet. After each call its thread waits for Python's lock, which the
ingest worker wants as well. Here everything that has come is read at once, and the common packet, a
whole PUBLISH without properties, goes to on_message as it is. All other packets are paho's, which
reads them out of the same buffer.
"""

import time
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import MQTTErrorCode

from tallystick.gateway import limits

_AGAIN = MQTTErrorCode.MQTT_ERR_AGAIN
_SUCCESS = MQTTErrorCode.MQTT_ERR_SUCCESS
_PUBLISH = 0x30
_LENGTH_BYTES_MAX = 4  # MQTT 3.1.1 and 5, 2.2.3 and 2.1.4


class Received(NamedTuple):
    """A message, with the names that paho gives its parts."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int


class ReadingClient(mqtt.Client):
    """A client whose on_message gets Received or paho's own MQTTMessage."""

    _got = b""  # what was read and not looked at begins at _at
    _at = 0
    _may_fill = True

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """As paho's, and then whatever else is here: select() knows only of the socket.

        Read once only: who sends without end must not keep this thread from writing.
        """
        self._may_fill = True
        rc = super().loop_read(max_packets)
        while rc == _SUCCESS and self._sock is not None and self._ready():
            rc = super().loop_read(max_packets)
        return rc

    def forget(self) -> None:
        """A new connection: what is left of the one before is not of it."""
        self._got, self._at = b"", 0

    def _sock_recv(self, bufsize: int) -> bytes:
        # What paho reads by itself stands in the buffer first.
        if self._at < len(self._got):
            data = self._got[self._at : self._at + bufsize]
            self._at += len(data)
            return data
        return super()._sock_recv(bufsize)

    def _packet_read(self) -> MQTTErrorCode:
        if self._in_packet["command"]:
            return super()._packet_read()  # one that paho has begun
        if not self._ready():
            if not self._may_fill:
                return _AGAIN
            try:
                ended = not self._fill()
            except BlockingIOError:
                return _AGAIN
            except OSError:
                ended = True
            if ended:
                return super()._packet_read()  # paho sees it, too, and says so
        end = self._whole()
        if end and self._publish(end):
            return _SUCCESS
        return super()._packet_read() if self._ready() else _AGAIN

    def _fill(self) -> bool:
        # False where the connection has ended.
        self._may_fill = False
        data = super()._sock_recv(limits.BROKER_READ_BYTES)
        self._got = self._got[self._at :] + data if self._at < len(self._got) else data
        self._at = 0
        # By which paho knows that the broker lives; its name was another one before 2.2.
        with self._msgtime_mutex:
            self._last_bytes_received = self._last_msg_in = time.monotonic()
        return bool(data)

    def _head(self) -> tuple[int, int]:
        # Where the body of the next packet begins and ends; (0, 0) where that is not known.
        got, size = self._got, 0
        begin = self._at + 1
        for number, byte in enumerate(got[begin : begin + _LENGTH_BYTES_MAX]):
            size |= (byte & 127) << 7 * number
            if byte < 128:
                begin += number + 1
                return begin, begin + size
        return 0, 0

    def _whole(self) -> int:
        # The end of the next packet where all of it is here; else 0.
        end = self._head()[1]
        return end if end <= len(self._got) else 0

    def _ready(self) -> bool:
        # Whether there is something to do without more bytes. What is too long for the buffer, or
        # no packet, is paho's to collect, or to refuse.
        begin, end = self._head()
        here = len(self._got) - self._at
        if not end:
            return here > _LENGTH_BYTES_MAX
        return end <= len(self._got) or end - begin > limits.BROKER_READ_BYTES

    def _publish(self, end: int) -> bool:
        # Gives the next packet, which ends there, to on_message; False where it is not the common
        # one, and nothing has changed then.
        got, first = self._got, self._got[self._at]
        qos = first >> 1 & 3
        if first & 0xF0 != _PUBLISH or qos > 1 or self.on_message is None:
            return False
        five = self._protocol == mqtt.MQTTv5
        begin = self._head()[0] + 2
        at = begin + int.from_bytes(got[begin - 2 : begin], "big")
        body = at + 2 * qos + five
        if at == begin or body > end or (five and got[body - 1]):
            return False  # no topic, cut off, or with properties
        mid = int.from_bytes(got[at : at + 2], "big") if qos else 0
        try:
            topic = got[begin:at].decode()
        except UnicodeDecodeError:
            return False
        self._at = end
        received = Received(topic, got[body:end], qos, bool(first & 1), mid)
        self.on_message(self, self._userdata, received)  # type: ignore[arg-type]  # the same names
        return True
