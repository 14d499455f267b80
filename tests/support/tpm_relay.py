"""A program that speaks for a TPM on standard input and output: relay.py PORT COUNTED.

For the library's TCTI `cmd:`. It adds a byte to the file COUNTED for each command, and ends when
the TPM does not answer.
"""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path


def whole(read: Callable[[], bytes]) -> bytes:
    """A command or an answer: its size stands in bytes 2 to 6."""
    data = b""
    while len(data) < 6 or len(data) < int.from_bytes(data[2:6], "big"):
        part = read()
        if not part:
            sys.exit(1)
        data += part
    return data


def main() -> None:
    """Relay one command after another."""
    port, counted = int(sys.argv[1]), Path(sys.argv[2])
    while True:
        command = whole(lambda: os.read(0, 4096))
        with counted.open("ab") as file:
            file.write(b".")
        with socket.create_connection(("127.0.0.1", port), timeout=90) as link:
            link.sendall(command)
            answer = whole(lambda: link.recv(4096))
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
