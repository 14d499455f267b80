# CPython only
# Needs an extra: tpm
"""Attestation in a TPM 2.0: the attestation key, TPM2_Certify, and proof of where that key is.

The fleet root vouches for an attestation key (AK) after it has shown by TPM2_ActivateCredential
that it is in the TPM of an endorsement key (EK), whose certificate the TPM's maker signed (TPM 2.0
Library, part 1, 24; TCG EK Credential Profile, 2.2).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_PT,
    TPM2_SE,
    TPM2B_DATA,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
)
from tpm2_pytss.utils import NVReadEK, create_ek_template

from tallystick.evidence import custody_tpm2
from tallystick.evidence.errors import KeyDriverError, TallyError
from tallystick.evidence.limits import CUSTODY_EVIDENCE_BYTES_MAX
from tallystick.hw import tpm2_keys
from tallystick.hw.tpm2_connection import Connection
from tallystick.hw.tpm2_uri import Settings

if TYPE_CHECKING:
    from tpm2_pytss import TPM2B_PUBLIC

# The EK's templates with a policy (EK Credential Profile, B.3), in the order in which they are
# looked for: name, and the NV index of its certificate.
EK_TEMPLATES = (("EK-ECC256", 0x01C0000A), ("EK-RSA2048", 0x01C00002))
CONTEXT_SIZE = 32


@dataclass(frozen=True)
class Identity:
    """What a TPM says of its keys: TPMT_PUBLIC of AK and EK, and the EK's certificate (DER)."""

    ak: bytes
    ek: bytes
    certificate: "bytes | None"
    manufacturer: str


def read_attester(settings: Settings) -> bytes:
    """The statement in which the fleet root vouches for the attestation key."""
    if settings.attester is None:
        raise KeyDriverError(
            "no-attester",
            settings.name + ": evidence needs the fleet root's word for the attestation key; make "
            "it with `tally fleet attester add`, and name the file as attester= in the URI",
        )
    try:
        with open(settings.attester, "rb") as file:
            data = file.read(CUSTODY_EVIDENCE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyDriverError(
            "no-attester",
            "%s: cannot be read (%s)" % (settings.attester, error.strerror or "no such file"),
        ) from None
    return data


def certify(
    connection: Connection, handle: int, ak: int, pin: "bytes | None", context: bytes
) -> "tuple[bytes, bytes, bytes]":
    """(TPMT_PUBLIC, TPMS_ATTEST, r || s) of the key by the attestation key (part 3, 18.2)."""
    if len(context) != CONTEXT_SIZE:
        raise KeyDriverError("bad-context", "evidence is bound to %d bytes" % CONTEXT_SIZE)
    public = connection.public(handle)
    key, by = connection.persistent(handle), connection.persistent(ak)
    with connection.authorised(key, pin) as session:
        attest, signature = connection.esapi.certify(
            key, by, TPM2B_DATA(context), tpm2_keys.scheme(), session1=session
        )
    return public.marshal(), bytes(attest), tpm2_keys.raw_signature(signature)


def evidence(parts: "tuple[bytes, bytes, bytes]", vouched: bytes, what: str) -> "list[Any]":
    """[type, bytes] (docs/protocol.md, 5.3); KeyDriverError where the attester is another's."""
    try:
        made = custody_tpm2.Tpm2Certify(*parts, vouched)
        made.attester.key.verify(made.signature, made.attest)
    except TallyError as error:
        raise KeyDriverError(
            "wrong-attester",
            "%s: the attester statement is not for this attestation key: %s" % (what, error),
        ) from None
    return [custody_tpm2.TYPE, made.encode()]


def create_ak(connection: Connection, handle: int, owner: "bytes | None") -> None:
    """Make an attestation key at `handle`, never over another; it has no PIN."""
    template = tpm2_keys.signing_template(restricted=True, pin=False)
    tpm2_keys.create(connection, handle, template, None, owner)


def identify(connection: Connection, ak: int, auth: "bytes | None" = None) -> Identity:
    """What the fleet root needs to know before it sets a challenge.

    auth: of the endorsement hierarchy, where it has one.
    """
    public = connection.public(ak)
    what = "TPM key 0x%08x" % ak
    tpm2_keys.point(public, what)
    tpm2_keys.check_attestation_key(public, what)
    maker = connection.property(int(TPM2_PT.MANUFACTURER)).to_bytes(4, "big")
    with _endorsement(connection, auth) as (_, endorsement, certificate):
        return Identity(
            public.marshal(),
            endorsement.publicArea.marshal(),
            certificate,
            maker.rstrip(b"\0 ").decode("ascii", "replace"),
        )


def activate(
    connection: Connection, ak: int, blob: bytes, secret: bytes, auth: "bytes | None" = None
) -> bytes:
    """The secret that was made for this AK in the TPM with this EK (part 3, 12.5)."""
    esapi = connection.esapi
    key = connection.persistent(ak)
    with _endorsement(connection, auth) as (endorsement, _, _):
        session = esapi.start_auth_session(
            ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, None, TPM2_ALG.SHA256
        )
        with connection.flushing(session):
            # PolicyA of the EK's template: whoever may use the endorsement hierarchy.
            with connection.authorised(ESYS_TR.ENDORSEMENT, auth) as by:
                esapi.policy_secret(ESYS_TR.ENDORSEMENT, session, session1=by)
            # Uses the session up with continueSession clear; here it is flushed as all are.
            found = esapi.activate_credential(
                key,
                endorsement,
                TPM2B_ID_OBJECT(credential=blob),
                TPM2B_ENCRYPTED_SECRET(secret=secret),
                session2=session,
            )
    return bytes(found)


@contextmanager
def _endorsement(
    connection: Connection, auth: "bytes | None"
) -> "Iterator[tuple[Any, TPM2B_PUBLIC, bytes | None]]":
    # With the certificate that the maker left, else of P-256 and without one.
    name = next((n for n, index in EK_TEMPLATES if connection.occupied(index)), EK_TEMPLATES[0][0])
    padded, template = create_ek_template(name, NVReadEK(connection.esapi))
    certificate = None if padded is None else _der(padded)
    with connection.primary(template, ESYS_TR.ENDORSEMENT, auth) as (handle, public):
        yield handle, public, certificate


def _der(padded: bytes) -> bytes:
    # Some makers fill the index up behind the certificate: a SEQUENCE says how long it is.
    if padded[:2] != b"\x30\x82":
        return padded
    return padded[: 4 + int.from_bytes(padded[2:4], "big")]
