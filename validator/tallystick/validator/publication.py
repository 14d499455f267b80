"""Key changes that somebody hands in: credentials without records (docs/protocol.md, 8.1)."""

import ipaddress
import time

from tallystick.evidence import _shape as shape
from tallystick.evidence import cbor, credential, enrolment
from tallystick.evidence.credential import Credential
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import b64u, device_text
from tallystick.validator.answers import Published, PublishedCredential
from tallystick.validator.identities import Identities
from tallystick.validator.limits import (
    PUBLICATION_BYTES_MAX,
    PUBLICATION_CREDENTIALS_MAX,
    PUBLICATION_SENDERS_MAX,
    PUBLICATIONS_BURST,
    PUBLICATIONS_PER_S,
    PUBLICATIONS_PER_SENDER_BURST,
    PUBLICATIONS_PER_SENDER_PER_S,
)
from tallystick.validator.problem import Problem
from tallystick.validator.work import Work

# Arrays around byte strings: a credential, its statements, and the array of all.
_CBOR_ITEMS_MAX = PUBLICATION_CREDENTIALS_MAX * 17 + 1


def parse(data: bytes) -> list[Credential]:
    """The credentials of a publication; nothing is verified yet."""
    what = "publication"
    shape.blob(data, PUBLICATION_BYTES_MAX, what)
    shape.bounded(data, _CBOR_ITEMS_MAX, what)
    rows = shape.array(cbor.decode(data), what, 1, PUBLICATION_CREDENTIALS_MAX)
    return [Credential(row) for row in rows]


def encode(credentials: list[list[bytes]]) -> bytes:
    """The bytes to send."""
    return cbor.encode([list(statements) for statements in credentials])


class Bucket:
    """So many a second, and some at once."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = self.left = burst
        self._at_s = time.monotonic()

    def fill(self) -> bool:
        """Whether there is one left."""
        now_s = time.monotonic()
        self.left = min(self._burst, self.left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return self.left >= 1


class Pace:
    """Buckets of publications, one of each sender and one of all.

    Whoever floods this door must not hold up batches, nor keep out who revokes a key.
    """

    def __init__(self) -> None:
        self._all = Bucket(PUBLICATIONS_PER_S, PUBLICATIONS_BURST)
        self._senders: dict[str, Bucket] = {}

    def take(self, address: str) -> None:
        """One publication from this address; Problem("over-quota") when there are too many."""
        sender = network_of(address)
        own = self._senders.pop(sender, None)
        if own is None:
            own = Bucket(PUBLICATIONS_PER_SENDER_PER_S, PUBLICATIONS_PER_SENDER_BURST)
            if len(self._senders) >= PUBLICATION_SENDERS_MAX:
                del self._senders[next(iter(self._senders))]
        self._senders[sender] = own
        if not own.fill() or not self._all.fill():
            raise Problem("over-quota", "too many publications; send again later")
        own.left -= 1
        self._all.left -= 1


def network_of(address: str) -> str:
    """Who counts as one sender: whoever has one IPv6 address has a whole network of them."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((found.packed, 64), strict=False))


def learn(work: Work, identities: Identities, received: list[Credential]) -> Published:
    """Log what is new of each; a bad one is counted and affects no other."""
    return Published([_learn(work, identities, one) for one in received])


def _learn(work: Work, identities: Identities, received: Credential) -> PublishedCredential:
    id_ = ""
    try:
        first = enrolment.parse(received.statements[0])
        id_ = device_text(first.device)
        # Whose root is not accepted is refused before any signature is checked.
        identities.learn(work, received.statements)
    except (Malformed, Unverified) as error:
        work.refuse(error.reason)
        return PublishedCredential(id_, None, None, error.reason)
    digest = credential.digests_of(received)[-1]
    return PublishedCredential(id_, b64u(digest), _entry(work, digest), None)


def _entry(work: Work, digest: bytes) -> int:
    entry = work.entry_of(digest)
    if entry is None:
        raise TallyError("internal-error", "a statement that was learnt is not logged")
    return entry
