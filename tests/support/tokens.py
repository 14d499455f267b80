"""A PKCS#11 token of the tests: its PIN, what another program does to it, what is refused."""

import os
from typing import Any

import pytest

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import _pkcs11_module as modules
from tallystick.tools.softhsm import SoftHsm

# In no error, repr or log.
PIN = "canary-pin-0815"
WAIT_S = 60

# A program that makes a key: its URI, when (seconds since 1970), the PIN.
MAKE = """
import sys, time
from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.signer import Signer
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    Signer.create(sys.argv[1], None, lambda _: sys.argv[3]).close()
    print("made")
except KeyDriverError as error:
    print(error.reason)
    print(error.message, file=sys.stderr)
"""


def pin(_what: str) -> str:
    """The token's PIN, as a caller gives it."""
    return PIN


class Raw:
    """The token by python-pkcs11 itself: what another program may have put there."""

    def __init__(self, token: SoftHsm, label: str = "robot") -> None:
        self.pkcs11: Any = modules.binding()
        self.module = modules.acquire(token.library)
        found = next(iter(self.module.library.get_tokens(token_label=label)))
        self.session = found.open(rw=True, user_pin=PIN)
        self.attribute = self.pkcs11.Attribute

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()
        modules.release(self.module)

    def make(self, label: str, **private: bool) -> tuple[Any, Any]:
        curve = self.session.create_domain_parameters(
            self.pkcs11.KeyType.EC,
            {self.attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")},
            local=True,
        )
        template = {getattr(self.attribute, name.upper()): on for name, on in private.items()}
        made: tuple[Any, Any] = curve.generate_keypair(
            store=True, label=label, id=os.urandom(8), private_template=template
        )
        return made


def refusal(call: Any, *arguments: Any) -> KeyDriverError:
    with pytest.raises(KeyDriverError) as raised:
        call(*arguments)
    assert PIN not in str(raised.value) and PIN not in repr(raised.value)
    return raised.value
