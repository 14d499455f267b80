"""Credential: an enrolment and the key changes after it, in order (docs/protocol.md, 3.3 and 5)."""

# Verified against pinned fleet roots it becomes an Identity: the id that outlives keys, its keys
# with the heads at which they changed, and its status.

from tallystick.evidence import _shape as shape
from tallystick.evidence import enrolment
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import decode
from tallystick.evidence.enrolment import VerifiedEnrolment
from tallystick.evidence.errors import CouldNotCheck, Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import CREDENTIAL_STATEMENTS_MAX, STATEMENT_BYTES_MAX
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps, finish

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.checkpoint import Checkpoint
    from tallystick.evidence.keychange import Rotation

IDENTITIES_MAX = 16


class Credential(Wire):
    """The statements' bytes, as received."""

    def __init__(self, statements: list[bytes]) -> None:
        self.statements = shape.statements(statements, "credential")

    def values(self) -> "list[Any]":
        """The array of the CDDL; it has no kind."""
        return list(self.statements)


def parse(data: bytes) -> Credential:
    """As received; Malformed with a reason of section 1.7."""
    if type(data) is not bytes:
        raise Malformed("bad-type", "credential: not bytes")
    if len(data) > CREDENTIAL_STATEMENTS_MAX * (STATEMENT_BYTES_MAX + 5) + 1:
        raise Malformed("too-large", "credential: longer than its statements may be")
    credential = Credential(decode(data))
    credential._data = data
    return credential


class KeyPeriod:
    """A key with the heads after which it began and ended; None: from the start, or not yet."""

    # What counts of its custody, once that was asked (keycustody.py; never on a device).
    counted: "Any" = None

    def __init__(
        self, key: PublicKey, custody: int, evidence: "list[Any]", since_s: int, begin: "Any"
    ) -> None:
        self.key = key
        # What the root says; `evidence` is its evidence, by which it counts or does not.
        self.custody = custody
        self.evidence = evidence
        self.since_s = since_s
        self.begin = begin
        self.end: list[Any] | None = None
        self.ended = False
        # Set by a revocation of this key, with the digest of its statement.
        self.reason: str | None = None
        self.ended_by: bytes | None = None


class Identity:
    """Who a verified credential speaks of; made by verify_credential() only."""

    def __init__(self, enrolled: VerifiedEnrolment) -> None:
        self.enrolment = enrolled
        self.id = enrolled.id
        self.text = enrolled.sub
        self.iss = enrolled.iss
        self.subject = enrolled.subject
        since_s = enrolled.validity[0]
        first = KeyPeriod(enrolled.key, enrolled.custody, enrolled.evidence, since_s, None)
        self.keys = [first]
        # The key that was current after each statement, by the statement's digest, in order.
        self.digests = [enrolled.digest]
        self._current = {enrolled.digest: enrolled.key}
        self.replaces: bytes | None = None

    @property
    def key(self) -> PublicKey:
        """The current key."""
        return self.keys[-1].key

    @property
    def digest(self) -> bytes:
        """The digest of the newest statement, by which a half may name the credential."""
        return self.digests[-1]

    @property
    def last_change(self) -> "bytes | None":
        """The digest of the newest key change, which the next one names; None: there is none."""
        return self.digests[-1] if len(self.digests) > 1 else None

    @property
    def status(self) -> str:
        """active, retired, lost or compromised: of the current key."""
        return self.keys[-1].reason or "active"

    @property
    def heads(self) -> "list[list[Any]]":
        """The heads at which keys changed."""
        return [period.begin for period in self.keys if period.begin is not None]

    def period(self, thumbprint: bytes) -> KeyPeriod:
        """The period of a key; Unverified when it was never enrolled for this id."""
        for period in self.keys:
            if period.key.thumbprint() == thumbprint:
                return period
        raise Unverified("wrong-key", "a key that was never enrolled for this id")

    def key_at(self, digest: bytes) -> PublicKey:
        """The key that was current after the statement with this digest."""
        key = self._current.get(digest)
        if key is None:
            raise Unverified("wrong-key", "a statement that is no part of this credential")
        return key

    def key_of(self, received: Signed) -> PublicKey:
        """The key of this identity that the statement names; it must bear the fleet's name."""
        if received.iss != self.iss:
            raise Unverified("wrong-key", "a statement that names another fleet than its signer's")
        kid = received.received().kid
        # The newest first: hints may be equal, and then only the newest can be meant.
        for period in reversed(self.keys):
            if period.key.kid() == kid:
                return period.key
        raise Unverified("wrong-key", "a statement by no key of this identity")

    def own_key_of(self, received: Signed) -> PublicKey:
        """As key_of, for statements of which this identity is the subject too."""
        if received.sub != self.text:
            raise Unverified("wrong-device", "a statement about another id than its signer's")
        return self.key_of(received)

    def status_at(self, head: "Checkpoint", key: PublicKey) -> str:
        """Status of a head that `key` signed: active, rotated, retired, lost, compromised, suspect.

        rotated, retired and lost are acceptable heads: up to the one at which the key ended.
        suspect is one beyond it, or of another epoch, which nobody can place.
        """
        period = self.period(key.thumbprint())
        if period.reason == "compromised":
            return "compromised"
        if not period.ended:
            return "active"
        end = period.end
        # A key that ended before its first head signed nothing that is acceptable.
        if end is None or end[0] != head.epoch or head.size > end[1]:
            return "suspect"
        if head.size == end[1] and head.root != end[2]:
            return "suspect"
        return period.reason or "rotated"

    def begin(self, change: "Rotation") -> None:
        """A rotation that was verified: the current key ends at its head, where its key begins."""
        self.keys[-1].ended = True
        self.keys[-1].end = change.head
        since_s = change.time_ms // 1000
        self.keys.append(
            KeyPeriod(change.key, change.custody, change.evidence, since_s, change.head)
        )

    def end(self, thumbprint: bytes, head: "list[Any] | None", reason: str, digest: bytes) -> None:
        """A revocation; a later one may only say something worse: that the key is compromised."""
        period = self.period(thumbprint)
        if period.reason != "compromised":
            period.ended = True
            period.end = head
            period.reason = reason
            period.ended_by = digest

    def changed(self, digest: bytes) -> None:
        """The statement with this digest has been applied."""
        self.digests.append(digest)
        self._current[digest] = self.key


def verifying(
    credential: Credential, roots: dict[str, PublicKey], at_s: int | None
) -> "Generator[None, None, Identity]":
    """As verify_credential, as a generator."""
    received = enrolment.parse(credential.statements[0])
    root = roots.get(received.iss)
    if root is None:
        raise Unverified("not-enrolled", "the enrolment is not by a fleet root that is accepted")
    if at_s is not None:
        received.check_time(at_s)
    verified = yield from received.verifying(root)
    identity = Identity(verified)
    if len(credential.statements) > 1:
        from tallystick.evidence import keychange  # noqa: PLC0415  # costs heap, and is rare

        for data in credential.statements[1:]:
            yield from keychange.applying(identity, data, root)
    return identity


def verify_credential(
    credential: Credential, roots: dict[str, PublicKey], at_s: int | None = None
) -> Identity:
    """Against pinned roots by name; with `at_s` None the validity's time is not checked."""
    return finish(verifying(credential, roots, at_s))  # type: ignore[no-any-return]  # generator's result


def verifier(credential: Credential, roots: dict[str, PublicKey], at_s: int | None = None) -> Steps:
    """As verify_credential, in bounded steps; the result is an Identity."""
    return Steps(verifying(credential, roots, at_s))


class Keyring:
    """Pinned roots, and the identities that were verified against them, the newest ones."""

    def __init__(
        self,
        roots: dict[str, PublicKey],
        at_s: int | None = None,
        identities_max: int = IDENTITIES_MAX,
    ) -> None:
        self.roots = roots
        self.at_s = at_s
        self.identities_max = identities_max
        # How many had to go for newer ones: what they vouched for must be shown again.
        self.forgotten = 0
        self._identities: list[Identity] = []
        self._by_digest: dict[bytes, Identity] = {}

    def add(self, identity: Identity) -> None:
        """Keep a verified identity; the one not asked for longest goes when there are too many."""
        if len(self._identities) >= self.identities_max:
            oldest = self._identities.pop(0)
            self.forgotten += 1
            for digest in oldest.digests:
                if self._by_digest.get(digest) is oldest:
                    del self._by_digest[digest]
        self._identities.append(identity)
        for digest in identity.digests:
            self._by_digest[digest] = identity

    def find(self, digest: bytes) -> Identity:
        """The identity with a statement of this digest; CouldNotCheck when it is not known."""
        identity = self._by_digest.get(digest)
        if identity is None:
            raise CouldNotCheck(
                "unknown-device",
                "the credential with this digest is not known (%d were forgotten)" % self.forgotten,
            )
        if self._identities[-1] is not identity and identity in self._identities:
            # The newest last: who is asked for often is not forgotten for strangers.
            self._identities.remove(identity)
            self._identities.append(identity)
        if self.at_s is not None:
            identity.enrolment.check_time(self.at_s)
        return identity

    def verifying(self, credential: Credential) -> "Generator[None, None, Identity]":
        """The identity of a credential, verified now or known from before."""
        # By content: what was verified once is not verified again, whatever its signature bytes.
        digests = digests_of(credential)
        known = self._by_digest.get(digests[-1])
        if known is not None and known.digests[: len(digests)] == digests:
            return self.find(digests[-1])
        identity = yield from verifying(credential, self.roots, self.at_s)
        self.add(identity)
        return identity

    def verify(self, credential: Credential) -> Identity:
        """As verify_credential, and kept; blocks."""
        return finish(self.verifying(credential))  # type: ignore[no-any-return]  # generator's result


def digests_of(credential: Credential) -> list[bytes]:
    """The digests of its statements; nothing is verified.  A half may name it by the last one."""
    digests = [enrolment.parse(credential.statements[0]).digest]
    if len(credential.statements) > 1:
        from tallystick.evidence import keychange  # noqa: PLC0415  # costs heap, and is rare

        digests += [keychange.parse(data).digest for data in credential.statements[1:]]
    return digests
