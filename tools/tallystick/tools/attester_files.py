"""The files of `tally fleet attester`, for `tally inspect`: without a TPM or its library."""

from typing import Any

from cryptography import x509

from tallystick.evidence import _tpm, cbor
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import ES256, device_text, from_raw
from tallystick.tools import attesters

FORM = b"tally-attester-"
# Behind an array's head and a text's, of one or two bytes.
FORM_AT_MAX = 3
# What makes a key one that only its TPM uses, for what the TPM itself says.
HELD = _tpm.FIXED_TPM | _tpm.FIXED_PARENT | _tpm.SENSITIVE_DATA_ORIGIN
AK_MUST = HELD | _tpm.RESTRICTED | _tpm.SIGN


def is_one(data: bytes) -> bool:
    """Whether the bytes begin as such a file does."""
    return 0 < data.find(FORM, 0, FORM_AT_MAX + len(FORM)) <= FORM_AT_MAX


def described(data: bytes) -> dict[str, Any]:
    """As verify/describe.py's `describe`; Malformed where it is none of the three."""
    values = cbor.decode(data) if len(data) <= attesters.FILE_BYTES_MAX else None
    form = values[0] if type(values) is list and values else None
    if form == attesters.REQUEST:
        name, (fields, verified, left) = "attester request", _request(data)
    elif form == attesters.CHALLENGE:
        name, (fields, verified, left) = "attester challenge", _challenge(data)
    elif form == attesters.ANSWER:
        name, (fields, verified, left) = "attester answer", _answer(data)
    else:
        raise Malformed("unknown-kind", "no request, challenge or answer of an attester")
    return {
        "object": name,
        "bytes": len(data),
        "fields": fields,
        "verified": ["it is in its one encoding", *verified],
        "not_verified": left,
    }


Shown = tuple[dict[str, Any], list[str], list[str]]


def _request(data: bytes) -> Shown:
    asked = attesters.parse_request(data)
    public = _tpm.Public(asked.ak)
    if public.attributes & (AK_MUST | _tpm.DECRYPT) != AK_MUST:
        raise Malformed("bad-value", "request: its key is of no attestation key's form")
    key = from_raw(ES256, public.raw)
    fields = {
        "key": {"alg": "ES256", "thumbprint": device_text(key.thumbprint())},
        "manufacturer": asked.manufacturer,
        "endorsement_key": f"{len(asked.ek)} bytes",
        "certificate": _certificate(asked.certificate),
    }
    left = [
        "that the key is in a TPM: its answer to a challenge shows that",
        "that the TPM is a genuine one: `tally fleet attester add --ek-ca` checks its certificate",
    ]
    return fields, ["the key's form: restricted to its TPM's own statements"], left


def _certificate(der: bytes | None) -> dict[str, Any] | None:
    if der is None:
        return None
    try:
        made = x509.load_der_x509_certificate(der)
        return {
            "issuer": made.issuer.rfc4514_string(),
            "serial": format(made.serial_number, "x"),
            "not_before": made.not_valid_before_utc.isoformat(),
            "not_after": made.not_valid_after_utc.isoformat(),
        }
    except (ValueError, x509.InvalidVersion) as error:
        raise Malformed("bad-value", f"request: its certificate cannot be read: {error}") from None


def _challenge(data: bytes) -> Shown:
    blob, seed = attesters.parse_challenge(data)
    fields = {"credential": f"{len(blob)} bytes", "seed": f"{len(seed)} bytes"}
    return fields, [], ["for which TPM it is: only that TPM can read it", "who set it"]


def _answer(data: bytes) -> Shown:
    # Not shown: until it was taken, who has it can answer for the TPM.
    fields = {"secret": f"{len(attesters.parse_answer(data))} bytes, not shown"}
    return fields, [], ["that it is right: `tally fleet attester add --answer` compares it"]
