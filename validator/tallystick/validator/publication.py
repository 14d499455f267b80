"""Key changes that somebody hands in: credentials without records (docs/protocol.md, 8.1)."""

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
    PUBLICATIONS_BURST,
    PUBLICATIONS_PER_S,
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


class Pace:
    """A bucket of publications: whoever floods this door must not hold up batches."""

    def __init__(self) -> None:
        self._left = PUBLICATIONS_BURST
        self._at_s = time.monotonic()

    def take(self) -> None:
        """One publication; Problem("over-quota") when there are too many."""
        now_s = time.monotonic()
        self._left += (now_s - self._at_s) * PUBLICATIONS_PER_S
        self._left = min(PUBLICATIONS_BURST, self._left)
        self._at_s = now_s
        if self._left < 1:
            raise Problem("over-quota", "too many publications; send again later")
        self._left -= 1


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
