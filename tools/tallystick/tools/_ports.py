"""TCP ports of loopback for programs of one's own."""

import itertools
import os
import socket

from tallystick.evidence.errors import TransportError

HOST = "127.0.0.1"
# Below those that systems give to outgoing connections, and to who asks for any port: between
# choosing and listening, and while its program is away, nobody else comes upon such a one.
PORT_FIRST, PORTS = 20_000, 12_000
# Spreads processes that were started one after the other: a dozen in a row begin 600 ports apart
# at least, so none walks into the ports of another one whose program is away.
STRIDE = 7_417
ATTEMPTS_MAX = 1_000

_tried = itertools.count()


def free_port(count: int = 1) -> int:
    """A port that nobody listens on now, nor on those after it where `count` are wanted.

    One process is given none twice, and others begin elsewhere.
    """
    for _ in range(ATTEMPTS_MAX):
        ports = [PORT_FIRST + (os.getpid() * STRIDE + next(_tried)) % PORTS for _ in range(count)]
        if ports[-1] - ports[0] == count - 1 and all(_free(port) for port in ports):
            return ports[0]
    message = f"no free port of {HOST} was found in {ATTEMPTS_MAX} attempts"
    raise TransportError("no-port", message)


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
