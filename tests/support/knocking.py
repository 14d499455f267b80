"""Plain connections to a door, as nobody polite makes them."""

import contextlib
import socket


def connect(url: str, receive_bytes: int = 0) -> socket.socket:
    """A connection to a page; receive_bytes: of the kernel's buffer here."""
    port = int(url.rpartition(":")[2])
    made = socket.socket()
    if receive_bytes:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    made.settimeout(60)
    made.connect(("127.0.0.1", port))
    return made


def ended(connection: socket.socket) -> bytes:
    """What came until the other side ended it."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)
