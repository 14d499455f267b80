# CPython only
"""Signatures that were found good before, so that this thread need not verify them again.

A fact is a digest of key, signature and message. It says one thing, that this key signed these
bytes, which is true for ever and whoever else looks; whether the key is anybody's, and what the
bytes mean, is looked at as always. Only what was found good is a fact: a bad signature is verified,
and refused, where it counts.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tallystick.evidence.digest import sha256

FACT_SIZE = 32
_TAG = b"tallystick: this key signed this\x00"
_facts: "ContextVar[Collection[bytes]]" = ContextVar("facts", default=())


def fact(alg: int, raw: bytes, signature: bytes, message: bytes) -> bytes:
    """That the key signed the message, in 32 bytes; every part is of one length, or hashed."""
    # 32 or 64 bytes of key, by its algorithm; 64 of signature, which keys.py has looked at.
    return sha256(b"".join((_TAG, (-alg).to_bytes(2, "big"), raw, signature, sha256(message))))


@contextmanager
def vouched(facts: Collection[bytes]) -> Iterator[None]:
    """Inside, in this thread, what is in `facts` counts as verified."""
    before = _facts.set(facts)
    try:
        yield
    finally:
        _facts.reset(before)


def is_known(alg: int, raw: bytes, signature: bytes, message: bytes) -> bool:
    """Whether it was found good before."""
    facts = _facts.get()
    return bool(facts) and fact(alg, raw, signature, message) in facts
