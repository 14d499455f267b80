"""COSE Receipts of a log (RFC 9942): a signature over a root, and proofs beside it."""

# Protected: alg, kid, CWT claims iss, sub (the log's origin) and iat, vds 1 (RFC9162_SHA256).
# Unprotected: vdp with the proof.  The payload, the root, is detached: the verifier computes it.
# The signature covers the root only, so one signature serves every entry of a tree of that size.
# Size and index of a proof are bound to the root by the path alone; who needs the size certain
# takes it from the log checkpoint with this root.

from tallystick.evidence import _shape as shape
from tallystick.evidence import cose
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import (
    PATH_HASHES_MAX,
    RECEIPT_BYTES_MAX,
    STATEMENT_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from tallystick.evidence.proof import root_from_inclusion, verify_consistency
from tallystick.evidence.statement import check_iss
from tallystick.evidence.tree import leaf_hash

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.statement import Signs

ALG, KID, CWT_CLAIMS, RECEIPTS, VDS, VDP = 1, 4, 15, 394, 395, 396
ISS, SUB, IAT = 1, 2, 6
RFC9162_SHA256 = 1
INCLUSION, CONSISTENCY = -1, -2
RECEIPTS_MAX = 64


class Unsigned:
    """A root that waits for the log key's signature over `to_be_signed`."""

    def __init__(self, protected: bytes, root: bytes) -> None:
        self.protected = protected
        self.root = shape.octets(root, shape.HASH_SIZE, "receipt")
        self.to_be_signed = cose.to_be_signed(protected, root)

    def finish(self, signature: bytes) -> "SignedRoot":
        """The signed root, which gives a receipt for each entry below it."""
        return SignedRoot(self.protected, signature)


class SignedRoot:
    """A signature over the root of one size; proofs make receipts of it."""

    def __init__(self, protected: bytes, signature: bytes) -> None:
        self.protected = protected
        self.signature = signature

    def inclusion(self, size: int, index: int, path: list[bytes]) -> bytes:
        """The receipt that the entry at `index` is in the tree of `size` with this root."""
        return self._with(INCLUSION, [size, index, list(path)])

    def consistency(self, size1: int, size2: int, path: list[bytes]) -> bytes:
        """The receipt that the tree of `size2` with this root extends that of `size1`."""
        return self._with(CONSISTENCY, [size1, size2, list(path)])

    def _with(self, label: int, proof: "list[Any]") -> bytes:
        unprotected = {VDP: {label: [encode(proof)]}}
        return cose.encode(self.protected, None, self.signature, unprotected)


def prepare(key: PublicKey, iss: str, sub: str, iat: int, root: bytes) -> Unsigned:
    """Split phase: what the log's key must sign; `sub` is the log's origin, `iat` in seconds."""
    shape.text(sub, TEXT_BYTES_MAX, "receipt")
    claims = {ISS: check_iss(iss), SUB: sub, IAT: shape.uint(iat, "receipt")}
    return Unsigned(cose.protected_header(key.alg, key.kid(), claims, {VDS: RFC9162_SHA256}), root)


def sign(signer: "Signs", iss: str, sub: str, iat: int, root: bytes) -> SignedRoot:
    """Sign a root at once; blocks."""
    unsigned = prepare(signer.public_key(), iss, sub, iat, root)
    return unsigned.finish(signer.sign(unsigned.to_be_signed))


class _Received:
    # What both kinds of receipt share.

    def __init__(self, data: bytes, sign1: "cose.Sign1", path: list[bytes]) -> None:
        claims = sign1.headers[CWT_CLAIMS]
        self._data = data
        self.sign1 = sign1
        self.path = path
        self.iss: str = claims[ISS]
        self.sub: str = claims[SUB]
        self.iat: int = claims[IAT]

    @property
    def kid(self) -> bytes:
        """8 bytes; a hint that proves nothing."""
        kid: bytes = self.sign1.headers[KID]
        return kid

    def encode(self) -> bytes:
        """The bytes as received."""
        return self._data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Received) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def _check(self, key: PublicKey, root: bytes) -> None:
        if self.kid != key.kid():
            raise Unverified("wrong-key", "a receipt that names another key")
        self.sign1.verify(key, root)


class Receipt(_Received):
    """An inclusion receipt as received."""

    def __init__(self, data: bytes, sign1: "cose.Sign1", proof: "list[Any]") -> None:
        super().__init__(data, sign1, proof[2])
        self.size: int = proof[0]
        self.index: int = proof[1]

    def verify(self, entry: bytes, key: PublicKey) -> "VerifiedReceipt":
        """Unverified unless the log's `key` signed a root over a tree that holds this entry."""
        return self.verify_leaf(leaf_hash(entry), key)

    def verify_leaf(self, leaf: bytes, key: PublicKey) -> "VerifiedReceipt":
        """As verify, given the entry's leaf hash."""
        root = root_from_inclusion(leaf, self.index, self.size, self.path)
        self._check(key, root)
        return VerifiedReceipt(self, key, root)


class VerifiedReceipt(Receipt):
    """`key` signed `root`, over which the entry was shown to be at `index` of `size`."""

    def __init__(self, receipt: Receipt, key: PublicKey, root: bytes) -> None:
        super().__init__(receipt._data, receipt.sign1, [receipt.size, receipt.index, receipt.path])
        self.key = key
        self.root = root


class ConsistencyReceipt(_Received):
    """A consistency receipt as received."""

    def __init__(self, data: bytes, sign1: "cose.Sign1", proof: "list[Any]") -> None:
        super().__init__(data, sign1, proof[2])
        self.size1: int = proof[0]
        self.size2: int = proof[1]

    def verify(self, root1: bytes, root2: bytes, key: PublicKey) -> "VerifiedConsistencyReceipt":
        """Unverified unless the log's `key` signed `root2`, whose tree extends that of `root1`."""
        verify_consistency(self.size1, root1, self.size2, root2, self.path)
        self._check(key, root2)
        return VerifiedConsistencyReceipt(self, key, root1, root2)


class VerifiedConsistencyReceipt(ConsistencyReceipt):
    """`key` signed `root`, whose tree of `size2` extends that of `size1` with `root1`."""

    def __init__(
        self, receipt: ConsistencyReceipt, key: PublicKey, root1: bytes, root: bytes
    ) -> None:
        super().__init__(receipt._data, receipt.sign1, [receipt.size1, receipt.size2, receipt.path])
        self.key = key
        self.root1 = root1
        self.root = root


def _check_header(headers: "dict[int, Any]") -> None:
    claims = headers.get(CWT_CLAIMS)
    if sorted(headers) != [ALG, KID, CWT_CLAIMS, VDS] or headers[VDS] != RFC9162_SHA256:
        raise Malformed("bad-header", "receipt: its header holds alg, kid, claims and vds 1")
    kid = headers[KID]
    if type(headers[VDS]) is not int or type(kid) is not bytes or len(kid) != 8:
        raise Malformed("bad-header", "receipt: its kid must be 8 bytes and vds an integer")
    if type(claims) is not dict or sorted(claims) != [ISS, SUB, IAT]:
        raise Malformed("bad-header", "receipt: its claims are iss, sub and iat")
    check_iss(claims[ISS])
    shape.text(claims[SUB], TEXT_BYTES_MAX, "receipt")
    shape.uint(claims[IAT], "receipt")


def _proof(unprotected: "dict[int, Any]", label: int) -> "list[Any]":
    proofs = unprotected.get(VDP)
    if len(unprotected) != 1 or type(proofs) is not dict or list(proofs) != [label]:
        raise Malformed("bad-header", "receipt: not one proof of the kind that this place needs")
    (blob,) = shape.row(proofs[label], 1, "receipt")
    proof = shape.row(decode(shape.blob(blob, RECEIPT_BYTES_MAX, "receipt")), 3, "receipt")
    shape.uint(proof[0], "receipt")
    shape.uint(proof[1], "receipt")
    shape.hashes(proof[2], PATH_HASHES_MAX, "receipt")
    return proof


def _parse(data: bytes, label: int) -> "tuple[cose.Sign1, list[Any]]":
    sign1 = cose.parse(data, RECEIPT_BYTES_MAX)
    if sign1.payload is not None:
        raise Malformed("bad-type", "receipt: its payload must be detached")
    _check_header(sign1.headers)
    return sign1, _proof(sign1.unprotected, label)


def parse(data: bytes) -> Receipt:
    """An inclusion receipt as received; Malformed with a reason of docs/protocol.md, 1.7."""
    sign1, proof = _parse(data, INCLUSION)
    return Receipt(data, sign1, proof)


def parse_consistency(data: bytes) -> ConsistencyReceipt:
    """A consistency receipt as received; Malformed with a reason of docs/protocol.md, 1.7."""
    sign1, proof = _parse(data, CONSISTENCY)
    return ConsistencyReceipt(data, sign1, proof)


def attach(statement: bytes, receipts: list[bytes]) -> bytes:
    """The statement with these receipts, and no others, in its unprotected header (RFC 9943)."""
    sign1 = cose.parse(statement, STATEMENT_BYTES_MAX)
    for data in shape.array(receipts, "receipts", 1, RECEIPTS_MAX):
        shape.blob(data, RECEIPT_BYTES_MAX, "receipt")
    return cose.encode(sign1.protected, sign1.payload, sign1.signature, {RECEIPTS: receipts})


def attached(statement: bytes) -> list[bytes]:
    """The receipts in a statement's unprotected header, none when there are none."""
    unprotected = cose.parse(statement, STATEMENT_BYTES_MAX).unprotected
    if RECEIPTS not in unprotected:
        return []
    return [
        shape.blob(data, RECEIPT_BYTES_MAX, "receipt")
        for data in shape.array(unprotected[RECEIPTS], "receipts", 1, RECEIPTS_MAX)
    ]
