"""Verification ahead of the one writer: what of a batch can be found out without its state.

The stateless half. It needs a batch and keys, and trusts neither: it says which signatures are good
and by which keys (evidence/vouched.py). Whether such a key is anybody's, and all that depends on
order and history, is for the writer, by the same functions as ever; what it does not find among the
facts it verifies itself. So a key that changed meanwhile, or a fact that is missing, costs time and
nothing else, and a bad signature is always refused by the writer.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version

from tallystick.evidence import (
    accepted,
    batch,
    checkpoint,
    cose,
    custody,
    enrolment,
    gatewayhead,
    half,
    keychange,
    segment,
)
from tallystick.evidence.batch import Batch
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import ACCEPTED_HALF
from tallystick.evidence.statement import Statement
from tallystick.evidence.vouched import FACT_SIZE, fact
from tallystick.validator import body, schema
from tallystick.validator.limits import AHEAD_FACTS_MAX, KEYS_PER_HINT_MAX

# What the store knows of keys: by hint, whoever's they are.
Keys = Callable[[Iterable[bytes]], Iterable[PublicKey]]
_ACCEPTED = bytes([ACCEPTED_HALF])
# In the middle of an upgrade: what a worker of before still calls good is looked at once more.
PROGRAM = sha256(f"tallystick {version('tallystick')}, store {schema.VERSION}".encode())


def prepare(compressed: bytes, keys: Keys) -> list[bytes]:
    """The facts of a batch as it came; TallyError where the batch as a whole is no good."""
    received = batch.parse(body.decompress(compressed))
    brought: list[PublicKey] = []
    # Each once: halves mostly share a checkpoint.
    each = {one.encode(): one for one in _statements(received, brought)}
    found = list(each.values())[:AHEAD_FACTS_MAX]
    by_hint: dict[bytes, dict[bytes, PublicKey]] = {}
    for key in [*keys({one.kid for one in found}), *brought]:
        known = by_hint.setdefault(key.kid(), {})
        if len(known) < KEYS_PER_HINT_MAX:
            known.setdefault(key.raw, key)
    facts = (_of(one, by_hint.get(one.kid, {}).values()) for one in found)
    return [one for one in facts if one is not None]


def _of(one: Statement, keys: Iterable[PublicKey]) -> bytes | None:
    for key in keys:
        try:
            one.verify(key)
        except Unverified:
            continue
        message = cose.to_be_signed(one.sign1.protected, one.payload)
        return fact(key.alg, key.raw, one.sign1.signature, message)
    return None


def _statements(received: Batch, brought: list[PublicKey]) -> Iterator[Statement]:
    """All that is signed in it and can be read; keys that its credentials name go to `brought`."""
    yield received.received()
    yield from _read(gatewayhead.parse, received.head)
    for statements in received.credentials:
        _keys_in(statements, brought)
    for data in received.receipts:
        yield from _read(custody.parse, data)
    for item in received.items:
        if isinstance(item, bytes):
            yield from _of_segment(item, brought)


def _read(parse: "Callable[[bytes], object]", data: bytes) -> Iterator[Statement]:
    try:
        read = parse(data)
    except TallyError:
        return
    yield read.received()  # type: ignore[attr-defined]  # every one of them is Signed


def _of_segment(data: bytes, brought: list[PublicKey]) -> Iterator[Statement]:
    try:
        found = segment.parse(data)
    except Malformed:
        return
    if found.edge is not None:
        yield from _read(checkpoint.parse, found.edge.checkpoint)
    for stretch in found.stretches:
        yield from _read(checkpoint.parse, stretch.checkpoint)
        for item in stretch.items:
            if isinstance(item, bytes) and item[1:2] == _ACCEPTED:
                yield from _of_half(item, brought)


def _of_half(record: bytes, brought: list[PublicKey]) -> Iterator[Statement]:
    try:
        made = half.parse(accepted.parse(record).half)
    except Malformed:
        return
    if isinstance(made.credential, list):
        _keys_in(made.credential, brought)
    yield from _read(checkpoint.parse, made.checkpoint)


def _keys_in(statements: list[bytes], brought: list[PublicKey]) -> None:
    try:
        brought.append(enrolment.parse(statements[0]).key)
        for data in statements[1:]:
            change = keychange.parse(data)
            if isinstance(change, keychange.Rotation):
                brought.append(change.key)
    except TallyError:
        return


def keys_of(statements: list[bytes]) -> list[PublicKey]:
    """Every key that a credential names, verified or not."""
    found: list[PublicKey] = []
    _keys_in(statements, found)
    return found


def pack(facts: Iterable[bytes]) -> bytes:
    """As they are handed over, behind the name of the program that found them."""
    return b"".join((PROGRAM, *facts))


def unpack(data: bytes) -> frozenset[bytes]:
    """The facts that were handed over; Malformed where they are none, or another program's."""
    begin = len(PROGRAM)
    if data[:begin] != PROGRAM:
        raise Malformed("bad-value", "facts: another program than this one found them")
    if (len(data) - begin) % FACT_SIZE or len(data) - begin > FACT_SIZE * AHEAD_FACTS_MAX:
        raise Malformed("bad-value", "facts: each is 32 bytes, and there are not so many")
    return frozenset(data[at : at + FACT_SIZE] for at in range(begin, len(data), FACT_SIZE))
