# CPython only
# Needs an extra: tpm
"""Keys in a TPM 2.0: templates, creation under the storage primary, persistent handles."""

from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_ECC,
    TPM2_RH,
    TPM2_ST,
    TPM2B_AUTH,
    TPM2B_ECC_PARAMETER,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_OBJECT,
    TPMS_ECC_PARMS,
    TPMS_ECC_POINT,
    TPMS_SCHEME_HASH,
    TPMS_SENSITIVE_CREATE,
    TPMT_ECC_SCHEME,
    TPMT_KDF_SCHEME,
    TPMT_PUBLIC,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF_OBJECT,
    TPMT_TK_HASHCHECK,
    TPMU_ASYM_SCHEME,
    TPMU_PUBLIC_ID,
    TPMU_PUBLIC_PARMS,
    TPMU_SIG_SCHEME,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.keys import ES256, PublicKey, from_raw, low_s
from tallystick.hw.tpm2_connection import Connection

# An authValue is at most as long as the key's name algorithm's digest (part 1, 27.6).
PIN_BYTES_MAX = 32
_BOUND = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
# What makes a key one of ours: made inside, cannot leave, signs what it is given.
_MUST = _BOUND | TPMA_OBJECT.SIGN_ENCRYPT
_MUST_NOT = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
_POINT = TPMU_PUBLIC_ID(ecc=TPMS_ECC_POINT(x=b"", y=b""))
_SHA256 = TPMS_SCHEME_HASH(hashAlg=TPM2_ALG.SHA256)


def _ecc(attributes: int, symmetric: TPMT_SYM_DEF_OBJECT, scheme: TPMT_ECC_SCHEME) -> TPM2B_PUBLIC:
    parameters = TPMS_ECC_PARMS(
        symmetric=symmetric,
        scheme=scheme,
        curveID=TPM2_ECC.NIST_P256,
        kdf=TPMT_KDF_SCHEME(scheme=TPM2_ALG.NULL),
    )
    return TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC(
            type=TPM2_ALG.ECC,
            nameAlg=TPM2_ALG.SHA256,
            objectAttributes=attributes,
            parameters=TPMU_PUBLIC_PARMS(eccDetail=parameters),
            unique=_POINT,
        )
    )


def _storage() -> TPM2B_PUBLIC:
    # Always the same key of the owner's seed, so it needs no handle of its own
    # (TCG TPM 2.0 Provisioning Guidance, 7.5.1).
    attributes = (
        _BOUND
        | TPMA_OBJECT.USERWITHAUTH
        | TPMA_OBJECT.NODA
        | TPMA_OBJECT.RESTRICTED
        | TPMA_OBJECT.DECRYPT
    )
    cipher = TPMT_SYM_DEF_OBJECT(
        algorithm=TPM2_ALG.AES,
        keyBits=TPMU_SYM_KEY_BITS(aes=128),
        mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )
    return _ecc(int(attributes), cipher, TPMT_ECC_SCHEME(scheme=TPM2_ALG.NULL))


def signing_template(*, restricted: bool, pin: bool) -> TPM2B_PUBLIC:
    """A P-256 key for ECDSA with SHA-256; restricted: an attestation key."""
    attributes = _MUST | TPMA_OBJECT.USERWITHAUTH
    if restricted:
        attributes |= TPMA_OBJECT.RESTRICTED
    if not pin:
        # Nobody can guess what is not there, and others' wrong PINs must not lock this key.
        attributes |= TPMA_OBJECT.NODA
    scheme = TPMT_ECC_SCHEME(
        scheme=TPM2_ALG.ECDSA, details=TPMU_ASYM_SCHEME(ecdsa=TPMS_SCHEME_HASH(_SHA256.hashAlg))
    )
    return _ecc(int(attributes), TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL), scheme)


def check_free(connection: Connection, handle: int) -> None:
    """KeyDriverError("key-exists") where anything is at a handle."""
    if connection.occupied(handle):
        raise KeyDriverError(
            "key-exists", "0x%08x of the TPM is taken; a key is never overwritten" % handle
        )


def create(
    connection: Connection,
    handle: int,
    template: TPM2B_PUBLIC,
    pin: "bytes | None",
    owner: "bytes | None",
) -> None:
    """Make a key and keep it at `handle`; KeyDriverError("key-exists") where anything is."""
    check_free(connection, handle)
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=TPM2B_AUTH(pin or b"")))
    esapi = connection.esapi
    with connection.primary(_storage(), ESYS_TR.OWNER, owner) as (parent, _):
        with connection.encrypting(parent) as session:
            private, public, _, _, _ = esapi.create(parent, sensitive, template, session1=session)
        with connection.flushing(esapi.load(parent, private, public)) as loaded:
            with connection.authorised(ESYS_TR.OWNER, owner) as session:
                kept = esapi.evict_control(ESYS_TR.OWNER, loaded, handle, session1=session)
            esapi.tr_close(kept)


def point(public: "Any", what: str) -> PublicKey:
    """The public key of a TPMT_PUBLIC; KeyDriverError("wrong-key") unless it is on P-256."""
    if (
        public.type != TPM2_ALG.ECC
        or public.parameters.eccDetail.curveID != TPM2_ECC.NIST_P256
        or public.nameAlg != TPM2_ALG.SHA256
    ):
        raise KeyDriverError("wrong-key", what + ": is no P-256 key with SHA-256 names")
    # Leading zeros may be left out (part 2, 11.2.5).
    x = bytes(public.unique.ecc.x).rjust(32, b"\0")
    y = bytes(public.unique.ecc.y).rjust(32, b"\0")
    try:
        return from_raw(ES256, x + y)
    except Malformed as error:
        raise KeyDriverError("wrong-key", "%s: %s" % (what, error.message)) from None


def check_ours(public: "Any", what: str) -> None:
    """KeyDriverError unless the key was made inside, cannot leave, and signs what it is given."""
    attributes = int(public.objectAttributes)
    if attributes & int(_MUST | _MUST_NOT) != int(_MUST):
        raise KeyDriverError(
            "wrong-key",
            what + ": is no signing key that was made in the TPM and cannot leave it; make one "
            "at another handle",
        )


def check_attestation_key(public: "Any", what: str) -> None:
    """KeyDriverError unless it is a restricted signing key, which signs TPM structures only."""
    wanted = int(_MUST | TPMA_OBJECT.RESTRICTED)
    if int(public.objectAttributes) & int(_MUST | _MUST_NOT) != wanted:
        raise KeyDriverError("wrong-key", what + ": is no attestation key (restricted, fixedTPM)")


def demands_pin(public: "Any") -> bool:
    """Whether wrong PINs for it are counted, as they are for a key that has one."""
    return not int(public.objectAttributes) & int(TPMA_OBJECT.NODA)


def scheme() -> TPMT_SIG_SCHEME:
    """ECDSA with SHA-256."""
    return TPMT_SIG_SCHEME(scheme=TPM2_ALG.ECDSA, details=TPMU_SIG_SCHEME(ecdsa=_SHA256))


def raw_signature(signature: "Any") -> bytes:
    """R || s with low s of a TPMT_SIGNATURE."""
    parts = (signature.signature.ecdsa.signatureR, signature.signature.ecdsa.signatureS)
    r, s = (bytes(TPM2B_ECC_PARAMETER(part)).rjust(32, b"\0") for part in map(bytes, parts))
    return low_s(r + s)


def sign(connection: Connection, handle: int, pin: "bytes | None", message: bytes) -> bytes:
    """R || s over SHA-256 of the message."""
    key = connection.persistent(handle)
    # An unrestricted key needs no proof that the TPM itself hashed the message.
    ticket = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
    with connection.authorised(key, pin) as session:
        signed = connection.esapi.sign(
            key, sha256(message), scheme(), validation=ticket, session1=session
        )
    return raw_signature(signed)
