"""Codes that a fleet gave out: what it keeps of them, and never the code itself.

FLEET/invitations/NAME.json         the fleet's key of the code, its uses and its end
FLEET/invitations/NAME.statements   the invitation, for a gateway's inbox
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tallystick.evidence import cbor, joincode
from tallystick.evidence.errors import Malformed
from tallystick.evidence.invitation import Invitation
from tallystick.evidence.joincode import Code
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.gateway.joinconfig import INBOX_SUFFIX
from tallystick.tools._files import read_bytes
from tallystick.tools.fleetdir import BACKDATE_S, Fleet, write_private

FOLDER = "invitations"
FILE_BYTES_MAX = 4_096
CODES_MAX = 100_000
HOUR_S = 3_600


class _File(msgspec.Struct, forbid_unknown_fields=True):
    fleet_key: str
    uses: int
    until_s: int


@dataclass(frozen=True)
class Invited:
    """What is known of a code: by `fleet_key` the fleet sees who has it."""

    name: bytes
    uses: int
    until_s: int
    fleet_key: bytes

    def __repr__(self) -> str:
        return f"Invited({b64u(self.name)})"


def invite(fleet: Fleet, uses: int, valid_s: int) -> tuple[Code, bytes]:
    """A new code and its invitation, signed; what the fleet keeps of it is on disk."""
    code = Code(os.urandom(joincode.SECRET_SIZE), joincode.commit(fleet.root_line))
    now_s = int(time.time())
    until_s = now_s + valid_s
    made = Invitation(code.name(), code.door_key(), uses, [now_s - BACKDATE_S, until_s])
    name = b64u(code.name())
    statement = made.sign(fleet.signer, fleet.name, name)
    folder = fleet.path / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = {"fleet_key": b64u(code.fleet_key()), "uses": uses, "until_s": until_s}
    write_private(folder / f"{name}.json", json.dumps(kept).encode())
    write_private(folder / f"{name}{INBOX_SUFFIX}", cbor.encode([statement]))
    return code, statement


def withdraw(fleet: Fleet, name: str) -> bytes:
    """A statement that ends a code for good."""
    code = from_b64u(name, joincode.NAME_SIZE)
    if not (fleet.path / FOLDER / f"{name}.json").exists():
        raise Malformed("bad-value", f"no code {name} was given out by this fleet")
    made = Invitation(code, bytes(32), 0, [0, int(time.time())])
    return made.sign(fleet.signer, fleet.name, name)


def known(fleet: Fleet) -> Iterator[Invited]:
    """Every code that this fleet gave out, valid or not."""
    paths = sorted((fleet.path / FOLDER).glob("*.json"))
    if len(paths) > CODES_MAX:
        raise Malformed("too-large", f"{fleet.path / FOLDER}: over {CODES_MAX:,} codes")
    for path in paths:
        try:
            name = from_b64u(path.stem, joincode.NAME_SIZE)
            kept = msgspec.json.decode(read_bytes(path, FILE_BYTES_MAX), type=_File)
            key = from_b64u(kept.fleet_key, 32)
        except (Malformed, msgspec.DecodeError):
            # Not with its cause: that may show the key.
            raise Malformed("bad-value", f"{path}: is damaged; remove it") from None
        yield Invited(name, kept.uses, kept.until_s, key)
