"""Fourth phase: who made the half, by its enrolment (see halfclaim.py)."""

# For a credential of one enrolment, without key changes; credential.py has the rest.

from tallystick.evidence.cbor import encode, head
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey, from_cose_key

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence._reading import Parts

    # Digest, id, fleet, algorithm and key, begin and end of the validity: plain values, since an
    # object would keep its class, and so its module, in the heap.
    Maker = tuple[bytes, bytes, str, int, bytes, int, int]


def verifying(
    read: "Parts", root: "PublicKey | None", at_s: int | None, wrap: "Any"
) -> "Generator[None, None, Maker]":
    """The maker, when `root` enrolled it as a device; `wrap` may give keys another verifier."""
    iss, device, _, _, message, _, values = read
    subject, id, _ = values[:3]  # noqa: A001  # the name on the wire
    key = from_cose_key(values[2])
    begin, end = values[8]
    possession = values[9]
    if root is None:
        raise Unverified("not-enrolled", "the enrolment is not by a fleet root that is accepted")
    if at_s is not None:
        check_time(begin, end, at_s)
    if id != key.thumbprint():
        raise Unverified("wrong-key", "the enrolment's id is not the thumbprint of its key")
    if device != id:
        raise Unverified("wrong-device", "the enrolment's subject is not the id it enrols")
    yield from _signed_by(wrap(root), read)
    # What a key signs to show that its holder has it (enrolment.possession_message).
    protected = encode({1: key.alg})
    payload = encode(["possession", id, iss])
    try:
        work = wrap(key).verifier(
            possession,
            b"\x84\x6aSignature1"
            + head(2, len(protected))
            + protected
            + b"\x40"
            + head(2, len(payload))
            + payload,
        )
        while not work.step():
            yield
    except Unverified:
        raise Unverified("no-possession", "the proof of possession is not by the enrolled key")
    if subject != 0:
        raise Unverified("not-enrolled", "a half of something that is not enrolled as a device")
    return sha256(message), id, iss, key.alg, key.raw, begin, end


def check_time(begin: int, end: int, at_s: int) -> None:
    """Unverified("expired") outside the validity."""
    if not begin <= at_s <= end:
        raise Unverified("expired", "the enrolment is not valid at this time")


def made(head: "Parts", maker: "Maker", wrap: "Any") -> "Generator[None, None, None]":
    """Unverified unless this maker's key signed the checkpoint, in its fleet's name."""
    _, id, iss, alg, raw, _, _ = maker  # noqa: A001  # as above
    if head[1] != id:
        raise Unverified("wrong-device", "a statement about another id than its signer's")
    if head[0] != iss:
        raise Unverified("wrong-key", "a statement that names another fleet than its signer's")
    key = wrap(PublicKey(alg, raw))
    if head[3] != key.kid():
        raise Unverified("wrong-key", "a statement by no key of this identity")
    yield from _signed_by(key, head)


def _signed_by(key: PublicKey, read: "Parts") -> "Generator[None, None, None]":
    _, _, alg, kid, message, signature, _ = read
    if alg != key.alg:
        raise Unverified("wrong-alg", "the algorithm is not that of the key")
    if kid != key.kid():
        raise Unverified("wrong-key", "the statement names another key")
    work = key.verifier(signature, message)
    while not work.step():
        yield
