"""COSE_Sign1 (RFC 9052, section 4.2), as docs/protocol.md, section 1.4, narrows it."""

# d2 84 protected: bstr, unprotected: map, payload: bstr / nil, signature: bstr .size 64

import sys

from tallystick.evidence import cbor
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import ALIASES, KID_SIZE, SIGNATURE_SIZE, PublicKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ALG = 1
KID = 4
CLAIMS = 15  # CWT claims (RFC 9597)
TYP = 16
VDS = 395  # verifiable data structure (RFC 9942)
RECEIPTS = 394
VDP = 396

_PROTECTED = {ALG: int, KID: bytes, CLAIMS: dict, TYP: str, VDS: int}
_UNPROTECTED = {RECEIPTS: list, VDP: dict}
# A device's statements all have one protected header, so what was read is kept: a quarter of the
# time of a checkpoint.  A device itself meets few, and its heap is small.
PROTECTED_KEPT_MAX = 2 if sys.implementation.name == "micropython" else 1024
PROTECTED_KEPT_BYTES_MAX = 256
_read_protected: "dict[bytes, dict[int, Any]]" = {}
_TAG = b"\xd2"
# ["Signature1", ...], an array of four.
_CONTEXT = b"\x84\x6aSignature1"


def _bad_header(what: str) -> Malformed:
    return Malformed("bad-header", "COSE header: " + what)


class Sign1:
    """A signed statement as received; nothing in it is verified until verify() returned."""

    # Its own bytes, where they are those that a log's leaf is made of.
    _leaf: bytes | None = None

    def __init__(
        self, protected: bytes, unprotected: "dict[int, Any]", payload: bytes | None, sig: bytes
    ) -> None:
        self.protected = protected
        self.unprotected = unprotected
        self.payload = payload
        self.signature = sig
        self.headers = _read_headers(protected, unprotected)
        self.alg: int = ALIASES[self.headers[ALG]]
        self.kid: "bytes | None" = self.headers.get(KID)

    def claim(self, label: int) -> "Any":
        """A CWT claim of the protected header (1 iss, 2 sub, 6 iat), or None."""
        return self.headers.get(CLAIMS, {}).get(label)

    def _signed(self, payload: bytes | None) -> bytes:
        if (payload is None) == (self.payload is None):
            raise Malformed("bad-type", "a payload must be attached or given, and not both")
        return to_be_signed(self.protected, self.payload if payload is None else payload)  # type: ignore[arg-type]  # one is not None

    def check_key(self, key: PublicKey) -> None:
        """Unverified unless algorithm and key hint are those of the key."""
        if self.alg != key.alg:
            raise Unverified("wrong-alg", "the algorithm is not that of the key")
        if self.kid is not None and self.kid != key.kid():
            raise Unverified("wrong-key", "the statement names another key")

    def verify(self, key: PublicKey, payload: bytes | None = None) -> "Sign1":
        """Itself, when `key` signed it; `payload` is given only where it is detached."""
        self.check_key(key)
        key.verify(self.signature, self._signed(payload))
        return self

    def verifier(self, key: PublicKey, payload: bytes | None = None) -> "Any":
        """verify() in bounded steps."""
        self.check_key(key)
        return key.verifier(self.signature, self._signed(payload))

    def digest(self, payload: bytes | None = None) -> bytes:
        """Identity by content: a second valid signature makes no second statement."""
        return sha256(self._signed(payload))

    def statement_bytes(self) -> bytes:
        """With the unprotected header emptied: what a log's leaf is made of (RFC 9943)."""
        if self._leaf is None:
            self._leaf = encode(self.protected, self.payload, self.signature)
        return self._leaf


def _read_headers(protected: bytes, unprotected: "dict[int, Any]") -> "dict[int, Any]":
    headers = _read_protected.get(protected)
    if headers is None:
        headers = cbor.decode(protected)
        if type(headers) is not dict:
            raise _bad_header("the protected header is no map")
        _check_labels(_PROTECTED, headers, "protected")
        if headers.get(ALG) not in ALIASES:
            raise _bad_header("alg must be -7, -8, -9 or -19")
        if KID in headers and len(headers[KID]) != KID_SIZE:
            raise _bad_header("kid must be 8 bytes")
        if len(protected) <= PROTECTED_KEPT_BYTES_MAX:
            if len(_read_protected) >= PROTECTED_KEPT_MAX:
                _read_protected.clear()
            _read_protected[protected] = headers
    if unprotected:
        _check_labels(_UNPROTECTED, unprotected, "unprotected")
    return headers


def _check_labels(table: "dict[int, Any]", found: "dict[int, Any]", name: str) -> None:
    for label, value in found.items():
        # Also refuses crit (2): no extension is defined.  An alg, kid or claim outside the
        # protected header is refused too: nobody signed it.
        if table.get(label) is not type(value):
            raise _bad_header("%s is not allowed in the %s header" % (label, name))


def parse(data: bytes, bytes_max: int) -> Sign1:
    """Strict: parse, then encode, gives the same bytes."""
    if len(data) > bytes_max:
        raise Malformed("too-large", "a statement of %d bytes: at most %d" % (len(data), bytes_max))
    if data[:1] != _TAG:
        reason = "bad-type" if data else "truncated"
        raise Malformed(reason, "a statement must begin with COSE_Sign1's tag, 18")
    parts = cbor.decode(data[1:])
    if type(parts) is not list or len(parts) != 4:
        raise Malformed("bad-type", "a COSE_Sign1 must be an array of four")
    protected, unprotected, payload, signature = parts
    if (
        type(protected) is not bytes
        or type(unprotected) is not dict
        or not (payload is None or type(payload) is bytes)
        or type(signature) is not bytes
    ):
        raise Malformed("bad-type", "a part of a COSE_Sign1 is of a wrong type")
    if len(signature) != SIGNATURE_SIZE:
        raise Malformed("bad-signature", "a signature must be 64 bytes")
    received = Sign1(protected, unprotected, payload, signature)
    if not unprotected:
        received._leaf = data
    return received


def to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """Sig_structure with an empty external_aad (RFC 9052, section 4.4)."""
    return b"".join(
        (
            _CONTEXT,
            cbor.head(2, len(protected)),
            protected,
            b"\x40",
            cbor.head(2, len(payload)),
            payload,
        )
    )


def protected_header(
    alg: int,
    kid: bytes | None,
    claims: "dict[int, Any] | None" = None,
    extra: "dict[int, Any] | None" = None,
) -> bytes:
    """The bytes of a protected header; refuses what parse would refuse."""
    headers: "dict[int, Any]" = {ALG: alg}
    if kid is not None:
        headers[KID] = kid
    if claims is not None:
        headers[CLAIMS] = claims
    if extra:
        headers.update(extra)
    protected = cbor.encode(headers)
    _read_headers(protected, {})
    return protected


def encode(
    protected: bytes,
    payload: bytes | None,
    signature: bytes,
    unprotected: "dict[int, Any] | None" = None,
) -> bytes:
    """The bytes of a tagged COSE_Sign1."""
    if type(signature) is not bytes or len(signature) != SIGNATURE_SIZE:
        raise Malformed("bad-signature", "a signature must be 64 bytes")
    return b"".join(
        (
            _TAG + b"\x84",
            cbor.head(2, len(protected)),
            protected,
            cbor.encode(unprotected or {}),
            b"\xf6" if payload is None else cbor.head(2, len(payload)),
            payload or b"",
            signature_head,
            signature,
        )
    )


signature_head = cbor.head(2, SIGNATURE_SIZE)
