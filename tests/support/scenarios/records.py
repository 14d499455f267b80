"""Records, checkpoints and what two checkpoints may not be to each other."""

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
from tallystick.evidence import cbor, checkpoint, receipt, root, tree
from tallystick.evidence.digest import sha256

ROOT_LINES = [root.format_root(iss, key) for iss, key in sorted(ex.ROOTS.items())]
GIVER_KEY = key_hex(ex.GIVER.public_key())


SPACE = {"state": "low", "percent": 80, "used_bytes": 100_000, "limit_bytes": 124_999}
WRONG_SPACE = {**SPACE, "state": "full"}


def told(event: str, details: dict[str, Any]) -> str:
    return cbor.encode([2, 7, event, details]).hex()


def boot(**changes: Any) -> bytes:
    details = {
        "boot": 7,
        "cause": "watchdog",
        "firmware": sha256(b"firmware"),
        "config": sha256(b"configuration"),
        "runtime": ["micropython", "1.25.0", "Raspberry Pi Pico W with RP2040"],
        "key": ["atecc608", "secure-element"],
        **changes,
    }
    if details["boot"] is None:
        del details["boot"]
    return cbor.encode([2, 7, "boot", details])


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
        ("boot", "ok", "A boot, with everything that it may tell.", boot().hex()),
        ("boot-unknown", "bad-value", "Details that it does not have.", boot(colour=1).hex()),
        ("boot-firmware", "bad-value", "A digest of 31 bytes.", boot(firmware=bytes(31)).hex()),
        ("boot-missing", "bad-value", "Without its number.", boot(boot=None).hex()),
        ("space", "ok", "A journal that fills up.", told("space", SPACE)),
        ("space-state", "bad-value", "Neither low nor relieved.", told("space", WRONG_SPACE)),
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


def all_scenarios() -> Scenarios:
    for part in (
        records,
        checkpoints,
        forks,
    ):
        yield from part()
