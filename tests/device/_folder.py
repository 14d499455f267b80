# A folder of its own for a test on either interpreter, removed afterwards.

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def remove(path: str) -> None:
    for name in os.listdir(path):
        try:
            os.remove(path + "/" + name)
        except OSError:
            remove(path + "/" + name)
    os.rmdir(path)


def within(function: "Callable[[str], None]") -> None:
    """Call it with the path of a new folder."""
    path = "/tmp/tally-%015d" % int.from_bytes(os.urandom(6), "big")
    os.mkdir(path)
    try:
        function(path)
    finally:
        remove(path)
