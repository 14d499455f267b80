"""A half checked in phases, as a device does it, comes out as when it is checked at once."""

from collections.abc import Callable
from typing import Any

import pytest

from support import examples as ex
from support.mutants import flips
from tallystick.evidence import half, halfclaim, halfenrolment, halfhead, halfmaker, statement
from tallystick.evidence._reading import Read
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Keyring
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import Enrolment, possession_message
from tallystick.evidence.errors import TallyError
from tallystick.evidence.half import Half
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import CHECKPOINT, ENROLMENT
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, STATEMENT_BYTES_MAX
from tallystick.evidence.steps import finish

GOOD = ex.half_of(ex.giver_log(), [ex.enrol(ex.GIVER).encode()])
ROOTS = {"acme": ex.ACME_ROOT.public_key()}
AT_S = ex.enrol(ex.GIVER).validity[0] + 1


def at_once(data: bytes, roots: dict[str, PublicKey], at_s: int | None) -> bytes:
    """The maker's id."""
    return half.verify_half(half.parse(data), Keyring(roots, at_s)).device


def in_phases(data: bytes, roots: dict[str, PublicKey], at_s: int | None) -> bytes:
    """The same by the phases, as recorder/accepting.py goes through them."""
    got = half.parse(data)
    makers, everyone = halfclaim.claimed(got.record)
    assert set(makers) <= set(everyone)
    head, _ = halfhead.read_head(got.checkpoint, makers, got.record, got.salt, got.index, got.path)
    read = halfenrolment.read_enrolment(got.credential[0])  # type: ignore[arg-type]  # a list here
    maker = finish(halfmaker.verifying(read, roots.get(read[0]), at_s, lambda key: key))
    finish(halfmaker.made(head, maker, lambda key: key))
    assert maker[1] == head[1]
    return head[1]


def answer(check: Callable[..., bytes], *arguments: Any) -> bytes | str:
    try:
        return check(*arguments)
    except TallyError as error:
        return error.reason


def same(data: bytes, roots: dict[str, PublicKey] = ROOTS, at_s: int | None = AT_S) -> bytes | str:
    one, other = answer(at_once, data, roots, at_s), answer(in_phases, data, roots, at_s)
    # The phases look at an enrolment's key after its other fields.
    assert one == other or {one, other} <= {"bad-key", "bad-value", "bad-type"}
    return one


def test_the_good_one() -> None:
    assert same(GOOD.encode()) == ex.GIVER.id
    assert same(GOOD.encode(), at_s=None) == ex.GIVER.id


def test_every_flip() -> None:
    accepted = [flipped for flipped in flips(GOOD.encode()) if same(flipped) == ex.GIVER.id]
    assert accepted == []


def test_roots_and_times() -> None:
    data = GOOD.encode()
    assert same(data, {}) == "not-enrolled"
    assert same(data, {"acme": ex.GIVER.public_key()}) == "wrong-key"
    begin, end = ex.enrol(ex.GIVER).validity
    assert same(data, at_s=begin - 1) == same(data, at_s=end + 1) == "expired"
    assert same(data, at_s=begin) == same(data, at_s=end) == ex.GIVER.id


def with_parts(**changed: Any) -> bytes:
    fields = {
        name: getattr(GOOD, name)
        for name in ("record", "salt", "index", "path", "checkpoint", "credential")
    }
    return Half(**{**fields, **changed}).encode()


def enrolment(**changed: Any) -> list[bytes]:
    good = ex.enrol(ex.GIVER)
    names = ("subject", "id", "key", "custody", "evidence", "details", "releases", "interval_s")
    fields = {name: getattr(good, name) for name in (*names, "validity", "possession")}
    iss = changed.pop("iss", "acme")
    sub = changed.pop("sub", ex.GIVER.id)
    signer = changed.pop("signer", ex.ACME_ROOT)
    return [Enrolment(**{**fields, **changed}).sign(signer, iss, sub)]


OTHER = ex.RECEIVER
CASES = {
    "subject": lambda: with_parts(credential=enrolment(subject=1)),
    "another subject": lambda: with_parts(credential=enrolment(sub=b"x" * 32)),
    "another key": lambda: with_parts(credential=enrolment(key=OTHER.public_key())),
    "another id": lambda: with_parts(credential=enrolment(id=b"x" * 32, sub=b"x" * 32)),
    "another root": lambda: with_parts(credential=enrolment(signer=OTHER)),
    "another fleet": lambda: with_parts(credential=enrolment(iss="zeta")),
    "no possession": lambda: with_parts(credential=enrolment(possession=bytes(64))),
    "possession elsewhere": lambda: with_parts(
        credential=enrolment(possession=ex.GIVER.sign(possession_message(-8, ex.GIVER.id, "zeta")))
    ),
    "another's enrolment": lambda: with_parts(credential=[ex.enrol(OTHER).encode()]),
    "salt": lambda: with_parts(salt=bytes(16)),
    "path": lambda: with_parts(path=[]),
    "index": lambda: with_parts(index=GOOD.index - 1),
    "beyond": lambda: with_parts(index=1 << 40),
    "no claim": lambda: with_parts(record=b"\x84\x02\x01dboot\xa0"),
    "no record": lambda: with_parts(record=b"\x00"),
    "another's checkpoint": lambda: with_parts(
        checkpoint=head().sign(OTHER, "acme", ex.RECEIVER.id)
    ),
    "another's signature": lambda: with_parts(checkpoint=head().sign(OTHER, "acme", ex.GIVER.id)),
    "another fleet's checkpoint": lambda: with_parts(
        checkpoint=head().sign(ex.GIVER, "zeta", ex.GIVER.id)
    ),
}


def head() -> Checkpoint:
    log = ex.giver_log()
    values = statement.parse(log.checkpoints[0], CHECKPOINT).values
    return Checkpoint(*values)


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_hold_together(name: str) -> None:
    assert isinstance(same(CASES[name]()), str)


@pytest.mark.parametrize(
    ("data", "kind", "bytes_max"),
    [
        (GOOD.checkpoint, CHECKPOINT, CHECKPOINT_BYTES_MAX),
        (GOOD.credential[0], ENROLMENT, STATEMENT_BYTES_MAX),
    ],
    ids=["checkpoint", "enrolment"],
)
def test_statements_are_read_alike(data: bytes, kind: int, bytes_max: int) -> None:
    protected, _, payload, signature = decode(data[1:])
    crafted = [data, b"", data[1:], data + b"\x00", b"\xd2" + encode([1]), bytes(bytes_max + 1)]
    parts: list[list[Any]] = [
        [protected, {394: [b"receipt"]}, payload, signature],
        [protected, {394: []}, payload, signature],
        [protected, {394: [1]}, payload, signature],
        [protected, {396: {}}, payload, signature],
        [protected, {1: -8}, payload, signature],
        [protected, {}, None, signature],
        [protected, {}, payload, signature[:63]],
        [protected, {}, encode([]), signature],
        [protected, {}, encode(["x"]), signature],
        [protected, {}, encode([63]), signature],
        [protected, {}, encode({1: 1}), signature],
        [payload, {}, payload, signature],
        [None, {}, payload, signature],
    ]
    crafted += [b"\xd2" + encode(one) for one in parts]
    headers = decode(protected)
    for changed in (
        {1: -9},
        {1: -19},
        {1: 5},
        {1: "EdDSA"},
        {4: b"short"},
        {4: None},
        {15: {1: "acme"}},
        {15: {1: "ACME", 2: headers[15][2]}},
        {15: {1: "", 2: headers[15][2]}},
        {15: {1: "a" * 21, 2: headers[15][2]}},
        {15: {1: "acme", 2: "no id"}},
        {15: {1: "acme", 2: 7}},
        {15: {1: "acme", 2: headers[15][2], 6: 1}},
        {16: "application/x"},
        {2: [1]},
    ):
        other = encode({**headers, **changed})
        crafted.append(b"\xd2" + encode([other, {}, payload, signature]))
    for one in (*crafted, *flips(data)):
        assert answer(by_objects, one, kind, bytes_max) == answer(by_values, one, kind, bytes_max)


def by_objects(data: bytes, kind: int, bytes_max: int) -> bytes:
    got = statement.parse(data, kind, bytes_max)
    device = statement.subject_device(got)
    return encode([got.iss, device, got.alg, got.kid, got.digest, got.sign1.signature, got.payload])


def by_values(data: bytes, kind: int, bytes_max: int) -> bytes:
    got = Read(data, kind, bytes_max)
    payload = encode([kind, *got.values])
    return encode(
        [got.iss, got.device, got.alg, got.kid, sha256(got.message), got.signature, payload]
    )
