"""What devices send and get: segments, custody receipts, messages."""

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
from tallystick.evidence import cbor, root, tree
from tallystick.evidence.digest import sha256

ROOT_LINES = [root.format_root(iss, key) for iss, key in sorted(ex.ROOTS.items())]
GIVER_KEY = key_hex(ex.GIVER.public_key())


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
        segments,
        custody,
        messages,
    ):
        yield from part()
