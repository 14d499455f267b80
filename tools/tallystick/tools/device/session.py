"""Work on a board that may go away in the middle: a watchdog that was started cannot be stopped."""

import time
from collections.abc import Callable
from typing import TypeVar

import click

from tallystick.evidence.errors import TransportError
from tallystick.tools.device import ports
from tallystick.tools.device.connection import Connection

RETURN_S_MAX = 15.0
LOOK_S = 0.5
AGAIN = "the board went away, as one does whose program started a watchdog; trying once more"

Result = TypeVar("Result")


def on_board(
    port: str | None,
    board: str | None,
    work: Callable[[Connection], Result],
    *,
    wait_s: float = 0.0,
) -> Result:
    """What `work` gives; it is called once more where the board goes away meanwhile.

    After its reset the board is interrupted before its program has started the watchdog again.

    :param wait_s: for the board to be there at first.
    """
    lost: TransportError | None = None
    while True:
        try:
            connection = connected(port, board, RETURN_S_MAX if lost else wait_s)
        except TransportError as error:
            raise lost or error from error
        try:
            with connection:
                return work(connection)
        except TransportError as error:
            if lost is not None or error.reason != "unplugged":
                raise
            lost = error
            click.echo(AGAIN, err=True)


def connected(port: str | None, board: str | None, wait_s: float) -> Connection:
    """A connection, as soon as there is one."""
    limit = time.monotonic() + wait_s
    while True:
        try:
            return Connection(ports.choose(port, board))
        except TransportError:
            if time.monotonic() > limit:
                raise
        time.sleep(LOOK_S)
