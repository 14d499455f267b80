# A software key's file, for the tests of the whole recorder.

import os

# What `file_key.create` wrote once; making a key needs code that a recorder never loads.
KEY = (
    b"\x85\x70\x74\x61\x6c\x6c\x79\x73\x74\x69\x63\x6b\x2d\x6b\x65\x79\x2f\x31\x27\x58\x20\xff"
    b"\xb0\xc9\x17\x01\x4d\x7a\xf1\x7b\xad\xf4\x13\xa9\x8d\xdb\x24\x33\x73\xca\xd8\x40\x1b\x24"
    b"\x28\x91\x84\x10\x8c\x69\x00\xeb\xc9\x58\x20\xd5\x27\xa2\xeb\x91\x7e\x9f\x9e\x6c\x21\x1e"
    b"\xea\xc9\x57\xaf\xc9\x43\x79\x83\x76\xd7\xe0\x8b\x4e\x02\x6b\xd5\x7e\x20\x03\x09\x23\x48"
    b"\xc2\x4e\x3c\x67\xe9\x1b\x11\xe0"
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def config(path: str, **more: "Any") -> "dict[str, Any]":
    """A recorder's configuration in this folder, with its key."""
    with open(path + "/key", "wb") as file:
        file.write(KEY)
    if hasattr(os, "chmod"):  # CPython's; a key that others may read is refused there
        os.chmod(path + "/key", 0o600)
    more.update(fleet="acme", key="file:" + path + "/key", journal=path + "/journal")
    return more
