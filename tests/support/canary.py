"""Secrets that are looked for in all that a program says and leaves (A22)."""

import base64
from pathlib import Path


def spellings(secret: bytes) -> set[bytes]:
    """As it is, in hex, in base64 of each alignment, and as Python writes bytes."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for shift in range(3):
        # What its neighbours do not change of it, whatever stands before it.
        data = base64.b64encode(bytes(shift) + secret)
        begin = (8 * shift + 5) // 6
        kept = data[begin : len(data) - 4]
        found |= {kept, kept.replace(b"+", b"-").replace(b"/", b"_")}
    found.add(repr(secret)[2:-1].encode())
    return found


class Canaries:
    """Named secrets; `told` collects everything that must not hold them."""

    def __init__(self, **secrets: bytes | str) -> None:
        self.secrets = {
            name: one.encode() if isinstance(one, str) else one for name, one in secrets.items()
        }
        self.told: list[tuple[str, bytes]] = []

    def hear(self, where: str, what: bytes | str) -> None:
        """Something was said."""
        self.told.append((where, what.encode() if isinstance(what, str) else what))

    def look(self, folder: Path, *kept: str) -> None:
        """Every file of a folder; `kept` are the names of those that hold secrets by design."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name not in kept:
                self.hear(str(path.relative_to(folder)), path.read_bytes())

    def found(self) -> list[tuple[str, str]]:
        """Which secret is told where."""
        needles = {name: spellings(secret) for name, secret in self.secrets.items()}
        return [
            (name, where)
            for where, said in self.told
            for name, forms in needles.items()
            if any(one in said for one in forms)
        ]
