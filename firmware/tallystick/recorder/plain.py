# What a gateway sends down all day, read in the least heap: custody receipts about this very
# device, by its fleet, in their usual form.  Anything else is None here, and then evidence/ reads
# it, which says what is wrong with it and takes 8 KiB more of a board.

from tallystick.evidence.cbor import decode, head
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.kinds import CUSTODY_RECEIPT
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

ALG = 1
KID = 4
CLAIMS = 15
# ES256 and EDDSA of keys.py, which need not be loaded for their numbers.
USUAL = (-7, -8)
KID_SIZE = 8
SIGNATURE_SIZE = 64
EPOCH_SIZE = 8
HASH_SIZE = 32
TAG = b"\xd2"
# ["Signature1", ... of COSE's Sig_structure.
CONTEXT = b"\x84jSignature1"


class Plain:
    """A custody receipt or a checkpoint; the attributes of evidence/custody.py, checkpoint.py."""

    # Of a checkpoint `size`, of a receipt the others.
    size = from_ = to = time_ms = 0
    bodies = False

    def __init__(self, device: bytes, epoch: bytes, root: bytes, parts: "list[Any]") -> None:
        self.device = device
        self.epoch = epoch
        self.root = root
        protected, _, payload, self._signature = parts
        self._alg, self.kid = _signer(protected)
        self._signed = b"".join(
            (CONTEXT, head(2, len(protected)), protected, b"\x40", head(2, len(payload)), payload)
        )

    def received(self) -> "Plain":
        """As of what evidence/ reads."""
        return self

    @property
    def digest(self) -> bytes:
        """SHA-256 over the Sig_structure."""
        return sha256(self._signed)

    def verifier(self, key: "PublicKey") -> "Any":
        """step() until True, or it raises: `key` signed it."""
        if self._alg != key.alg:
            raise Unverified("wrong-alg", "the algorithm is not that of the key")
        if self.kid != key.kid():
            raise Unverified("wrong-key", "the statement names another key")
        return key.verifier(self._signature, self._signed)


def _signer(protected: bytes) -> "tuple[int, bytes]":
    headers = decode(protected)
    return headers[ALG], headers[KID]


def payload_kind(data: bytes) -> int:
    """The kind of a statement's payload; -1 where it is no statement."""
    try:
        return int(decode(data[1:])[2][1])
    except (TallyError, ValueError, TypeError, IndexError, KeyError):
        return -1


def _values(data: bytes, fleet: str, sub: str) -> "tuple[list[Any], list[Any]] | None":
    if len(data) > CHECKPOINT_BYTES_MAX or data[:1] != TAG:
        return None
    parts = decode(data[1:])
    protected, unprotected, payload, signature = parts
    headers = decode(protected)
    alg, kid, claims = headers[ALG], headers[KID], headers[CLAIMS]
    usual = (
        type(headers) is dict
        and len(headers) == 3
        and type(alg) is int
        and alg in USUAL
        and type(kid) is bytes
        and len(kid) == KID_SIZE
        and claims == {1: fleet, 2: sub}
        and type(unprotected) is dict
        and not unprotected
        and type(signature) is bytes
        and len(signature) == SIGNATURE_SIZE
        and type(payload) is bytes
    )
    values = decode(payload) if usual else None
    return (parts, values) if type(values) is list else None


def values_of(data: bytes, config: "dict[str, Any]") -> "tuple[list[Any], list[Any]]":
    """Parts and payload of a statement in the usual form, decoded; else two empty lists."""
    # Not of the usual form: whatever stops it, the general reader finds out again.
    try:
        found = _values(data, config["fleet"], config["device"])
    except (TallyError, ValueError, TypeError, IndexError, KeyError):
        found = None
    return found or ([], [])


def are(values: "list[Any]", types: "tuple[type, ...]") -> bool:
    """Whether the first values are of these types."""
    if len(values) < len(types):
        return False
    for at, kind in enumerate(types):
        # 0 to 2^63 - 1, as every unsigned integer of the wire.
        if type(values[at]) is not kind or (kind is int and values[at] >> 63):
            return False
    return True


def read_receipt(data: bytes, config: "dict[str, Any]", device: bytes) -> "Plain | None":
    """A custody receipt."""
    parts, values = values_of(data, config)
    if not are(values, (int, bytes, int, int, bytes, bool, int)) or len(values) != 7:
        return None
    kind, epoch, from_, to, root, bodies, time_ms = values
    if kind != CUSTODY_RECEIPT or len(epoch) != EPOCH_SIZE or len(root) != HASH_SIZE:
        return None
    if from_ > to or not to:
        return None
    found = Plain(device, epoch, root, parts)
    found.from_, found.to, found.bodies, found.time_ms = from_, to, bodies, time_ms
    return found
