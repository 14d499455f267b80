# A software key's file, for the tests of the whole recorder.

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write_key(path: str) -> None:
    """Write the key's file; what stands in it is not kept in the heap."""
    from _keymade import KEY

    with open(path + "/key", "wb") as file:
        file.write(KEY)
    if hasattr(os, "chmod"):  # CPython's; a key that others may read is refused there
        os.chmod(path + "/key", 0o600)
    del KEY
    del sys.modules["_keymade"]


def config(path: str, **more: "Any") -> "dict[str, Any]":
    """A recorder's configuration in this folder, with its key."""
    write_key(path)
    more.update(fleet="acme", key="file:" + path + "/key", journal=path + "/journal")
    return more
