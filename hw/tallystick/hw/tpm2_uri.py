# CPython only
"""What a `tpm2:` URI says: `tpm2:handle=0x81020001;ak=0x81020002;tcti=device:/dev/tpmrm0`."""

# Pairs are separated by `;`, since a TCTI has commas, colons and equals signs of its own.

import os
import re
from dataclasses import dataclass

from tallystick.evidence.errors import KeyDriverError

TCTI_DEFAULT = "device:/dev/tpmrm0"
# The environment variable that tpm2-tools read too.
TCTI_VARIABLE = "TPM2TOOLS_TCTI"
# Persistent handles of the owner (TPM 2.0 Library, part 2, 7.2), as far as each has a counter's
# index of its own: the owner's indices have 22 bits.
HANDLE_FIRST, HANDLE_LAST = 0x81000000, 0x813FFFFF
# NV indices that the TCG's registry leaves to the owner.
COUNTER_FIRST = 0x01800000
COUNTER_MASK = 0x003FFFFF
_HANDLE = re.compile(r"0x[0-9a-fA-F]{8}")


@dataclass(frozen=True)
class Settings:
    """Where a key is in which TPM."""

    handle: int  # of the key, persistent
    tcti: str
    ak: "int | None" = None  # of the attestation key, persistent
    attester: "str | None" = None  # the file in which the fleet root vouches for it
    pin: bool = False  # the key and its counter demand a PIN (authValue)

    @property
    def name(self) -> str:
        """The key in messages and in what `secrets` is asked for."""
        return "TPM key 0x%08x" % self.handle

    @property
    def counter(self) -> int:
        """The NV index of the key's monotonic counter."""
        return COUNTER_FIRST | self.handle & COUNTER_MASK


def parse(rest: str) -> Settings:
    """The URI without its scheme; KeyDriverError("bad-key-uri")."""
    given: "dict[str, str]" = {}
    for pair in rest.split(";"):
        name, equals, value = pair.partition("=")
        if not equals or not value or name in given:
            raise _wrong("give each of its parts once, as NAME=VALUE with ; between them")
        given[name] = value
    if given.keys() - {"handle", "tcti", "ak", "attester", "pin"}:
        raise _wrong("its parts are handle, ak, attester, tcti and pin")
    if "handle" not in given:
        raise _wrong("it needs handle=")
    if given.get("pin", "no") not in {"yes", "no"}:
        raise _wrong("pin is yes or no")
    handle = _handle(given["handle"])
    ak = _handle(given["ak"]) if "ak" in given else None
    if ak == handle:
        raise _wrong("ak is another handle than the key's")
    return Settings(handle, _tcti(given.get("tcti")), ak, given.get("attester"), _pin(given))


def _pin(given: "dict[str, str]") -> bool:
    return given.get("pin") == "yes"


def _tcti(given: "str | None") -> str:
    tcti = given or os.environ.get(TCTI_VARIABLE) or TCTI_DEFAULT
    # The library's own default would be the device without a resource manager.
    return TCTI_DEFAULT if tcti == "device" else tcti


def _handle(text: str) -> int:
    handle = int(text, 16) if _HANDLE.fullmatch(text) else 0
    if not HANDLE_FIRST <= handle <= HANDLE_LAST:
        raise _wrong("a handle is 0x%08x to 0x%08x" % (HANDLE_FIRST, HANDLE_LAST))
    return handle


def _wrong(what: str) -> KeyDriverError:
    return KeyDriverError(
        "bad-key-uri", "a TPM key's URI is such as tpm2:handle=0x81020001;ak=0x81020002: " + what
    )
