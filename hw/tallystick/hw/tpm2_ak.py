# CPython only
# Needs an extra: tpm
"""An attestation key in its TPM, and the challenge that shows where it is.

Who vouches for the key (the fleet root) makes a secret that only the TPM with this endorsement
key can read, and gives it away only if it holds this attestation key (TPM2_MakeCredential and
TPM2_ActivateCredential: TPM 2.0 Library, part 1, 24).
"""

import os
from typing import TYPE_CHECKING, Any

from tpm2_pytss import TPM2_ALG, TPMA_OBJECT, TPMT_PUBLIC
from tpm2_pytss.utils import make_credential

from tallystick.evidence import _tpm
from tallystick.evidence.errors import KeyDriverError, Malformed, TallyError
from tallystick.evidence.keys import ES256, PublicKey, from_raw
from tallystick.hw import tpm2_attest, tpm2_key
from tallystick.hw.tpm2_attest import Identity
from tallystick.hw.tpm2_context import Tpm
from tallystick.hw.tpm2_uri import Settings

if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets

SECRET_SIZE = 32
PUBLIC_BYTES_MAX = 1024
# TPMA_OBJECT of an attestation key, by the names of evidence/_tpm.py.
_AK_MUST = (
    _tpm.FIXED_TPM | _tpm.FIXED_PARENT | _tpm.SENSITIVE_DATA_ORIGIN | _tpm.RESTRICTED | _tpm.SIGN
)
_EK_MUST = int(
    TPMA_OBJECT.FIXEDTPM
    | TPMA_OBJECT.FIXEDPARENT
    | TPMA_OBJECT.SENSITIVEDATAORIGIN
    | TPMA_OBJECT.RESTRICTED
    | TPMA_OBJECT.DECRYPT
)
_EK_MUST_NOT = int(TPMA_OBJECT.SIGN_ENCRYPT)


class AttestationKey:
    """The key at a URI's `ak`."""

    def __init__(self, settings: Settings, secrets: "Secrets | None" = None) -> None:
        if settings.ak is None:
            raise KeyDriverError("bad-key-uri", settings.name + ": its URI must say ak=")
        self._handle = settings.ak
        self._what = "TPM attestation key 0x%08x" % settings.ak
        self._secrets = secrets
        self._tpm = Tpm(settings.tcti)

    def ensure(self) -> bool:
        """Make it where the handle is free; True when it was made now."""
        handle = self._handle
        if self._tpm.run(self._what, lambda c: c.occupied(handle)):
            return False
        owner = tpm2_key.authorisation(self._tpm, self._what, self._secrets)
        self._tpm.run(self._what, lambda c: tpm2_attest.create_ak(c, handle, owner))
        return True

    def identity(self) -> Identity:
        """What the TPM says of it; KeyDriverError where the handle has another kind of key."""
        handle, auth = self._handle, self._endorsement()
        found: Identity = self._tpm.run(self._what, lambda c: tpm2_attest.identify(c, handle, auth))
        return found

    def answer(self, blob: bytes, secret: bytes) -> bytes:
        """The secret of a challenge; KeyDriverError when it was made for another key or TPM."""
        handle, auth = self._handle, self._endorsement()
        try:
            found: bytes = self._tpm.run(
                self._what, lambda c: tpm2_attest.activate(c, handle, blob, secret, auth)
            )
        except KeyDriverError as error:
            # libtpms says FAILURE to a seed that its RSA key does not decrypt, and works on.
            if error.reason not in {"chip-error", "failed"}:
                raise
            raise KeyDriverError(
                "wrong-challenge",
                "this challenge is for another attestation key or another TPM; " + error.message,
            ) from None
        return found

    def _endorsement(self) -> "bytes | None":
        return tpm2_key.authorisation(self._tpm, self._what, self._secrets, "endorsement")

    def close(self) -> None:
        """Give the TPM back."""
        self._tpm.close()


def attestation_key(public: bytes) -> PublicKey:
    """The key of a TPMT_PUBLIC; Malformed unless only its TPM makes what it signs."""
    ak = _tpm.Public(public)
    if ak.attributes & (_AK_MUST | _tpm.DECRYPT) != _AK_MUST:
        raise Malformed(
            "bad-value",
            "this is no attestation key: one is restricted, signs, and cannot leave its TPM",
        )
    return from_raw(ES256, ak.raw)


def endorsement_key(public: bytes) -> bytes:
    """The SubjectPublicKeyInfo (DER) of a TPMT_PUBLIC; Malformed unless it is an EK's form."""
    der: bytes = _endorsement(public).to_der()
    return der


def _endorsement(public: bytes) -> "Any":
    wrong = Malformed("bad-value", "this is no endorsement key: one decrypts for its TPM only")
    if len(public) > PUBLIC_BYTES_MAX:
        raise wrong
    try:
        ek, used = TPMT_PUBLIC.unmarshal(public)
    except Exception:  # noqa: BLE001  # the library has many errors for bytes that are no such thing
        raise wrong from None
    attributes = int(ek.objectAttributes)
    if (
        used != len(public)
        or ek.type not in {TPM2_ALG.ECC, TPM2_ALG.RSA}
        or ek.nameAlg != TPM2_ALG.SHA256
        or attributes & (_EK_MUST | _EK_MUST_NOT) != _EK_MUST
    ):
        raise wrong
    return ek


def challenge(ak: bytes, ek: bytes) -> "tuple[bytes, bytes, bytes]":
    """(the secret, and for the TPM: credential blob, encrypted seed); needs no TPM itself."""
    attestation_key(ak)
    endorsement = _endorsement(ek)
    secret = os.urandom(SECRET_SIZE)
    try:
        blob, seed = make_credential(endorsement, secret, _tpm.Public(ak).name)
    except TallyError:
        raise
    except Exception as error:  # noqa: BLE001  # a key that is no point, say; many errors again
        raise Malformed("bad-value", "no challenge for this endorsement key: %r" % error) from None
    return secret, bytes(blob), bytes(seed)
