# CPython only
"""Keys in a TPM 2.0: `tpm2:handle=0x81020001;ak=0x81020002;tcti=device:/dev/tpmrm0`."""

# handle    of the key: persistent, P-256, made in the TPM, cannot leave it
# ak        of the attestation key, for evidence; attester=FILE: the fleet root's word for it
# tcti      where the TPM is; else $TPM2TOOLS_TCTI, else device:/dev/tpmrm0
# pin=yes   key and counter have a PIN (authValue); `secrets` is asked for it
#
# Two programs at once: /dev/tpmrm0 (the kernel's resource manager) and tabrmd give each its own
# slots; swtpm and mssim answer one connection at a time, so each piece of work makes its own.

from typing import TYPE_CHECKING, Any

from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import ES256
from tallystick.hw import tpm2_library, tpm2_uri

if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets, Signer
    from tallystick.hw.tpm2_ak import AttestationKey
    from tallystick.hw.tpm2_connection import Connection
    from tallystick.hw.tpm2_context import Tpm


def open_signer(rest: str, secrets: "Secrets | None" = None) -> "Signer":
    """The key at an existing handle."""
    settings = tpm2_uri.parse(rest)
    tpm2_library.require()
    from tallystick.hw import tpm2_key  # noqa: PLC0415  # needs the library

    return tpm2_key.Tpm2Key(settings, secrets)


def create_signer(
    rest: str, alg: "int | None" = None, secrets: "Secrets | None" = None
) -> "Signer":
    """Make a P-256 key under the storage primary, keep it at the handle, and make its counter."""
    settings = tpm2_uri.parse(rest)
    if alg not in {None, ES256}:
        raise KeyDriverError("no-such-key", "a TPM 2.0 has P-256 (ES256) keys and no Ed25519")
    tpm2_library.require()
    from tallystick.hw import tpm2_counter, tpm2_key, tpm2_keys  # noqa: PLC0415  # need the library

    tpm = _tpm(settings)

    def make(connection: "Connection") -> None:
        tpm2_keys.check_free(connection, settings.handle)
        # Now, since a new counter does not begin at 1: who asks for it first must not change it.
        tpm2_counter.renew(connection, settings.counter, pin, owner)
        template = tpm2_keys.signing_template(restricted=False, pin=settings.pin)
        tpm2_keys.create(connection, settings.handle, template, pin, owner)

    try:
        pin = tpm2_key.pin(settings, secrets) if settings.pin else None
        owner = tpm2_key.authorisation(tpm, settings.name, secrets)
        tpm.run(settings.name, make)
    finally:
        tpm.close()
    # Not asked again: the PIN was given a moment ago.
    return tpm2_key.Tpm2Key(settings, lambda _what: pin.decode() if pin else None)


def _tpm(settings: tpm2_uri.Settings) -> "Tpm":
    from tallystick.hw import tpm2_context  # noqa: PLC0415  # needs the library

    return tpm2_context.Tpm(settings.tcti)


def open_attestation_key(uri: str, secrets: "Secrets | None" = None) -> "AttestationKey":
    """The attestation key that a key's URI names as `ak`; whether it is there, it says itself."""
    scheme, _, rest = uri.partition(":")
    if scheme != "tpm2":
        raise KeyDriverError(
            "bad-key-uri", "only a TPM has attestation keys: tpm2:handle=0x81020001;ak=0x81020002"
        )
    settings = tpm2_uri.parse(rest)
    tpm2_library.require()
    from tallystick.hw import tpm2_ak  # noqa: PLC0415  # needs the library

    return tpm2_ak.AttestationKey(settings, secrets)


def challenges() -> "Any":
    """hw/tpm2_ak.py, for who sets a challenge and needs no TPM for it, only the library."""
    tpm2_library.require()
    from tallystick.hw import tpm2_ak  # noqa: PLC0415  # needs the library

    return tpm2_ak
