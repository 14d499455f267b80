"""Gateways' logs, heads and batches."""

from typing import Any

from support import examples as ex
from support.scenarios import (
    Scenario,
    Scenarios,
    craft,
    flip,
    headers_of,
    key_hex,
    payload_of,
    replaced,
)
from tallystick.evidence import cbor, gatewayhead, tree
from tallystick.evidence.digest import sha256

GATEWAY_KEY = key_hex(ex.GATEWAY.public_key())
VALIDATOR_KEY = key_hex(ex.VALIDATOR.public_key())
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)


def gateway_logs() -> Scenarios:
    leaf = ex.gateway_log()[0].encode()
    values = cbor.decode(leaf)
    for name, expect, data in (
        ("good", "ok", leaf),
        ("range-backwards", "bad-value", replaced(values, 3, 6)),
        ("short-root", "bad-value", replaced(values, 5, bytes(31))),
        ("missing-element", "bad-value", cbor.encode(values[:-1])),
        ("other-kind", "unknown-kind", replaced(values, 0, 20)),
    ):
        about = f"What a gateway logs of a segment: {name.replace('-', ' ')}."
        yield Scenario("gateway-leaf", name, "6.1", about, {"data": data.hex()}, expect)
    head = ex.gatewayhead_bytes()
    head_values = cbor.decode(payload_of(head))
    negative = craft(ex.GATEWAY, headers_of(head), replaced(head_values, 1, -1))
    for name, expect, data in (
        ("good", "ok", head),
        ("flipped", "bad-signature", flip(head, -1)),
        ("negative-size", "bad-value", negative),
        ("by-other-key", "wrong-key", _by_device(head)),
    ):
        about = f"The signed head of a gateway's log: {name.replace('-', ' ')}."
        given = {"data": data.hex(), "key": GATEWAY_KEY}
        yield Scenario("gateway-head", name, "6.1", about, given, expect)


def _by_device(data: bytes) -> bytes:
    return craft(ex.GIVER, {**headers_of(data), 4: ex.GIVER.public_key().kid()}, payload_of(data))


def batches() -> Scenarios:
    good = ex.the_batch()
    values = cbor.decode(payload_of(good))
    hashes = [leaf.leaf_hash() for leaf in ex.gateway_log()]
    first = tree.root_of(hashes[:1])

    def of(changes: dict[int, Any]) -> bytes:
        changed = [changes.get(at, item) for at, item in enumerate(values)]
        return craft(ex.GATEWAY, headers_of(good), cbor.encode(changed))

    later = of({1: 1, 2: [hashes[0]], 3: values[3][1:]})
    elided = of({3: [[0, hashes[0]], values[3][1]]})
    nothing = of({3: [[1, tree.root_of(hashes)]]})
    head = gatewayhead.GatewayHead(2, sha256(b"another"), ex.TIME_MS)
    other_head = of({7: head.sign(ex.GATEWAY, ex.ACME, ex.GATEWAY.id)})
    sub = headers_of(values[7])
    sub[15][2] = headers_of(ex.giver_log().checkpoints[0])[15][2]
    foreign_head = of({7: craft(ex.GATEWAY, sub, payload_of(values[7]))})
    for name, expect, about, data, known in (
        ("whole", "ok", "Both segments of the gateway's log.", good, None),
        ("extends", "ok", "The second, after the first is known.", later, (1, first)),
        ("elided", "ok", "The first is not for this validator.", elided, None),
        (
            "nothing-for-this-one",
            "ok",
            "Only the proof that the log grew.",
            nothing,
            (0, tree.EMPTY_ROOT),
        ),
        ("gap", "gateway-gap", "Begins at 1, nothing is known.", later, (0, tree.EMPTY_ROOT)),
        ("fork", "gateway-fork", "Another first leaf is known.", good, (1, sha256(b"other"))),
        ("fork-at-its-end", "gateway-fork", "Another root of size 2 is known.", good, (2, first)),
        (
            "wrong-edge",
            "bad-root",
            "The edge is not that of the log.",
            of({1: 1, 2: [sha256(b"x")], 3: values[3][1:]}),
            None,
        ),
        ("edge-too-long", "bad-edge", "An edge where none belongs.", of({2: [hashes[0]]}), None),
        ("missing-segment", "bad-root", "The second was left out.", of({3: values[3][:1]}), None),
        ("swapped", "bad-root", "Two segments change places.", of({3: values[3][::-1]}), None),
        ("other-head", "bad-root", "The head is of another tree.", other_head, None),
        ("head-of-other-gateway", "wrong-device", "The head names another.", foreign_head, None),
        (
            "misaligned",
            "misaligned-subtree",
            "A subtree of two at 1.",
            of({1: 1, 2: [hashes[0]], 3: [[1, first]]}),
            None,
        ),
        ("by-other-key", "wrong-key", "Signed by a device.", _by_device(good), None),
        (
            "flipped-head",
            "bad-signature",
            "One bit of the inner head's signature.",
            of({7: flip(values[7], -1)}),
            None,
        ),
        ("flipped", "bad-signature", "One bit of the signature.", flip(good, -1), None),
        (
            "malformed-segment",
            "truncated",
            "A segment that ends early.",
            of({3: [values[3][0][:-1], values[3][1]]}),
            None,
        ),
        ("empty-credential", "bad-value", "A credential without statements.", of({4: [[]]}), None),
    ):
        given = {
            "data": data.hex(),
            "key": GATEWAY_KEY,
            "known": {"size": known[0], "root": known[1].hex()} if known else None,
        }
        yield Scenario("whole-batch", name, "6.2", about, given, expect)
    answer = cbor.decode(ex.the_answer().encode())
    for name, expect, data in (
        ("good", "ok", cbor.encode(answer)),
        ("short-digest", "bad-value", replaced(answer, 2, [[bytes(31), b"r"]])),
        ("empty-receipt", "bad-value", replaced(answer, 2, [[bytes(32), b""]])),
        ("negative-index", "bad-value", replaced(answer, 3, [[-1, "bad-root"]])),
        ("no-reason", "bad-value", replaced(answer, 3, [[0, ""]])),
    ):
        about = f"The answer to a batch: {name.replace('-', ' ')}."
        yield Scenario("batch-answer", name, "6.2", about, {"data": data.hex()}, expect)


def all_scenarios() -> Scenarios:
    for part in (
        gateway_logs,
        batches,
    ):
        yield from part()
