"""The keys that `tally bench sign` measures, each where such a key is held.

Chips are virtual, at the real one's own times. TPM and token are real software (swtpm, SoftHSM):
a TPM in hardware takes 30 to 200 ms a signature, a smart card about as long as a chip.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw import atecc608_profile as profile
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608 import ChipFile, Eeprom, VirtualAtecc608
from tallystick.hw.virtual_atecc608.eeprom import (
    CHIP_MODE_AT,
    LOCK_CONFIG_AT,
    LOCK_VALUE_AT,
    LOCKED,
    PRIVATE_AT,
)
from tallystick.hw.virtual_atecc608.server import serving
from tallystick.hw.virtual_atecc608.times import DIVIDER_BITS
from tallystick.tools._cache import ToolMissing
from tallystick.tools.softhsm import SoftHsm
from tallystick.tools.swtpm import Swtpm

DIVIDERS = (0, 1, 2)
UNIQUE_BYTES = 6
TPM_HANDLE = 0x81020001
LABEL = "bench"
KINDS = ("file", "atecc608", "atecc608-tcp", "tpm2", "pkcs11")


@dataclass(frozen=True)
class Held:
    """One key by its name in the results, and its URI."""

    name: str
    uri: str


def names(kind: str) -> list[str]:
    """What the keys of a kind are called."""
    if kind in {"atecc608", "atecc608-tcp"}:
        return [f"{kind}-m{divider}" for divider in DIVIDERS]
    return {
        "file": ["file-ed25519", "file-p256"],
        "tpm2": ["tpm2-swtpm"],
        "pkcs11": ["pkcs11-softhsm-p256", "pkcs11-softhsm-ed25519"],
    }[kind]


@contextmanager
def keys(kind: str, folder: Path) -> Iterator[list[Held]]:
    """The keys of a kind, in the new folder; ToolMissing where a program is not installed."""
    folder.mkdir()
    with ExitStack() as stack:
        if kind == "file":
            yield _in_files(folder)
        elif kind == "atecc608":
            yield [
                Held(name, f"atecc608:virtual={_chip(folder / name, divider)}")
                for name, divider in zip(names(kind), DIVIDERS, strict=True)
            ]
        elif kind == "atecc608-tcp":
            yield [
                Held(name, stack.enter_context(served(folder / name, divider)))
                for name, divider in zip(names(kind), DIVIDERS, strict=True)
            ]
        elif kind == "tpm2":
            yield [_in_tpm(stack.enter_context(_swtpm(folder)))]
        else:
            yield _on_token(stack.enter_context(_token(folder)))


def _in_files(folder: Path) -> list[Held]:
    found = []
    for name, alg in zip(names("file"), (EDDSA, ES256), strict=True):
        uri = f"file:{folder / name}"
        Signer.create(uri, alg).close()
        found.append(Held(name, uri))
    return found


def _chip(path: Path, divider: int) -> Path:
    """A chip as `tally key provision` leaves one, but for its clock divider."""
    made = Eeprom.factory(os.urandom(UNIQUE_BYTES))
    made.memory[: profile.CONFIG_SIZE] = profile.wanted(made.config)
    made.memory[CHIP_MODE_AT] = DIVIDER_BITS[divider]
    made.memory[LOCK_VALUE_AT] = made.memory[LOCK_CONFIG_AT] = LOCKED
    # A scalar below the order of P-256, whatever its other bytes are.
    made.put_slot(0, PRIVATE_AT, b"\x01" + os.urandom(31))
    ChipFile(str(path), made).close()
    return path


@contextmanager
def served(path: Path, divider: int) -> Iterator[str]:
    """A new chip served over TCP by a thread of this process; its key's URI."""
    chip = VirtualAtecc608.open(str(_chip(path, divider)))
    try:
        with serving(chip) as port:
            yield f"atecc608:tcp=127.0.0.1:{port}"
    finally:
        chip.close()


@contextmanager
def _swtpm(folder: Path) -> Iterator[Swtpm]:
    # Looked for first: it is an extra.
    try:
        import tpm2_pytss  # noqa: F401, PLC0415 - as said
    except ImportError:
        message = "tpm2-pytss is not installed: pip install 'tallystick[tpm]'"
        raise ToolMissing("no-swtpm", message) from None
    with Swtpm(folder) as tpm:
        yield tpm


def _in_tpm(tpm: Swtpm) -> Held:
    uri = f"tpm2:handle=0x{TPM_HANDLE:08x};tcti={tpm.tcti}"
    Signer.create(uri).close()
    return Held(names("tpm2")[0], uri)


@contextmanager
def _token(folder: Path) -> Iterator[SoftHsm]:
    """SoftHSM reads where its tokens are from the environment, here and in what is started."""
    token = SoftHsm(folder)
    before = {name: os.environ.get(name) for name in token.environment}
    os.environ.update(token.environment)
    try:
        yield token
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _on_token(token: SoftHsm) -> list[Held]:
    pin, pin_file = token_hex(8), token.folder / "pin"
    pin_file.touch(0o600)
    pin_file.write_text(pin)
    token.make(LABEL, pin)
    found = []
    for name, alg in zip(names("pkcs11"), (ES256, EDDSA), strict=True):
        uri = token.uri(LABEL, name, pin_file)
        Signer.create(uri, alg).close()
        found.append(Held(name, uri))
    return found
