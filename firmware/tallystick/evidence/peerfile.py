# CPython only
"""Peer file: what an organisation tells others of itself, in one file (docs/protocol.md, 5.6)."""

# [38, organisation, made_ms, validity, roots, gateways, validators]; a signed statement by the
# first of `roots`, whose `sub` is that key's thumbprint.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import enrolment, statement
from tallystick.evidence._text import check_iss
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey, from_cose_key
from tallystick.evidence.kinds import PEER_FILE
from tallystick.evidence.limits import (
    NAME_BYTES_MAX,
    PEER_FILE_BYTES_MAX,
    PEER_ROOTS_MAX,
    PEER_SERVICES_MAX,
    PEER_URL_BYTES_MAX,
)
from tallystick.evidence.statement import Signed

SUFFIX = ".peer"
SCHEMES = ("http://", "https://")
# 40 decimal digits are 132 bits: who would forge a file of the same fingerprint tries 2^132 files.
SPOKEN_DIGITS = 40
SPOKEN_GROUP = 5

Root = tuple[str, PublicKey]
Validator = tuple[str, list[bytes]]  # url, credential


class PeerFile(Signed):
    """As received; `roots` are the organisation's, the signer's first."""

    _signed_by = "root"

    def __init__(
        self,
        organisation: str,
        made_ms: int,
        validity: list[int] | tuple[int, int],
        roots: list[Root],
        gateways: list[list[bytes]],
        validators: list[Validator],
    ) -> None:
        what = "peer file"
        self.organisation = shape.text(organisation, NAME_BYTES_MAX, what)
        if not self.organisation.isprintable():
            raise Malformed("bad-value", "peer file: its organisation's name is not printable")
        self.made_ms = shape.uint(made_ms, what)
        self.validity = shape.row(list(validity), 2, what)
        if shape.uint(validity[0], what) > shape.uint(validity[1], what):
            raise Malformed("bad-value", "peer file: its validity ends before it begins")
        self.roots = shape.array(roots, what, 1, PEER_ROOTS_MAX)
        if len({check_iss(name) for name, _ in roots}) != len(roots):
            raise Malformed("duplicate-key", "peer file: two roots have one name")
        self.gateways = shape.array(gateways, what, 0, PEER_SERVICES_MAX)
        self.validators = shape.array(validators, what, 0, PEER_SERVICES_MAX)
        for one in [*gateways, *(credential for _, credential in validators)]:
            shape.statements(one, what)
        for url, _ in validators:
            check_url(url)

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [
            PEER_FILE,
            self.organisation,
            self.made_ms,
            self.validity,
            [[name, key.cose_key()] for name, key in self.roots],
            self.gateways,
            [[url, credential] for url, credential in self.validators],
        ]

    @property
    def spoken(self) -> str:
        """Its fingerprint, to be compared by voice: 8 groups of 5 digits."""
        return spoken(self.digest)

    def check_time(self, at_s: int) -> None:
        """Unverified("expired") outside the validity."""
        first, last = self.validity
        if not first <= at_s <= last:
            when = "is not valid yet" if at_s < first else "has expired; ask for a new one"
            raise Unverified("expired", "the peer file of %s %s" % (self.organisation, when))

    def verify(self, at_s: int | None = None) -> "VerifiedPeerFile":
        """The file, when its first root signed it and its roots vouch for everybody in it.

        That shows who signed and not who that is: for it the fingerprint is compared.
        """
        name, root = self.roots[0]
        if self.iss != name or self.device != root.thumbprint():
            raise Unverified("wrong-key", "peer file: it is not by the first of its roots")
        verified = self._verified(VerifiedPeerFile, root)
        if at_s is not None:
            self.check_time(at_s)
        roots = dict(self.roots)
        gateway, validator = enrolment.SUBJECT_GATEWAY, enrolment.SUBJECT_VALIDATOR
        verified.gateway_ids = [_vouched(one, roots, gateway) for one in self.gateways]
        verified.validator_ids = [_vouched(one, roots, validator) for _, one in self.validators]
        known = [one.id for one in verified.gateway_ids + verified.validator_ids]
        if len(set(known)) != len(known):
            raise Unverified("already-enrolled", "peer file: it names one id twice")
        return verified


class VerifiedPeerFile(PeerFile):
    """`root` signed it; made by verify() only. The identities are in the order of the file."""

    root: PublicKey
    gateway_ids: list[Identity]
    validator_ids: list[Identity]


def _vouched(statements: list[bytes], roots: dict[str, PublicKey], subject: int) -> Identity:
    identity = verify_credential(Credential(statements), roots, None)
    if identity.subject != subject:
        kind = enrolment.SUBJECTS[subject]
        raise Unverified("not-enrolled", "peer file: %s is no %s" % (identity.text, kind))
    return identity


def check_url(url: Any) -> str:
    """An address as text; Malformed unless it is a scheme, a host and at most a port and a path."""
    text = shape.text(url, PEER_URL_BYTES_MAX, "peer file")
    rest = text[text.find("://") + 3 :]
    plain = all("!" <= letter <= "~" and letter not in '@?#\\"<>^`{|}' for letter in rest)
    if not text.startswith(SCHEMES) or not plain or rest[:1] in {"", "/", ":"} or rest[-1] == "/":
        raise Malformed("bad-value", "peer file: an address is http://HOST:PORT or https://HOST")
    return text


def spoken(digest: bytes) -> str:
    """The fingerprint of a digest: decimal digits, since every language has a word for each."""
    text = "%0*d" % (SPOKEN_DIGITS, int.from_bytes(digest, "big") % 10**SPOKEN_DIGITS)
    return " ".join(text[at : at + SPOKEN_GROUP] for at in range(0, SPOKEN_DIGITS, SPOKEN_GROUP))


def parse(data: bytes) -> PeerFile:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, PEER_FILE, PEER_FILE_BYTES_MAX)
    statement.subject_device(received)
    what = "peer file"
    organisation, made_ms, validity, roots, gateways, validators = shape.row(
        received.values, 6, what
    )
    made = PeerFile(
        organisation,
        made_ms,
        shape.row(shape.array(validity, what), 2, what),
        [_root(one) for one in shape.array(roots, what, 1, PEER_ROOTS_MAX)],
        gateways,
        [_pair(one) for one in shape.array(validators, what, 0, PEER_SERVICES_MAX)],
    )
    made.statement = received
    return made


def _root(value: Any) -> Root:
    name, key = shape.row(value, 2, "peer file")
    return check_iss(name), from_cose_key(key)


def _pair(value: Any) -> Validator:
    url, credential = shape.row(value, 2, "peer file")
    return url, credential


def file_name(iss: str) -> str:
    """The name of a peer's file in a folder of them."""
    return check_iss(iss) + SUFFIX
