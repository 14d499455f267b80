# A software key's file, for the tests of the whole recorder.

import os
from binascii import unhexlify

# What `file_key.create` wrote once; making a key needs code that a recorder never loads.
KEY = (
    "857074616c6c79737469636b2d6b65792f31275820ffb0c917014d7af17badf413a98ddb243373ca"
    "d8401b24289184108c6900ebc95820d527a2eb917e9f9e6c211eeac957afc943798376d7e08b4e02"
    "6bd57e2003092348c24e3c67e91b11e0"
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def config(path: str, **more: "Any") -> "dict[str, Any]":
    """A recorder's configuration in this folder, with its key."""
    with open(path + "/key", "wb") as file:
        file.write(unhexlify(KEY))
    if hasattr(os, "chmod"):  # CPython's; a key that others may read is refused there
        os.chmod(path + "/key", 0o600)
    more.update(fleet="acme", key="file:" + path + "/key", journal=path + "/journal")
    return more
