"""What devices sign and send: records, checkpoints, segments, halves, credentials, messages."""

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
from tallystick.evidence import cbor, checkpoint, enrolment, keychange, receipt, root, tree
from tallystick.evidence.digest import sha256
from tallystick.evidence.keys import device_text

ROOT_LINES = [root.format_root(iss, key) for iss, key in sorted(ex.ROOTS.items())]
GIVER_KEY = key_hex(ex.GIVER.public_key())


def records() -> Scenarios:
    decision = cbor.decode(ex.giver_log().records[1])
    claim = cbor.decode(ex.giver_log().records[2])

    def changed(values: list[Any], at: int, item: Any) -> str:
        return cbor.encode([*values[:at], item, *values[at + 1 :]]).hex()

    for name, expect, about, data in (
        ("decision", "ok", "A decision.", ex.giver_log().records[1].hex()),
        (
            "claim",
            "ok",
            "A claim; it gives its interaction id and party set.",
            cbor.encode(claim).hex(),
        ),
        (
            "random-interaction",
            "ok",
            "16 random bytes as the id.",
            changed(claim, 3, bytes(range(16))),
        ),
        ("event", "ok", "An epoch's first event.", ex.giver_log().records[0].hex()),
        ("accepted-half", "ok", "A half as it was accepted.", ex.accepted_half().encode().hex()),
        ("unknown-kind", "unknown-kind", "Kind 9 is no record.", changed(decision, 0, 9)),
        ("statement-kind", "unknown-kind", "A checkpoint's kind.", changed(claim, 0, 4)),
        ("missing-element", "unknown-kind", "A decision of six.", cbor.encode(decision[:-1]).hex()),
        ("negative-uptime", "bad-value", "uptime_ms below zero.", changed(decision, 1, -1)),
        ("text-uptime", "bad-type", "uptime_ms as text.", changed(decision, 1, "5")),
        ("short-interaction", "bad-value", "15 bytes as the id.", changed(claim, 3, bytes(15))),
        (
            "unknown-operator",
            "bad-value",
            "An operator that nobody knows.",
            changed(claim, 8, {"speed_m_s": ["~", 1, None, True]}),
        ),
        (
            "constraint-on-nothing",
            "bad-value",
            "A constraint on no field.",
            changed(claim, 8, {"heat": ["<", 1, None, True]}),
        ),
        ("no-parties", "bad-value", "An empty party map.", changed(claim, 9, {})),
        ("empty-role", "bad-value", "A role without devices.", changed(claim, 9, {"giver": []})),
        (
            "unsorted-parties",
            "non-canonical",
            "Ids out of order.",
            changed(claim, 9, {"giver": [b"\x02" * 32, b"\x01" * 32]}),
        ),
        (
            "party-twice",
            "duplicate-key",
            "An id twice in a role.",
            changed(claim, 9, {"giver": [b"\x02" * 32] * 2}),
        ),
        (
            "too-many-parties",
            "too-large",
            "33 devices.",
            changed(claim, 9, {"giver": [bytes([n]) * 32 for n in range(33)]}),
        ),
        (
            "interval-backwards",
            "bad-value",
            "It ends before it begins.",
            changed(claim, 10, [2, 1, 0]),
        ),
        ("long-name", "too-large", "A name of 65 bytes.", changed(claim, 2, "n" * 65)),
        (
            "huge-integer",
            "bad-number",
            "A field beyond signed 64 bits.",
            changed(claim, 7, {**claim[7], "n": 2**63}),
        ),
    ):
        yield Scenario("any-record", name, "2.1", about, {"data": data}, expect)


def checkpoints() -> Scenarios:
    good = ex.giver_log().checkpoints[0]
    p256 = ex.receiver_log().checkpoints[0]
    headers, payload = headers_of(good), payload_of(good)
    values = cbor.decode(payload)
    signer = ex.GIVER
    es_key = key_hex(ex.RECEIVER.public_key())

    def of(values_: list[Any]) -> bytes:
        return craft(signer, headers, cbor.encode(values_))

    without_kid = {label: item for label, item in headers.items() if label != 4}
    with_receipt = receipt.attach(good, [ex.inclusion_receipt(2, 8)])
    high_s = _high_s(p256)
    alg_outside = craft(signer, {k: v for k, v in headers.items() if k != 1}, payload, {1: -8})
    for name, expect, about, data, key in (
        ("eddsa", "ok", "A checkpoint by an Ed25519 key.", good, GIVER_KEY),
        ("es256", "ok", "A checkpoint by a P-256 key.", p256, es_key),
        (
            "alias-ed25519",
            "ok",
            "alg -19 of RFC 9864.",
            craft(signer, {**headers, 1: -19}, payload),
            GIVER_KEY,
        ),
        (
            "alias-esp256",
            "ok",
            "alg -9 of RFC 9864.",
            craft(ex.RECEIVER, {**headers_of(p256), 1: -9}, payload_of(p256)),
            es_key,
        ),
        (
            "with-receipt",
            "ok",
            "A receipt attached as 394 changes no digest.",
            with_receipt,
            GIVER_KEY,
        ),
        (
            "alg-of-other-key",
            "wrong-alg",
            "ES256 stated, Ed25519 key.",
            craft(signer, {**headers, 1: -7}, payload),
            GIVER_KEY,
        ),
        ("alg-unprotected", "bad-header", "alg where nobody signs it.", alg_outside, GIVER_KEY),
        (
            "alg-none",
            "bad-header",
            "An algorithm that is not ours.",
            craft(signer, {**headers, 1: -38}, payload),
            GIVER_KEY,
        ),
        (
            "crit",
            "bad-header",
            "No extension is defined.",
            craft(signer, {**headers, 2: [4]}, payload),
            GIVER_KEY,
        ),
        (
            "unknown-label",
            "bad-header",
            "A header label that is not ours.",
            craft(signer, {**headers, 99: 1}, payload),
            GIVER_KEY,
        ),
        ("no-kid", "bad-header", "kid is missing.", craft(signer, without_kid, payload), GIVER_KEY),
        (
            "long-iss",
            "bad-header",
            "iss of 21 characters.",
            craft(signer, {**headers, 15: {**headers[15], 1: "a" * 21}}, payload),
            GIVER_KEY,
        ),
        (
            "third-claim",
            "bad-header",
            "A CWT claim too many.",
            craft(signer, {**headers, 15: {**headers[15], 6: 1}}, payload),
            GIVER_KEY,
        ),
        (
            "sub-no-id",
            "bad-header",
            "sub is no device id.",
            craft(signer, {**headers, 15: {**headers[15], 2: "robot"}}, payload),
            GIVER_KEY,
        ),
        (
            "kid-of-other-key",
            "wrong-key",
            "The hint names another key.",
            craft(signer, {**headers, 4: bytes(8)}, payload),
            GIVER_KEY,
        ),
        (
            "other-key",
            "wrong-key",
            "Verified with another key.",
            good,
            key_hex(ex.GIVER2.public_key()),
        ),
        ("es256-high-s", "bad-signature", "(r, n-s) in place of (r, s).", high_s, es_key),
        (
            "flipped-payload",
            "bad-signature",
            "One bit of the root.",
            good.replace(values[3], flip(values[3], 0)),
            GIVER_KEY,
        ),
        (
            "flipped-signature",
            "bad-signature",
            "One bit of the signature.",
            flip(good, -1),
            GIVER_KEY,
        ),
        ("tag-missing", "bad-type", "COSE_Sign1 without its tag.", good[1:], GIVER_KEY),
        (
            "payload-detached",
            "bad-type",
            "A payload of nil.",
            craft(signer, headers, None, detached=payload),
            GIVER_KEY,
        ),
        ("trailing-byte", "trailing-bytes", "A byte after the object.", good + b"\x00", GIVER_KEY),
        ("truncated", "truncated", "The last byte is missing.", good[:-1], GIVER_KEY),
        (
            "too-large",
            "too-large",
            "Longer than a checkpoint can be.",
            of([*values[:9], bytes(600)]),
            GIVER_KEY,
        ),
        (
            "size-zero",
            "bad-value",
            "Every epoch has its first event.",
            of([*values[:2], 0, *values[3:]]),
            GIVER_KEY,
        ),
        (
            "claims-above-size",
            "bad-value",
            "More claims than records.",
            of([*values[:4], 3, *values[5:]]),
            GIVER_KEY,
        ),
        (
            "other-kind",
            "unknown-kind",
            "A custody receipt's kind.",
            of([5, *values[1:]]),
            GIVER_KEY,
        ),
        (
            "short-root",
            "bad-value",
            "A root of 31 bytes.",
            of([*values[:3], bytes(31), *values[4:]]),
            GIVER_KEY,
        ),
    ):
        given = {"data": data.hex(), "key": key}
        yield Scenario("signed-checkpoint", name, "3.1", about, given, expect)


def _high_s(data: bytes) -> bytes:
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    return data[:-32] + (n - int.from_bytes(data[-32:], "big")).to_bytes(32, "big")


def forks() -> Scenarios:
    log = ex.giver_log()

    def head(size: int, root_: bytes, **changes: Any) -> bytes:
        fields = {"claims": 1, "boot": 1, "uptime_ms": 7000, **changes}
        made = checkpoint.Checkpoint(ex.EPOCH, size, root_, **fields)
        return made.sign(ex.GIVER, ex.ACME, ex.GIVER.id)

    root3, root5 = tree.root_of(log.leaves[:3]), tree.root_of(log.leaves)
    other = tree.root_of([sha256(b"rewritten"), *log.leaves[1:3]])
    for name, expect, about, first, second in (
        ("grows", "ok", "Five records after three.", head(3, root3), head(5, root5)),
        ("idle", "ok", "One head, repeated later.", head(3, root3), head(3, root3, uptime_ms=9000)),
        ("fork", "fork", "One size, two roots, one key.", head(3, root3), head(3, other)),
        ("shrinks", "bad-value", "The size falls.", head(5, root5), head(3, root3)),
        ("claims-fall", "bad-value", "The claims fall.", head(3, root3), head(5, root5, claims=0)),
        ("boot-falls", "bad-value", "The boot falls.", head(3, root3, boot=2), head(5, root5)),
        (
            "clock-falls",
            "bad-value",
            "Uptime falls within a boot.",
            head(3, root3),
            head(5, root5, uptime_ms=6999),
        ),
    ):
        given = {"heads": hexes([first, second]), "key": GIVER_KEY}
        yield Scenario("two-checkpoints", name, "3.1", about, given, expect)


def segments() -> Scenarios:
    log = ex.giver_log()
    whole, later, elided = (
        part(log).encode() for part in (ex.segment_of, ex.later_segment, ex.elided_segment)
    )
    known = {"size": 3, "edge": hexes(_edge(log.leaves[:3]))}
    values = cbor.decode(whole)

    def of(values_: Any) -> bytes:
        return cbor.encode(values_)

    def stretch(at: int, item: Any, which: int = 0) -> bytes:
        parts = [list(part) for part in values[5]]
        parts[which][at] = item
        return of([*values[:5], parts])

    claim = log.records[2]
    no_edge = of([*cbor.decode(later)[:4], None, *cbor.decode(later)[5:]])
    wrong_edge = cbor.decode(later)
    wrong_edge[4] = [wrong_edge[4][0], [sha256(b"x"), *wrong_edge[4][1][1:]]]
    misaligned = [log.records[0], [1, tree.root_of(log.leaves[1:3])]]
    for name, expect, about, data, tree_ in (
        ("whole", "ok", "Two stretches from the beginning.", whole, None),
        ("with-edge", "ok", "The second stretch, for a receiver without history.", later, None),
        (
            "with-known-tree",
            "ok",
            "The second stretch, for one that has the first.",
            no_edge,
            known,
        ),
        ("elided", "ok", "One record is disclosed, with its own salt.", elided, None),
        ("no-history", "no-history", "Begins at 3, and nothing is known.", no_edge, None),
        (
            "wrong-edge",
            "bad-edge",
            "The edge does not fold to its checkpoint.",
            of(wrong_edge),
            None,
        ),
        (
            "changed-record",
            "bad-root",
            "One bit of the claim.",
            stretch(0, [*log.records[:2], flip(claim, -1)]),
            None,
        ),
        (
            "swapped-records",
            "bad-root",
            "Two records change places.",
            stretch(0, [log.records[1], log.records[0], claim]),
            None,
        ),
        ("wrong-seed", "bad-root", "Another stretch's seed.", stretch(1, ex.SEED2), None),
        (
            "missing-record",
            "bad-stretch",
            "A record was left out.",
            stretch(0, log.records[:2]),
            None,
        ),
        ("no-secret", "bad-stretch", "Records without seed or salts.", stretch(1, None), None),
        (
            "too-few-salts",
            "bad-stretch",
            "Two salts for three records.",
            stretch(1, [bytes(16)] * 2),
            None,
        ),
        (
            "secret-without-records",
            "bad-stretch",
            "A seed for nothing.",
            stretch(0, [[0, leaf] for leaf in log.leaves[:3]]),
            None,
        ),
        (
            "misaligned",
            "misaligned-subtree",
            "A subtree of two at index 1.",
            stretch(0, misaligned),
            None,
        ),
        (
            "other-device",
            "wrong-device",
            "The checkpoints are another device's.",
            of([13, ex.RECEIVER.id, *values[2:]]),
            None,
        ),
        (
            "other-epoch",
            "bad-stretch",
            "The checkpoints are of another epoch.",
            of([13, values[1], bytes(8), *values[3:]]),
            None,
        ),
        ("no-stretch", "too-large", "No stretch at all.", of([*values[:5], []]), None),
        (
            "long-form-length",
            "non-canonical",
            "A length longer than needed.",
            whole.replace(b"\x58\x20" + values[1], b"\x59\x00\x20" + values[1], 1),
            None,
        ),
        ("truncated", "truncated", "The last byte is missing.", whole[:-1], None),
        ("trailing-byte", "trailing-bytes", "A byte after the object.", whole + b"\x00", None),
        ("other-kind", "unknown-kind", "A half's kind.", of([14, *values[1:]]), None),
    ):
        given = {"data": data.hex(), "key": GIVER_KEY, "known": tree_}
        yield Scenario("whole-segment", name, "3.2", about, given, expect)


def _edge(leaves: list[bytes]) -> list[bytes]:
    grown = tree.Tree()
    grown.extend(leaves)
    return grown.edge


def custody() -> Scenarios:
    good = ex.custody_receipt(ex.giver_log())
    key = key_hex(ex.GATEWAY.public_key())
    values = cbor.decode(payload_of(good))
    backwards = craft(ex.GATEWAY, headers_of(good), cbor.encode([*values[:2], 9, *values[3:]]))
    for name, expect, about, data, by in (
        ("good", "ok", "Five records are on the gateway's disk.", good, key),
        (
            "forged",
            "wrong-key",
            "Signed by the device itself.",
            craft(ex.GIVER, {**headers_of(good), 4: ex.GIVER.public_key().kid()}, payload_of(good)),
            key,
        ),
        ("range-backwards", "bad-value", "from is above to.", backwards, key),
        ("flipped", "bad-signature", "One bit of the signature.", flip(good, -1), key),
    ):
        given = {"data": data.hex(), "key": by}
        yield Scenario("custody-receipt", name, "3.4", about, given, expect)


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
            [good, ex.revocation()],
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
            [good, ex.revocation(), rotation],
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


def messages() -> Scenarios:
    hello = cbor.decode(ex.the_hello().encode())
    other = [15, ex.RECEIVER.id, *hello[2:]]
    backwards = [*hello[:3], 6, 5, hello[5]]
    for name, expect, values in (
        ("good", "ok", hello),
        ("credential-of-other-device", "wrong-device", other),
        ("begins-beyond-its-size", "bad-value", backwards),
        ("no-credential", "bad-value", [*hello[:5], []]),
    ):
        given = {"data": cbor.encode(values).hex(), "roots": ROOT_LINES, "at_s": ex.TIME_S}
        about = f"A device says hello: {name.replace('-', ' ')}."
        yield Scenario("hello-message", name, "3.3", about, given, expect)
    welcome = cbor.decode(ex.the_welcome().encode())
    resend = cbor.decode(ex.the_resend().encode())
    notarised = cbor.decode(ex.the_notarised().encode())
    notice = cbor.decode(ex.the_notice().encode())
    for name, expect, operation, values in (
        ("good", "ok", "welcome-message", welcome),
        ("new-device", "ok", "welcome-message", [24, ex.TIME_MS, None, None]),
        ("text-time", "bad-type", "welcome-message", [24, "now", None, None]),
        ("good", "ok", "resend-message", resend),
        ("with-end", "ok", "resend-message", [16, ex.EPOCH, 3, 5]),
        ("backwards", "bad-value", "resend-message", [16, ex.EPOCH, 5, 3]),
        ("short-epoch", "bad-value", "resend-message", [16, bytes(7), 3, None]),
        ("good", "ok", "notarised-message", notarised),
        ("receipt-as-array", "bad-type", "notarised-message", [*notarised[:3], []]),
        ("good", "ok", "notice-message", notice),
        ("no-reason", "bad-value", "notice-message", [26, "", None, None]),
        ("long-reason", "too-large", "notice-message", [26, "r" * 65, None, None]),
    ):
        about = f"{operation.replace('-', ' ').capitalize()}: {name.replace('-', ' ')}."
        given = {"data": cbor.encode(values).hex()}
        yield Scenario(operation, name, "3.3", about, given, expect)


def all_scenarios() -> Scenarios:
    for part in (
        *(records, checkpoints, forks, segments, custody),
        *(enrolments, credentials, halves, messages),
    ):
        yield from part()
