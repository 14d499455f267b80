"""Enrolments, credentials and the halves that bring them."""

from typing import Any

from support import examples as ex
from support.scenarios import (
    Scenario,
    Scenarios,
    craft,
    flip,
    headers_of,
    hexes,
    key_hex,
    payload_of,
)
from tallystick.evidence import cbor, enrolment, keychange, root
from tallystick.evidence.keys import device_text

ROOT_LINES = [root.format_root(iss, key) for iss, key in sorted(ex.ROOTS.items())]
GIVER_KEY = key_hex(ex.GIVER.public_key())


def enrolments() -> Scenarios:
    good = ex.enrol(ex.GIVER)
    acme = key_hex(ex.ACME_ROOT.public_key())
    values = cbor.decode(payload_of(good.encode()))

    def of(at: int, item: Any, sub: bytes = ex.GIVER.id) -> bytes:
        payload = cbor.encode([*values[:at], item, *values[at + 1 :]])
        made = enrolment.parse(good.encode())
        headers = headers_of(made.encode())
        headers[15][2] = device_text(sub)
        return craft(ex.ACME_ROOT, headers, payload)

    weak = {1: 1, -1: 6, -2: bytes([1] + [0] * 31)}
    globex = ex.enrol(ex.RECEIVER, 0, ex.GLOBEX, ex.GLOBEX_ROOT).encode()
    for name, expect, about, data, by in (
        ("eddsa", "ok", "A root vouches for a device's key.", good.encode(), acme),
        (
            "es256",
            "ok",
            "The same with P-256 throughout.",
            globex,
            key_hex(ex.GLOBEX_ROOT.public_key()),
        ),
        (
            "no-possession",
            "no-possession",
            "The key's holder did not sign.",
            of(10, bytes(64)),
            acme,
        ),
        (
            "possession-of-other-fleet",
            "no-possession",
            "Signed for another fleet.",
            of(10, enrolment.request(ex.GIVER, ex.GLOBEX)[1]),
            acme,
        ),
        ("weak-key", "weak-key", "The identity point.", of(3, weak), acme),
        (
            "id-of-other-key",
            "wrong-key",
            "id is no thumbprint of the key.",
            of(2, ex.RECEIVER.id, ex.RECEIVER.id),
            acme,
        ),
        (
            "other-subject",
            "wrong-device",
            "sub is not the enrolled id.",
            of(1, 0, ex.RECEIVER.id),
            acme,
        ),
        ("validity-backwards", "bad-value", "It ends before it begins.", of(9, [2, 1]), acme),
        ("unknown-custody", "bad-value", "Custody 4.", of(4, 4), acme),
        (
            "other-root",
            "wrong-key",
            "Signed by another root.",
            good.encode(),
            key_hex(ex.GATEWAY.public_key()),
        ),
        (
            "root-of-other-alg",
            "wrong-alg",
            "The root has a P-256 key.",
            good.encode(),
            key_hex(ex.GLOBEX_ROOT.public_key()),
        ),
    ):
        given = {"data": data.hex(), "root": by}
        yield Scenario("signed-enrolment", name, "5.1", about, given, expect)


def credentials() -> Scenarios:
    good = ex.enrol(ex.GIVER).encode()
    unsigned = keychange.Revocation(ex.GIVER.id, ex.GIVER.id, None, 2, ex.TIME_MS)
    by_globex = unsigned.sign(ex.GLOBEX_ROOT, ex.GLOBEX, ex.GIVER.id)
    compromised = unsigned.sign(ex.ACME_ROOT, ex.ACME, ex.GIVER.id)
    rotation = ex.rotation()
    broken = flip(payload_of(rotation), -1)
    forged = craft(ex.ACME_ROOT, headers_of(rotation), broken)
    revocation = ex.revocation()
    revoked = keychange.parse(revocation).digest
    # After the rotation, and so that it cannot stand without it.
    later = ex.revocation(keychange.parse(rotation).digest)
    twice = ex.revocation(revoked)
    replaced = [ex.enrol(ex.GIVER2).encode(), ex.replacement()]
    after = ex.TIME_S + 400 * 86_400
    for name, expect, about, statements, at_s in (
        ("enrolment", "ok", "An enrolment alone.", [good], ex.TIME_S),
        ("rotated", "ok", "The id stays, the key changes.", [good, rotation], ex.TIME_S),
        ("replaced", "ok", "A new id stands in for a dead one.", replaced, ex.TIME_S),
        (
            "lost",
            "ok",
            "A revocation that names the last trusted head.",
            [good, revocation],
            None,
        ),
        ("compromised", "ok", "A revocation that names none.", [good, compromised], ex.TIME_S),
        ("expired", "expired", "Looked at a year too late.", [good], after),
        ("too-early", "expired", "Looked at before it begins.", [good], ex.TIME_S - 2000),
        ("change-by-other-fleet", "not-enrolled", "Another root revokes.", [good, by_globex], None),
        (
            "rotation-without-old-key",
            "bad-signature",
            "The old key did not sign.",
            [good, forged],
            None,
        ),
        (
            "rotation-after-revocation",
            "revoked",
            "A revoked key cannot rotate.",
            [good, revocation, ex.rotation(revoked)],
            None,
        ),
        (
            "rotation-twice",
            "already-enrolled",
            "The new key was enrolled before.",
            [good, rotation, rotation],
            None,
        ),
        (
            "revoked-after-rotation",
            "ok",
            "The old key was lost after it had been rotated.",
            [good, rotation, later],
            None,
        ),
        (
            "change-left-out",
            "already-enrolled",
            "The revocation follows a rotation that is not there.",
            [good, later],
            None,
        ),
        (
            "changes-in-another-order",
            "already-enrolled",
            "The second revocation stands before the first.",
            [good, twice, revocation],
            None,
        ),
        (
            "change-brought-back",
            "already-enrolled",
            "The first revocation stands after the second once more.",
            [good, revocation, twice, revocation],
            None,
        ),
        (
            "change-of-other-id",
            "wrong-device",
            "A replacement of another id.",
            [good, ex.replacement()],
            None,
        ),
        ("no-enrolment", "unknown-kind", "Begins with a key change.", [rotation], None),
        ("empty", "bad-value", "No statement at all.", [], None),
        ("too-long", "too-large", "17 statements.", [good] * 17, None),
    ):
        given = {"statements": hexes(statements), "roots": ROOT_LINES, "at_s": at_s}
        yield Scenario("whole-credential", name, "5.2", about, given, expect)
    given = {"statements": hexes([good]), "roots": ROOT_LINES[1:], "at_s": None}
    about = "The fleet's root is not pinned."
    yield Scenario("whole-credential", "unknown-root", "5.1", about, given, "not-enrolled")


def halves() -> Scenarios:
    log = ex.giver_log()
    enrolled = ex.enrol(ex.GIVER)
    good = ex.half_of(log, [enrolled.encode()]).encode()
    short = ex.half_of(log, enrolled.digest).encode()
    values = cbor.decode(good)

    def of(at: int, item: Any) -> bytes:
        return cbor.encode([*values[:at], item, *values[at + 1 :]])

    receiver_head = ex.receiver_log().checkpoints[0]
    gateway = [ex.enrol(ex.GATEWAY, 1).encode()]
    for name, expect, about, data, known in (
        ("with-enrolment", "ok", "A half that brings its enrolment.", good, []),
        (
            "with-digest",
            "ok",
            "A half for one that knows the enrolment.",
            short,
            [enrolled.encode()],
        ),
        ("unknown-digest", "unknown-device", "The enrolment is not known.", short, []),
        (
            "changed-record",
            "bad-inclusion-proof",
            "One bit of the interval.",
            of(1, flip(values[1], -2)),
            [],
        ),
        ("other-salt", "bad-inclusion-proof", "Another salt.", of(2, bytes(16)), []),
        ("other-index", "bad-inclusion-proof", "The leaf stands elsewhere.", of(3, 1), []),
        ("beyond-the-head", "bad-half", "The checkpoint does not cover it.", of(3, 3), []),
        ("no-claim", "bad-half", "A decision is no half.", of(1, log.records[1]), []),
        (
            "other-checkpoint",
            "not-a-party",
            "The other device's checkpoint.",
            of(5, receiver_head),
            [],
        ),
        ("enrolment-of-gateway", "not-enrolled", "A gateway makes no claims.", of(6, gateway), []),
        ("long-salt", "bad-value", "A salt of 17 bytes.", of(2, bytes(17)), []),
        ("too-large", "too-large", "More than a half can be.", of(6, [bytes(4000)]), []),
    ):
        given = {"data": data.hex(), "roots": ROOT_LINES, "at_s": ex.TIME_S, "known": hexes(known)}
        yield Scenario("whole-half", name, "4.2", about, given, expect)


def all_scenarios() -> Scenarios:
    for part in (
        enrolments,
        credentials,
        halves,
    ):
        yield from part()
