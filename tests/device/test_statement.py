"""Signed statements (docs/protocol.md, section 1.4)."""

from _made import ISS, Key, refused, steps_of
from tallystick.evidence import cbor, cose, statement
from tallystick.evidence.steps import Steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PAYLOAD = cbor.encode([4, 1])


def signed(key: Key, claims: "Any", kid: "bytes | None", extra: "Any" = None) -> bytes:
    protected = cose.protected_header(-8, kid, claims, extra)
    return cose.encode(protected, PAYLOAD, key.sign(cose.to_be_signed(protected, PAYLOAD)))


def test_signed_at_once_and_in_steps() -> None:
    key = Key("device")
    text = "A" * 43
    data = statement.sign(key, ISS, text, PAYLOAD)
    unsigned = statement.prepare(key.public_key(), ISS, text, PAYLOAD)
    assert unsigned.finish(key.sign(unsigned.to_be_signed)) == data
    got = statement.parse(data, 4)
    assert (got.iss, got.sub, got.alg, got.kid) == (ISS, text, -8, key.id[:8])
    assert got.device == bytes(32) and got.values == [1] and got.payload == PAYLOAD
    assert got.encode() == data and len(got.digest) == 32
    got.verify(key.public_key())
    steps_of(Steps(got.verifying(key.public_key())))


def test_another_key_is_refused() -> None:
    key, other = Key("device"), Key("other")
    got = statement.parse(statement.sign(key, ISS, "subject", PAYLOAD), 4)
    assert refused(got.verify, other.public_key()) == "wrong-key"
    assert refused(list, got.verifying(other.public_key())) == "wrong-key"
    # It names the key and is signed by another.
    claims = {1: ISS, 2: "subject"}
    forged = statement.parse(signed(other, claims, key.id[:8]), 4)
    assert refused(forged.verify, key.public_key()) == "bad-signature"


def test_the_digest_is_by_content() -> None:
    key = Key("device")
    data = statement.sign(key, ISS, "subject", PAYLOAD)
    other = data[:-64] + bytes(64)
    assert statement.parse(data, 4).digest == statement.parse(other, 4).digest
    more = cose.encode(*_parts(data), {394: [b"receipt"]})
    assert statement.parse(more, 4).digest == statement.parse(data, 4).digest


def _parts(data: bytes) -> "tuple[bytes, bytes | None, bytes]":
    sign1 = cose.parse(data, 1000)
    return sign1.protected, sign1.payload, sign1.signature


def test_headers_that_are_refused() -> None:
    key = Key("device")
    kid = key.id[:8]
    good = {1: ISS, 2: "subject"}
    statement.parse(signed(key, good, kid), 4)
    for data in (
        signed(key, good, None),
        signed(key, None, kid),
        signed(key, {1: ISS}, kid),
        signed(key, {2: "subject"}, kid),
        signed(key, {1: ISS, 2: "subject", 6: 1}, kid),
        signed(key, {1: "", 2: "subject"}, kid),
        signed(key, {1: "Acme", 2: "subject"}, kid),
        signed(key, {1: "a" * 21, 2: "subject"}, kid),
        signed(key, {1: ISS, 2: ""}, kid),
        signed(key, {1: ISS, 2: "s" * 65}, kid),
        signed(key, {1: ISS, 2: 5}, kid),
        signed(key, good, kid, {395: 1}),
    ):
        assert refused(statement.parse, data, 4) == "bad-header"
    protected, payload, signature = _parts(signed(key, good, kid))
    wrong: "list[dict[int, Any]]" = [{396: {}}, {394: []}, {394: [5]}, {394: [b"r"], 396: {}}]
    for unprotected in wrong:
        data = cose.encode(protected, payload, signature, unprotected)
        assert refused(statement.parse, data, 4) == "bad-header"
    detached = cose.encode(protected, None, signature)
    assert refused(statement.parse, detached, 4) == "bad-type"
    assert refused(statement.parse, "text", 4) == "bad-type"
    assert refused(statement.parse, signed(key, good, kid), 5) == "unknown-kind"
    assert refused(statement.parse, signed(key, good, kid), 4, 60) == "too-large"
