# Boots of one device: on MicroPython each is a process of its own (support/device_suite.py), since
# the collector keeps a little of whatever ran before; on CPython they follow one another.

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def follow(*boots: "Callable[[str], None]") -> None:
    """CPython's: call them in turn with the path of the device's folder."""
    from _folder import within  # not on a board, where it would cost heap

    def run(path: str) -> None:
        for boot in boots:
            boot(path)

    within(run)


def note(path: str, name: str, value: bytes) -> None:
    """Keep what a later boot compares with."""
    with open(path + "/" + name, "wb") as file:
        file.write(value)


def noted(path: str, name: str) -> bytes:
    with open(path + "/" + name, "rb") as file:
        return file.read()


def copy(source: str, target: str) -> None:
    """A folder of files."""
    os.mkdir(target)
    for name in os.listdir(source):
        with open(source + "/" + name, "rb") as file:
            data = file.read()
        with open(target + "/" + name, "wb") as file:
            file.write(data)
