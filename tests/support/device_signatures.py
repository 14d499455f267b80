"""Writes the tables of signatures in tests/device: `python tests/support/device_signatures.py`.

A device test signs what a 32-bit MicroPython in 64 KiB could not sign beside everything else it
loads. Ed25519 is deterministic, so the signatures are made here, by running the tests on CPython.
"""

import importlib
import re
import sys
from pathlib import Path
from unittest import mock

from nacl.signing import SigningKey

TESTS = Path(__file__).parents[1]
if __name__ == "__main__":
    names = ("firmware", "hw", "tests", "tests/device")
    sys.path[:0] = [str(TESTS.parent / name) for name in names]

import _signing  # noqa: E402  # after the path is set
from tallystick.evidence.digest import sha256  # noqa: E402  # as above
from tallystick.evidence.keys import EDDSA, from_raw  # noqa: E402  # as above

Tables = tuple[dict[str, str], dict[str, str]]


def files() -> list[Path]:
    """The device tests that bring tables."""
    found = sorted((TESTS / "device").glob("test_*.py"))
    return [path for path in found if "SIGNATURES = {" in path.read_text()]


def tables(path: Path) -> Tables:
    """KEYS and SIGNATURES as this file's tests need them now."""
    keys: dict[str, str] = {}
    signatures: dict[str, str] = {}

    def init(signer: _signing.Signer, letter: str, *_: object) -> None:
        raw = bytes(SigningKey(letter.encode() * 32).verify_key)
        keys[letter] = raw.hex()
        signer.letter = letter
        signer.key = from_raw(EDDSA, raw)
        signer.id = signer.key.thumbprint()

    def sign(signer: _signing.Signer, message: bytes) -> bytes:
        letter = signer.letter.encode()
        signature = bytes(SigningKey(letter * 32).sign(message).signature)
        signatures[sha256(letter + message)[:4].hex()] = signature.hex()
        return signature

    with (
        mock.patch.object(_signing.Signer, "__init__", init),
        mock.patch.object(_signing.Signer, "sign", sign),
        mock.patch.dict(sys.modules),
    ):
        sys.modules.pop(path.stem, None)
        module = importlib.import_module(path.stem)
        for name in [name for name in vars(module) if name.startswith("test_")]:
            getattr(module, name)()
    return dict(sorted(keys.items())), dict(sorted(signatures.items()))


def main() -> None:
    """Write both tables into each file."""
    for path in files():
        text = path.read_text()
        for name, table in zip(("KEYS", "SIGNATURES"), tables(path), strict=True):
            lines = ""
            for key, value in table.items():
                parts = [value[at : at + 64] for at in range(0, len(value), 64)]
                lines += f'    "{key}": ' + "\n    ".join(f'"{part}"' for part in parts) + ",\n"
            text = re.sub(rf"(?ms)^{name} = {{.*?}}$", f"{name} = {{\n{lines}}}", text)
        path.write_text(text)


if __name__ == "__main__":
    main()
