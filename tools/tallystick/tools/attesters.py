"""Attestation keys that a fleet vouches for: the challenge, the answer, and the statement.

    FLEET/attesters/LABEL/attester.cbor   the signed statement; evidence of that TPM carries it
    FLEET/attesters/LABEL/ek.der          the endorsement key's certificate, where it has one
    FLEET/attesters/.LABEL.challenge      what was asked of a TPM elsewhere, until it answers

The three files that travel are CBOR arrays [FORMAT, ...] of what a TPM gives or takes.
"""

import hmac
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509

from tallystick.evidence import attester, cbor
from tallystick.evidence.attester import Attester, VerifiedAttester
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import CUSTODY_TPM
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.hw import tpm2
from tallystick.tools import ek_certificate
from tallystick.tools.fleetdir import DAY_S, LABEL, VALID_DAYS, Fleet, write_private

if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets

REQUEST, CHALLENGE, ANSWER = (
    f"tally-attester-{what}/1" for what in ("request", "challenge", "answer")
)
PENDING = "tally-attester-pending/1"
FILE_BYTES_MAX = 8_192
PART_BYTES_MAX = 4_096
MANUFACTURER_CHARS_MAX = 16
CHALLENGE_AGE_S_MAX = 7 * DAY_S
# An enrolment's validity begins an hour before it is made, and must lie within the attester's.
BACKDATE_S = DAY_S
BY_CERTIFICATE, BY_OPERATOR = "certificate", "operator"


@dataclass(frozen=True)
class Request:
    """What a TPM says of its attestation key, its endorsement key, and who made it."""

    ak: bytes
    ek: bytes
    certificate: bytes | None
    manufacturer: str

    def encode(self) -> bytes:
        """The file's bytes."""
        return cbor.encode([REQUEST, self.ak, self.ek, self.certificate, self.manufacturer])


def parse_request(data: bytes) -> Request:
    """Malformed unless it is a request; nothing in it is verified."""
    match _fields(data, REQUEST):
        case [bytes() as ak, bytes() as ek, bytes() | None as certificate, str() as maker]:
            if max(len(ak), len(ek), len(certificate or b"")) > PART_BYTES_MAX:
                raise Malformed("too-large", f"request: a part of over {PART_BYTES_MAX} bytes")
            if len(maker) > MANUFACTURER_CHARS_MAX or not maker.isprintable():
                raise Malformed("bad-value", "request: the manufacturer's name is no name")
            return Request(ak, ek, certificate, maker)
    raise Malformed("bad-type", "no request; `tally fleet attester request` makes one")


def parse_challenge(data: bytes) -> tuple[bytes, bytes]:
    """(credential blob, encrypted seed) for the TPM."""
    match _fields(data, CHALLENGE):
        case [bytes() as blob, bytes() as seed]:
            return blob, seed
    raise Malformed("bad-type", "no challenge; `tally fleet attester challenge` makes one")


def parse_answer(data: bytes) -> bytes:
    """The secret that the TPM found."""
    match _fields(data, ANSWER):
        case [bytes() as secret]:
            return secret
    raise Malformed("bad-type", "no answer; `tally fleet attester answer` makes one")


def _fields(data: bytes, form: str) -> list[Any]:
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("too-large", f"{form}: over {FILE_BYTES_MAX} bytes")
    fields = cbor.decode(data)
    if type(fields) is not list or fields[:1] != [form]:
        raise Malformed("bad-type", f"the file is no {form}")
    return fields[1:]


def answer(secret: bytes) -> bytes:
    """The file that goes back to the fleet root."""
    return cbor.encode([ANSWER, secret])


def _check_new(fleet: Fleet, label: str) -> Path:
    if not LABEL.fullmatch(label):
        message = f"a label is 1 to 64 letters, digits, . _ - and not {label!r}"
        raise Malformed("bad-value", message)
    folder = fleet.path / "attesters" / label
    if folder.exists():
        message = f"attester {label} is there already; see `tally fleet attester list {fleet.path}`"
        raise Malformed("already-enrolled", message)
    return folder


def _pending(fleet: Fleet, label: str) -> Path:
    return fleet.path / "attesters" / f".{label}.challenge"


def set_challenge(fleet: Fleet, label: str, request: Request) -> bytes:
    """A challenge for the TPM of `request`; what it was is kept until the answer comes."""
    folder = _check_new(fleet, label)
    secret, blob, seed = tpm2.challenges().challenge(request.ak, request.ek)
    folder.parent.mkdir(exist_ok=True)
    # The secret's digest: who reads this file cannot answer for the TPM.
    kept = [PENDING, sha256(secret), request.encode(), int(time.time())]
    write_private(_pending(fleet, label), cbor.encode(kept))
    return cbor.encode([CHALLENGE, blob, seed])


def take_answer(fleet: Fleet, label: str, secret: bytes) -> Request:
    """The request whose challenge the secret answers; the challenge ends, right or wrong."""
    _check_new(fleet, label)
    path = _pending(fleet, label)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        message = f"no challenge is open for {label}; `tally fleet attester challenge` sets one"
        raise Malformed("bad-value", message) from None
    path.unlink()
    match _fields(data, PENDING):
        case [bytes() as digest, bytes() as request, int() as made_s]:
            if not 0 <= time.time() - made_s <= CHALLENGE_AGE_S_MAX:
                raise Unverified("expired", f"the challenge for {label} is too old; set another")
            if not hmac.compare_digest(sha256(secret), digest):
                message = "the answer is wrong: the attestation key is not in that TPM"
                raise Unverified("no-possession", message)
            return parse_request(request)
    raise Malformed("bad-type", f"{path} is damaged")


def vouch(
    fleet: Fleet, label: str, request: Request, ca: list[x509.Certificate] | None, valid_days: int
) -> VerifiedAttester:
    """Sign for the attestation key of a TPM that has answered; writes its folder.

    ca: the certificates that its endorsement certificate must lead to; None: the operator takes
    the TPM for genuine.
    """
    folder = _check_new(fleet, label)
    tpm = tpm2.challenges()
    key: PublicKey = tpm.attestation_key(request.ak)
    now_s = int(time.time())
    details: dict[str, Any] = {"manufacturer": request.manufacturer, "genuine_by": BY_OPERATOR}
    if ca is not None:
        if request.certificate is None:
            message = "the TPM has no endorsement certificate, so nothing says who made it"
            raise Unverified("not-enrolled", message)
        public = tpm.endorsement_key(request.ek)
        maker = ek_certificate.check(request.certificate, public, ca, now_s)
        details["genuine_by"] = BY_CERTIFICATE
        details["ek_certificate"] = sha256(request.certificate)
        details["ek_issuer"] = maker.issuer
    validity = [now_s - BACKDATE_S, now_s + valid_days * DAY_S]
    made = Attester(key, CUSTODY_TPM, details, validity)
    statement = made.sign(fleet.signer, fleet.name, device_text(key.thumbprint()))
    verified = attester.parse(statement).verify(fleet.signer.public_key())
    _write(folder, statement, request.certificate)
    return verified


def _write(folder: Path, statement: bytes, certificate: bytes | None) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        (partial / "attester.cbor").write_bytes(statement)
        if certificate is not None:
            (partial / "ek.der").write_bytes(certificate)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def statement_path(fleet: Fleet, label: str) -> Path:
    """The file that a key's URI names as `attester=`."""
    return (fleet.path / "attesters" / label / "attester.cbor").absolute()


def identify(uri: str, ask: "Secrets | None" = None) -> tuple[Request, bool]:
    """(what the TPM of `uri` says of itself, whether its attestation key was made just now)."""
    key = tpm2.open_attestation_key(uri, ask)
    try:
        made = key.ensure()
        found = key.identity()
    finally:
        key.close()
    return Request(found.ak, found.ek, found.certificate, found.manufacturer), made


def answer_by(uri: str, blob: bytes, seed: bytes, ask: "Secrets | None" = None) -> bytes:
    """The secret that the TPM of `uri` finds in a challenge."""
    key = tpm2.open_attestation_key(uri, ask)
    try:
        return key.answer(blob, seed)
    finally:
        key.close()


def challenged(
    fleet: Fleet, label: str, uri: str, asked: Request, ask: "Secrets | None" = None
) -> bytes:
    """A challenge set to a TPM on this machine, and its answer."""
    return answer_by(uri, *parse_challenge(set_challenge(fleet, label, asked)), ask)


def vouch_here(fleet: Fleet, label: str, uri: str, ca_files: tuple[Path, ...]) -> Path:
    """Challenge a TPM on this machine, check its maker's certificate, vouch; the statement's file.

    ca_files: the maker's certificates (PEM), up to its root.
    """
    asked, _ = identify(uri)
    asked = take_answer(fleet, label, challenged(fleet, label, uri, asked))
    vouch(fleet, label, asked, ek_certificate.read_ca(ca_files), VALID_DAYS)
    return statement_path(fleet, label)


def vouched(fleet: Fleet) -> list[tuple[str, VerifiedAttester]]:
    """Label and statement of every attester, verified against our own root."""
    found = []
    for path in sorted((fleet.path / "attesters").glob("[!.]*/attester.cbor")):
        statement = attester.parse(path.read_bytes())
        found.append((path.parent.name, statement.verify(fleet.signer.public_key())))
    return found
