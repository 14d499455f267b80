"""Validators' logs: entries, notes, receipts."""

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
from tallystick.evidence import cbor, note, receipt, tree
from tallystick.evidence.digest import sha256
from tallystick.evidence.keys import EDDSA

GATEWAY_KEY = key_hex(ex.GATEWAY.public_key())
VALIDATOR_KEY = key_hex(ex.VALIDATOR.public_key())
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)


def entries() -> Scenarios:
    log = ex.validator_log()
    claim = cbor.decode(log[4])
    closing = cbor.decode(log[7])
    with_receipt = receipt.attach(log[2], [ex.inclusion_receipt(2, 8)])
    hello_like = craft(ex.GIVER, headers_of(log[2]), cbor.encode([15, bytes(32)]))
    for name, expect, about, data in (
        ("genesis", "ok", "Entry 0.", log[0]),
        ("time", "ok", "The validator's clock.", log[1]),
        ("checkpoint", "ok", "A device's statement.", log[2]),
        ("claim", "ok", "A logged claim.", log[4]),
        ("closing", "ok", "A deadline has passed.", log[7]),
        ("negative-time", "bad-value", "Before 1970.", cbor.encode([17, -1])),
        ("long-path", "too-large", "64 hashes.", replaced(claim, 6, [bytes(32)] * 64)),
        ("short-interaction", "bad-value", "15 bytes.", replaced(closing, 2, bytes(15))),
        ("statement-with-receipt", "bad-header", "Its header must be empty.", with_receipt),
        ("statement-of-no-log", "unknown-kind", "A kind that logs do not take.", hello_like),
        (
            "half-as-entry",
            "unknown-kind",
            "A half is no entry.",
            ex.half_of(ex.giver_log(), bytes(32)).encode(),
        ),
        ("empty", "unknown-kind", "Nothing.", b""),
        ("too-large", "too-large", "65,536 bytes.", b"\xd2" + bytes(65535)),
        ("long-form", "non-canonical", "A time longer than needed.", bytes.fromhex("8211190005")),
    ):
        yield Scenario("log-entry", name, "6.3", about, {"data": data.hex()}, expect)
    genesis = log[0]
    other = cbor.decode(payload_of(genesis))
    wrong_note_key = craft(ex.VALIDATOR, headers_of(genesis), replaced(other, 4, PETER + "A"))
    for name, expect, data in (
        ("good", "ok", genesis),
        ("flipped", "bad-signature", flip(genesis, -1)),
        ("note-key-misspelt", "bad-value", wrong_note_key),
        (
            "weak-receipt-key",
            "weak-key",
            craft(
                ex.VALIDATOR,
                headers_of(genesis),
                replaced(other, 3, {1: 1, -1: 6, -2: bytes([1] + [0] * 31)}),
            ),
        ),
    ):
        about = f"Entry 0 of a validator's log: {name.replace('-', ' ')}."
        given = {"data": data.hex(), "key": VALIDATOR_KEY}
        yield Scenario("signed-genesis", name, "6.3", about, given, expect)


def notes() -> Scenarios:
    good = ex.log_checkpoint().text()
    key = ex.note_key().text()
    cosigner = note.NoteKey("witness.example", ex.GATEWAY.public_key())
    signature = ex.GATEWAY.sign(ex.log_checkpoint().body().encode())
    both = good + f"\u2014 witness.example {note.b64(cosigner.key_id + signature)}\n"
    line = good.splitlines()[-1]
    stray = good[:-3] + chr(ord(good[-3]) + 1) + good[-2:]
    for name, expect, about, text, by in (
        ("good", "ok", "The log's own signature.", good, key),
        ("with-cosignature", "ok", "A signature by another key is left alone.", both, key),
        ("cosignature", "ok", "Verified by the other key.", both, cosigner.text()),
        ("unknown-key", "wrong-key", "No signature of this key.", good, cosigner.text()),
        (
            "other-size",
            "bad-signature",
            "The size was changed.",
            good.replace("\n8\n", "\n9\n"),
            key,
        ),
        ("other-origin", "bad-signature", "The origin was changed.", "x" + good, key),
        ("leading-zero", "bad-number", "A size of 08.", good.replace("\n8\n", "\n08\n"), key),
        ("underscore", "bad-number", "A size of 0_8.", good.replace("\n8\n", "\n0_8\n"), key),
        ("plus", "bad-number", "A size of +8.", good.replace("\n8\n", "\n+8\n"), key),
        (
            "root-without-padding",
            "bad-value",
            "Base64 without its end.",
            good.replace("=\n\n", "\n\n", 1),
            key,
        ),
        (
            "extension-line",
            "bad-value",
            "A fourth line.",
            good.replace("\n\n", "\nmore\n\n", 1),
            key,
        ),
        ("carriage-return", "bad-value", "Other line ends.", good.replace("\n", "\r\n"), key),
        ("no-blank-line", "truncated", "No signature block.", good.replace("\n\n", "\n"), key),
        ("no-last-line-end", "truncated", "Ends without a line end.", good[:-1], key),
        ("hyphen", "bad-value", "A hyphen for the dash.", good.replace("\u2014", "-"), key),
        ("two-of-one-key", "duplicate-key", "One key signs twice.", good + line + "\n", key),
        ("stray-bits", "non-canonical", "Base64 with bits that mean nothing.", stray, key),
        ("two-spaces", "bad-value", "Two spaces.", good.replace("\u2014 ", "\u2014  "), key),
        (
            "blank-in-base64",
            "bad-value",
            "A space in the signature.",
            good[:-5] + " " + good[-5:],
            key,
        ),
    ):
        given = {"text": text, "key": by}
        yield Scenario("log-checkpoint", name, "6.3", about, given, expect)
    for name, expect, about, text in (
        ("good", "ok", "A validator's note key.", key),
        ("published", "ok", "The example key of the signed-note documentation.", PETER),
        (
            "other-hash",
            "bad-key",
            "The hash is not that of name and key.",
            key.replace("+", "+0", 1)[: len(ex.ORIGIN) + 9] + key[len(ex.ORIGIN) + 9 :],
        ),
        ("other-type", "bad-key", "Type 4 is a cosignature's.", _retyped(key, 4)),
        ("no-name", "bad-value", "A key without a name.", key[len(ex.ORIGIN) :]),
        ("space-in-name", "bad-value", "A space in the name.", "a " + key),
        ("two-parts", "truncated", "No key.", "+".join(key.split("+")[:2])),
    ):
        yield Scenario("note-key", name, "6.3", about, {"text": text}, expect)
    given = {"text": PETER_NOTE, "key": PETER}
    about = "The example note of the signed-note documentation."
    yield Scenario("signed-note", "published", "6.3", about, given, "ok")
    given = {"text": PETER_NOTE.replace("answer", "solution"), "key": PETER}
    about = "One word of it was changed."
    yield Scenario("signed-note", "changed", "6.3", about, given, "bad-signature")


def _retyped(key: str, kind: int) -> str:
    name, hash_, data = key.split("+", 2)
    raw = bytes([kind]) + note.from_b64(data)[1:]
    hash_ = sha256(name.encode() + b"\n" + raw)[:4].hex()
    return f"{name}+{hash_}+{note.b64(raw)}"


def receipts() -> Scenarios:
    index, size = 4, 8
    entry = ex.validator_log()[index]
    good = ex.inclusion_receipt(index, size)
    eddsa = ex.inclusion_receipt(index, size, ex.GATEWAY)
    headers = headers_of(good)
    root = tree.root_of(ex.log_leaves())
    path = tree.inclusion_path(ex.log_leaves(), index, size)

    def of(proof: Any, label: int = -1, **changes: Any) -> bytes:
        changed = {**headers, **changes.get("headers", {})}
        payload = root if changes.get("attached") else None
        blob = proof if isinstance(proof, list) and proof[:1] == ["as is"] else [cbor.encode(proof)]
        blob = proof[1:] if blob is proof else blob
        beside = {396: {label: blob, **changes.get("other", {})}, **changes.get("beside", {})}
        return craft(ex.VALIDATOR, changed, payload, beside, root)

    fine = [size, index, path]
    encoded = cbor.encode(fine)
    high = good[:-32] + _negated(good[-32:])
    for name, expect, about, data, on, by in (
        ("es256", "ok", "A claim is in the log of eight entries.", good, entry, VALIDATOR_KEY),
        ("eddsa", "ok", "The same by an Ed25519 log key.", eddsa, entry, GATEWAY_KEY),
        (
            "genesis",
            "ok",
            "The first entry.",
            ex.inclusion_receipt(0, 8),
            ex.validator_log()[0],
            VALIDATOR_KEY,
        ),
        (
            "one-entry",
            "ok",
            "A log of one entry has an empty path.",
            ex.inclusion_receipt(0, 1),
            ex.validator_log()[0],
            VALIDATOR_KEY,
        ),
        (
            "other-entry",
            "bad-signature",
            "It proves another entry.",
            good,
            ex.validator_log()[5],
            VALIDATOR_KEY,
        ),
        (
            "other-index",
            "bad-signature",
            "The path is another index's.",
            of([size, 5, path]),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "short-path",
            "bad-inclusion-proof",
            "The path lacks a hash.",
            of([size, index, path[:-1]]),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "index-is-size",
            "bad-inclusion-proof",
            "The index lies outside.",
            of([size, size, path]),
            entry,
            VALIDATOR_KEY,
        ),
        ("other-key", "wrong-key", "Another log's key.", good, entry, GATEWAY_KEY),
        (
            "alg-of-other-key",
            "wrong-alg",
            "EdDSA stated, P-256 key.",
            of(fine, headers={1: EDDSA}),
            entry,
            VALIDATOR_KEY,
        ),
        ("high-s", "bad-signature", "(r, n-s) in place of (r, s).", high, entry, VALIDATOR_KEY),
        (
            "crit",
            "bad-header",
            "No extension is defined.",
            of(fine, headers={2: [395]}),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "other-vds",
            "bad-header",
            "Another tree algorithm.",
            of(fine, headers={395: 2}),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "no-iat",
            "bad-header",
            "A receipt says when.",
            of(fine, headers={15: {1: "initech", 2: "o"}}),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "payload-attached",
            "bad-type",
            "The root must be computed, not believed.",
            of(fine, attached=True),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "two-proofs",
            "bad-value",
            "Two proofs in one receipt.",
            of(["as is", encoded, encoded]),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "both-kinds-of-proof",
            "bad-header",
            "A consistency proof beside the inclusion proof.",
            of(fine, other={-2: [encoded]}),
            entry,
            VALIDATOR_KEY,
        ),
        (
            "receipt-of-a-receipt",
            "bad-header",
            "A receipt carries no receipts.",
            of(fine, beside={394: [good]}),
            entry,
            VALIDATOR_KEY,
        ),
        ("no-proof", "bad-value", "No proof.", of(["as is"]), entry, VALIDATOR_KEY),
        (
            "consistency-label",
            "bad-header",
            "An inclusion proof under -2.",
            of(fine, -2),
            entry,
            VALIDATOR_KEY,
        ),
        ("negative-index", "bad-value", "Below zero.", of([size, -1, path]), entry, VALIDATOR_KEY),
        (
            "flipped",
            "bad-signature",
            "One bit of the signature.",
            flip(good, -1),
            entry,
            VALIDATOR_KEY,
        ),
    ):
        given = {"data": data.hex(), "entry": on.hex(), "key": by}
        yield Scenario("inclusion-receipt", name, "6.3", about, given, expect)
    leaves = ex.log_leaves()
    roots = {"root1": tree.root_of(leaves[:3]).hex(), "root2": root.hex()}
    swapped = {"root1": roots["root2"], "root2": roots["root1"]}
    for name, expect, about, data, pair in (
        ("good", "ok", "Eight entries extend three.", ex.consistency_receipt(3, 8), roots),
        (
            "fork",
            "bad-consistency-proof",
            "The first root is another.",
            ex.consistency_receipt(3, 8),
            {**roots, "root1": sha256(b"x").hex()},
        ),
        (
            "swapped",
            "bad-consistency-proof",
            "Old and new change places.",
            ex.consistency_receipt(3, 8),
            swapped,
        ),
        ("inclusion-label", "bad-header", "An inclusion receipt.", good, roots),
    ):
        given = {"data": data.hex(), "key": VALIDATOR_KEY, **pair}
        yield Scenario("consistency-receipt", name, "6.3", about, given, expect)


def _negated(s: bytes) -> bytes:
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    return (n - int.from_bytes(s, "big")).to_bytes(32, "big")


def all_scenarios() -> Scenarios:
    for part in (
        entries,
        notes,
        receipts,
    ):
        yield from part()
