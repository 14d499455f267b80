"""Half: [14, record, salt, index, path, checkpoint, hash / credential]."""

# docs/protocol.md, 4.2: what a claim's maker hands to its counterpart at once.  The path is an
# inclusion proof (RFC 9162, section 2.1.3) from the salted leaf to the checkpoint's root.

from tallystick.evidence import _shape as shape
from tallystick.evidence._fields import half_fields
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import HALF
from tallystick.evidence.limits import HALF_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.checkpoint import VerifiedCheckpoint
    from tallystick.evidence.claim import Claim
    from tallystick.evidence.credential import Identity, Keyring
    from tallystick.evidence.steps import Steps


class Half(Wire):
    """credential: the statements' bytes, or the digest of the last one."""

    def __init__(
        self,
        record: bytes,
        salt: bytes,
        index: int,
        path: list[bytes],
        checkpoint: bytes,
        credential: bytes | list[bytes],
    ) -> None:
        half_fields(record, salt, index, path, checkpoint, credential)
        self.record = record
        self.salt = salt
        self.index = index
        self.path = path
        self.checkpoint = checkpoint
        self.credential = credential

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            HALF,
            self.record,
            self.salt,
            self.index,
            self.path,
            self.checkpoint,
            self.credential,
        ]

    def encode(self) -> bytes:
        """The one encoding; Malformed when it is too large for what halves travel on."""
        data = Wire.encode(self)
        if len(data) > HALF_BYTES_MAX:
            raise Malformed("too-large", "half: longer than %d bytes" % HALF_BYTES_MAX)
        return data


def parse(data: bytes) -> Half:
    """As received; Malformed with a reason of section 1.7."""
    half = Half(*shape.fields(data, HALF, 6, HALF_BYTES_MAX, "half"))
    half._data = data
    return half


class VerifiedHalf:
    """A claim that its maker signed into its log; made by verify_half() only."""

    # `status` is the key's at this head (Identity.status_at).  `kept` is set by the recorder that
    # has it on flash, signed.
    kept = False

    def __init__(
        self,
        half: Half,
        claim: "Claim",
        leaf: bytes,
        reference: bytes,
        checkpoint: "VerifiedCheckpoint",
        identity: "Identity",
        status: str,
    ) -> None:
        self.half = half
        self.claim = claim
        self.device = identity.id
        self.epoch = checkpoint.epoch
        self.index = half.index
        self.leaf = leaf
        self.reference = reference
        self.checkpoint = checkpoint
        self.identity = identity
        self.enrolment = identity.enrolment
        self.status = status


def verifying(
    half: Half, keyring: "Keyring", *, revoked_too: bool = False
) -> "Generator[None, None, VerifiedHalf]":
    """As verify_half, as a generator."""
    # Imported when used: making a half and reading one need none of it.
    from tallystick.evidence._halfcheck import checking  # noqa: PLC0415  # costs heap

    return checking(half, keyring, revoked_too=revoked_too)


def verify_half(half: Half, keyring: "Keyring", *, revoked_too: bool = False) -> VerifiedHalf:
    """Against the keyring's pinned roots; CouldNotCheck when it does not know the credential.

    With `revoked_too` a half of a revoked key is returned with its `status`, to be kept, flagged.
    """
    from tallystick.evidence.steps import finish  # noqa: PLC0415  # costs heap

    return finish(verifying(half, keyring, revoked_too=revoked_too))  # type: ignore[no-any-return]  # generator's result


def verifier(half: Half, keyring: "Keyring") -> "Steps":
    """As verify_half, in bounded steps; the result is a VerifiedHalf."""
    from tallystick.evidence.steps import Steps  # noqa: PLC0415  # costs heap

    return Steps(verifying(half, keyring))
