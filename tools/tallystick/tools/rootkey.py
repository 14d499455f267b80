"""A fleet's root key: in the fleet's folder, or in hardware; opened only for what it signs.

Whom a fleet enrolled and trusts is checked with the public key in `root.pub`, so that looking at a
fleet needs neither the token nor its PIN.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tallystick.evidence import root
from tallystick.evidence.errors import KeyDriverError, Malformed, Unverified
from tallystick.evidence.keys import EDDSA, PublicKey
from tallystick.hw.signer import Signer
from tallystick.tools import secrets
from tallystick.tools._files import read_text

FILE = "file:root.key"
ROOT_LINE_BYTES_MAX = 1_024


@dataclass
class RootKey:
    """`public` is known from the start; `signer()` opens what signs, once."""

    uri: str
    public: PublicKey
    pin_file: Path | None = None
    _signer: Signer | None = field(default=None, repr=False)

    def signer(self) -> Signer:
        """What signs; KeyDriverError when it does not open, Unverified when it is another key."""
        if self._signer is None:
            try:
                opened = Signer.from_uri(self.uri, secrets.of_root(self.pin_file))
            except KeyDriverError as error:
                raise KeyDriverError(error.reason, f"the fleet root: {error.message}") from None
            if opened.public_key() != self.public:
                opened.close()
                raise Unverified(
                    "wrong-key", "the fleet root's key is not the one whose line is in root.pub"
                )
            self._signer = opened
        return self._signer

    def close(self) -> None:
        """Give token or chip back."""
        if self._signer is not None:
            self._signer.close()
            self._signer = None


def make(
    folder: Path,
    uri: str,
    alg: int | None,
    *,
    existing: bool = False,
    pin_file: Path | None = None,
    seal: bool = False,
) -> RootKey:
    """A new root key where `uri` says, or with `existing` the one that is there."""
    if alg is None and uri.startswith("file:"):
        alg = EDDSA
    where = resolved(uri, folder)
    if existing:
        signer = Signer.from_uri(where, secrets.of_root(pin_file))
        if alg is not None and alg != signer.alg:
            signer.close()
            raise Malformed("bad-value", "the key that is there is not of --alg's kind")
    else:
        hardware = not uri.startswith("file:")
        sealed = hardware or seal or pin_file is not None
        ask = secrets.of_root(pin_file, new=not hardware) if sealed else None
        signer = Signer.create(where, alg, ask)
    return RootKey(where, signer.public_key(), pin_file, signer)


def known(folder: Path, name: str, uri: str, pin_file: str | None) -> RootKey:
    """The root key of a fleet's folder, as its files name it; nothing is opened."""
    file = folder / "root.pub"
    try:
        found, public = root.parse_root(read_text(file, ROOT_LINE_BYTES_MAX).strip())
    except Malformed as error:
        raise Malformed(error.reason, f"{file}: {error.message}") from error
    if found != name:
        raise Malformed("bad-value", f"{file} is the root line of {found}, and the fleet is {name}")
    return RootKey(resolved(uri, folder), public, folder / pin_file if pin_file else None)


def resolved(uri: str, folder: Path) -> str:
    """A key file's path is relative to the fleet's folder."""
    scheme, _, rest = uri.partition(":")
    return f"file:{folder / rest}" if scheme == "file" else uri
