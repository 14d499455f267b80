"""Key changes: rotation, replacement, revocation (docs/protocol.md, 5.2), signed by the root."""

from tallystick.evidence import _shape as shape
from tallystick.evidence import cose, keys, statement
from tallystick.evidence.cbor import encode
from tallystick.evidence.enrolment import check_evidence, check_possession, possession_message
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import KEY_CHANGE
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps, finish

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.credential import Identity
    from tallystick.evidence.statement import Signs

ROTATION, REPLACEMENT, REVOCATION = 0, 1, 2
RETIRED, LOST, COMPROMISED = 0, 1, 2
REASONS = ("retired", "lost", "compromised")


def check_head(head: "Any") -> "list[Any] | None":
    """[epoch, size, root] or None."""
    if head is not None:
        head = list(head) if type(head) is tuple else head
        epoch, size, root = shape.row(head, 3, "head")
        shape.octets(epoch, 8, "head")
        shape.uint(size, "head")
        shape.octets(root, 32, "head")
    return head  # type: ignore[no-any-return]  # checked by row()


class KeyChange(Signed):
    """What the three have in common; `id` is the one that changes.

    previous: the digest of the key change before it in the credential; None: it is the first.
    """

    _signed_by = "root"
    id: bytes
    head: "list[Any] | None"
    time_ms: int
    previous: "bytes | None"

    def _after(self, previous: "bytes | None", what: str) -> None:
        self.previous = None if previous is None else shape.octets(previous, 32, what)

    def _check_subject(self) -> None:
        if self.device != self.id:
            raise Unverified("wrong-device", "a key change's subject is not the id it changes")


class Rotation(KeyChange):
    """From the old key (a thumbprint) to `key`; id and tree go on."""

    def __init__(
        self,
        id: bytes,  # noqa: A002  # the name on the wire
        old: bytes,
        key: PublicKey,
        custody: int,
        evidence: "list[Any]",
        head: "Any",
        time_ms: int,
        previous: "bytes | None",
        possession: bytes,
        old_signature: bytes,
    ) -> None:
        what = "rotation"
        self.id = shape.octets(id, 32, what)
        self.old = shape.octets(old, 32, what)
        self.key = key
        self.custody = shape.uint(custody, what, 3)
        self.evidence = check_evidence(evidence)
        self.head = check_head(head)
        self.time_ms = shape.uint(time_ms, what)
        self._after(previous, what)
        self.possession = shape.octets(possession, 64, what)
        self.old_signature = shape.octets(old_signature, 64, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            KEY_CHANGE,
            ROTATION,
            self.id,
            self.old,
            self.key.cose_key(),
            self.custody,
            self.evidence,
            self.head,
            self.time_ms,
            self.previous,
            self.possession,
            self.old_signature,
        ]

    def old_message(self, old_alg: int) -> bytes:
        """What the old key signs: the array without its last element."""
        protected = cose.protected_header(old_alg, None)
        return cose.to_be_signed(protected, encode(self.values()[:-1]))

    def verify(self, root: PublicKey, old: PublicKey) -> "VerifiedRotation":
        """Unverified unless root, old key and new key signed; blocks."""
        return finish(self.verifying(root, old))  # type: ignore[no-any-return]  # generator's result

    def verifier(self, root: PublicKey, old: PublicKey) -> Steps:
        """As verify, in bounded steps."""
        return Steps(self.verifying(root, old))

    def verifying(
        self, root: PublicKey, old: PublicKey
    ) -> "Generator[None, None, VerifiedRotation]":
        """As verify, as a generator."""
        self._check_subject()
        if self.old != old.thumbprint() or self.key == old:
            raise Unverified("wrong-key", "a rotation from another key than the current one")
        verified = yield from self._verifying(VerifiedRotation, root)
        yield from check_possession(self.key, self.id, self.iss, self.possession)
        work = old.verifier(self.old_signature, self.old_message(old.alg))
        while not work.step():
            yield
        return verified


class VerifiedRotation(Rotation):
    """`root`, the old key and the new key signed it; made by verify() only."""

    root: PublicKey


class Replacement(KeyChange):
    """A new id stands in for a dead one; `head` is the last one known of that."""

    def __init__(
        self,
        id: bytes,  # noqa: A002  # the name on the wire
        replaces: bytes,
        head: "Any",
        time_ms: int,
        previous: "bytes | None" = None,
    ) -> None:
        what = "replacement"
        self.id = shape.octets(id, 32, what)
        self.replaces = shape.octets(replaces, 32, what)
        if id == replaces:
            raise Malformed("bad-value", "replacement: an id cannot replace itself")
        self.head = check_head(head)
        self.time_ms = shape.uint(time_ms, what)
        self._after(previous, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            KEY_CHANGE,
            REPLACEMENT,
            self.id,
            self.replaces,
            self.head,
            self.time_ms,
            self.previous,
        ]

    def verify(self, root: PublicKey) -> "VerifiedReplacement":
        """Unverified unless the root signed; blocks."""
        return finish(self.verifying(root))  # type: ignore[no-any-return]  # generator's result

    def verifying(self, root: PublicKey) -> "Generator[None, None, VerifiedReplacement]":
        """As verify, as a generator."""
        self._check_subject()
        return (yield from self._verifying(VerifiedReplacement, root))


class VerifiedReplacement(Replacement):
    """`root` signed it; made by verify() only."""

    root: PublicKey


class Revocation(KeyChange):
    """`key` is a thumbprint; `head` the last trusted one; reason: RETIRED, LOST, COMPROMISED."""

    def __init__(
        self,
        id: bytes,  # noqa: A002  # the name on the wire
        key: bytes,
        head: "Any",
        reason: int,
        time_ms: int,
        previous: "bytes | None" = None,
    ) -> None:
        what = "revocation"
        self.id = shape.octets(id, 32, what)
        self.key = shape.octets(key, 32, what)
        self.head = check_head(head)
        self.reason = shape.uint(reason, what, 2)
        self.time_ms = shape.uint(time_ms, what)
        self._after(previous, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            KEY_CHANGE,
            REVOCATION,
            self.id,
            self.key,
            self.head,
            self.reason,
            self.time_ms,
            self.previous,
        ]

    def verify(self, root: PublicKey) -> "VerifiedRevocation":
        """Unverified unless the root signed; blocks."""
        return finish(self.verifying(root))  # type: ignore[no-any-return]  # generator's result

    def verifying(self, root: PublicKey) -> "Generator[None, None, VerifiedRevocation]":
        """As verify, as a generator."""
        self._check_subject()
        return (yield from self._verifying(VerifiedRevocation, root))


class VerifiedRevocation(Revocation):
    """`root` signed it; made by verify() only."""

    root: PublicKey


def parse(data: bytes) -> Rotation | Replacement | Revocation:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, KEY_CHANGE)
    statement.subject_device(received)
    fields = shape.array(received.values, "key change", 1)
    form = shape.uint(fields[0], "key change", REVOCATION)
    fields = fields[1:]
    change: Rotation | Replacement | Revocation
    if form == ROTATION:
        shape.row(fields, 10, "rotation")
        fields[2] = keys.from_cose_key(fields[2])
        change = Rotation(*fields)
    elif form == REPLACEMENT:
        change = Replacement(*shape.row(fields, 5, "replacement"))
    else:
        change = Revocation(*shape.row(fields, 6, "revocation"))
    change.statement = received
    return change


def applying(identity: "Identity", data: bytes, root: PublicKey) -> "Generator[None, None, None]":
    """Verify a key change, and change the identity by it; in steps."""
    change = parse(data)
    if change.iss != identity.iss:
        raise Unverified("not-enrolled", "a key change by another fleet than the enrolment's")
    if change.id != identity.id:
        raise Unverified("wrong-device", "a key change of another id than the enrolment's")
    # Else whoever hands a credential on could leave changes out, or put them in another order.
    if change.previous != identity.last_change:
        raise Unverified("already-enrolled", "a key change that follows another one than this")
    if isinstance(change, Rotation):
        if identity.keys[-1].reason:
            raise Unverified("revoked", "a rotation from a key that was revoked")
        for period in identity.keys:
            if period.key == change.key:
                raise Unverified("already-enrolled", "a rotation to a key that the id had before")
        yield from change.verifying(root, identity.key)
        identity.begin(change)
    else:
        yield from change.verifying(root)
        if isinstance(change, Revocation):
            identity.end(change.key, change.head, REASONS[change.reason], change.digest)
        else:
            identity.replaces = change.replaces
    identity.changed(change.digest)


def rotate(
    old: "Signs",
    new: "Signs",
    iss: str,
    id: bytes,  # noqa: A002  # the name on the wire
    custody: int,
    evidence: "list[Any]",
    head: "Any",
    time_ms: int,
    previous: "bytes | None" = None,
) -> Rotation:
    """A rotation that both keys signed, for the root to sign; blocks.

    previous: `last_change` of the identity that it changes.
    """
    key = new.public_key()
    possession = new.sign(possession_message(key.alg, id, iss))
    was = old.public_key()
    fields = (id, was.thumbprint(), key, custody, evidence, head, time_ms, previous, possession)
    draft = Rotation(*fields, bytes(64))
    return Rotation(*fields, old.sign(draft.old_message(was.alg)))
