"""CBOR, numbers, leaves, trees, keys and signatures."""

from support import examples as ex
from support.scenarios import Scenario, Scenarios, hexes, key_hex
from tallystick.evidence import cbor, root, tree
from tallystick.evidence.digest import sha256

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
L = 2**252 + 27742317777372353535851937790883648493

CBOR = (
    ("integers", "ok", "8a0017181818ff1901001a000100001bffffffffffffffff2037390100"),
    ("map-in-bytewise-order", "ok", "a361610162616202636161610" + "3"),
    ("integer-keys-positive-first", "ok", "a4010018200020002100"),
    ("deepest-allowed", "ok", "81" * 11 + "80"),
    ("decimal-fraction", "ok", "c48221196ab3"),
    ("truncated-string", "truncated", "43aabb"),
    ("array-length-bomb", "truncated", "9b7fffffffffffffff"),
    ("string-length-bomb", "truncated", "5b7fffffffffffffff"),
    ("trailing-byte", "trailing-bytes", "0000"),
    ("long-form-of-a-small-integer", "non-canonical", "1817"),
    ("long-form-of-a-length", "non-canonical", "580101"),
    ("indefinite-array", "non-canonical", "9f01ff"),
    ("indefinite-string", "non-canonical", "5f4101ff"),
    ("map-out-of-order", "non-canonical", "a2616201616100"),
    ("duplicate-key", "duplicate-key", "a2616100616101"),
    ("too-deep", "too-deep", "81" * 12 + "80"),
    ("float", "bad-type", "f93c00"),
    ("not-a-number", "bad-type", "f97e00"),
    ("undefined", "bad-type", "f7"),
    ("foreign-tag", "bad-type", "c11a514b67b0"),
    ("tag-18-inside", "bad-type", "81d280"),
    ("byte-string-as-key", "bad-type", "a1410000"),
    ("keys-of-two-types", "bad-type", "a20100616100"),
    ("invalid-utf-8", "bad-utf8", "62c328"),
    ("surrogate", "bad-utf8", "63eda080"),
    ("fraction-of-an-integral-value", "bad-number", "c4820005"),
    ("fraction-with-trailing-zero", "bad-number", "c482200a"),
    ("fraction-of-zero", "bad-number", "c4822000"),
    ("fraction-that-fits-an-integer", "bad-number", "c4820101"),
    ("exponent-out-of-range", "bad-number", "c482382001"),
    ("fractions-within-fractions", "bad-number", "c482" * 4000 + "2001" + "01" * 3999),
)

NUMBERS = (
    ("integer", "ok", "-12"),
    ("trailing-zeros", "ok", "1.500"),
    ("integral-after-normalising", "ok", "25.00"),
    ("minus-zero", "ok", "-0.0"),
    ("smallest-exponent", "ok", "0." + "0" * 31 + "1"),
    ("largest-integer", "ok", "9223372036854775807"),
    ("beyond-64-bits-but-short", "ok", "100000000000000000000"),
    ("too-many-digits", "bad-number", "9223372036854775808"),
    ("exponent-too-small", "bad-number", "0." + "0" * 32 + "1"),
    ("plus-sign", "bad-number", "+5"),
    ("leading-zero", "bad-number", "05"),
    ("underscore", "bad-number", "0_1"),
    ("scientific", "bad-number", "1e3"),
    ("space", "bad-number", " 7"),
    ("no-digits-after-the-point", "bad-number", "5."),
    ("other-digits", "bad-number", "\uff15"),
    ("not-a-number", "bad-number", "nan"),
)


def encodings() -> Scenarios:
    for name, expect, data in CBOR:
        about = f"Decoding one item: {name.replace('-', ' ')}."
        yield Scenario("cbor-item", name, "1.1", about, {"data": data}, expect)
    for name, expect, text in NUMBERS:
        about = f"A number from decimal text: {name.replace('-', ' ')}."
        yield Scenario("number-text", name, "1.2", about, {"text": text}, expect)


def leaves() -> Scenarios:
    seed, record = sha256(b"a seed"), bytes.fromhex("840200656c6f67732ea0")
    for index in (0, 1, 2**32):
        about = "Two indexes share one hash; the even one takes its first half."
        given = {"seed": seed.hex(), "index": index, "record": record.hex()}
        yield Scenario("salted-leaf", f"index-{index}", "2.2", about, given, "ok")
    for size in (0, 1, 7, 8):
        about = "The root of a tree and its edge, the roots of its perfect subtrees."
        data = [bytes([n]) for n in range(size)]
        given = {"leaves": hexes(data)}
        yield Scenario("tree-root", f"size-{size}", "2.3", about, given, "ok")


def _hashes(count: int) -> list[bytes]:
    return [tree.leaf_hash(bytes([n])) for n in range(count)]


def inclusion() -> Scenarios:
    hashes = _hashes(7)
    path = tree.inclusion_path(hashes, 2)
    good = {"leaf": hashes[2], "index": 2, "size": 7, "path": path, "root": tree.root_of(hashes)}
    one = {"leaf": hashes[0], "index": 0, "size": 1, "path": [], "root": hashes[0]}
    inner = tree.node_hash(hashes[0], hashes[1])
    wrong = "bad-inclusion-proof"
    for name, expect, about, change in (
        ("good", "ok", "The third of seven leaves.", {}),
        ("one-leaf", "ok", "A tree of one leaf has an empty path.", one),
        ("other-leaf", wrong, "The path is another leaf's.", {"leaf": hashes[3]}),
        ("other-index", wrong, "The path is another index's.", {"index": 3}),
        ("short", wrong, "The path lacks its last hash.", {"path": path[:-1]}),
        ("long", wrong, "The path has a hash too many.", {"path": [*path, path[0]]}),
        ("index-is-size", wrong, "The index lies outside the tree.", {"index": 7}),
        ("size-zero", wrong, "The empty tree holds nothing.", {"index": 0, "size": 0, "path": []}),
        ("negative-index", "bad-value", "An index is not negative.", {"index": -1}),
        ("short-hash", "bad-type", "A hash of 31 bytes.", {"path": [path[0][:31], *path[1:]]}),
        (
            "node-as-leaf",
            wrong,
            "An inner node's children, taken as a leaf's data (second preimage).",
            {"leaf": tree.leaf_hash(hashes[0] + hashes[1]), "index": 0, "path": path[1:]},
        ),
        ("node-for-leaf", wrong, "A node stands for a leaf.", {"leaf": inner, "index": 0}),
    ):
        given = {**good, **change}
        shown = {
            **{k: given[k] for k in ("index", "size")},
            **{k: given[k].hex() for k in ("leaf", "root")},  # type: ignore[attr-defined]  # bytes
            "path": hexes(given["path"]),
        }
        yield Scenario("inclusion-proof", name, "2.3", about, shown, expect)


def consistency() -> Scenarios:
    hashes = _hashes(8)
    other = [tree.leaf_hash(b"another"), *hashes[1:]]
    for name, expect, about, m, n, leaves_, path in (
        ("good", "ok", "Seven leaves extend three.", 3, 7, hashes, None),
        ("power-of-two", "ok", "Eight leaves extend four.", 4, 8, hashes, None),
        ("same-size", "ok", "A tree extends itself, with an empty path.", 5, 5, hashes, None),
        ("from-nothing", "ok", "Every tree extends the empty one.", 0, 5, hashes, None),
        ("fork", "bad-consistency-proof", "The first leaf was rewritten.", 3, 7, other, None),
        ("short", "bad-consistency-proof", "The path lacks a hash.", 3, 7, hashes, -1),
        ("shrinks", "bad-consistency-proof", "The second tree is the smaller.", 7, 3, hashes, 0),
    ):
        whole = tree.consistency_path(leaves_, min(m, n), max(m, n))
        given = {
            "size1": m,
            "root1": tree.root_of(hashes[:m]).hex(),
            "size2": n,
            "root2": tree.root_of(leaves_[:n]).hex(),
            "path": hexes(whole if path is None else whole[:path]),
        }
        yield Scenario("consistency-proof", name, "2.3", about, given, expect)
    grown = tree.Tree()
    grown.extend(hashes[:3])
    for name, expect, edge in (
        ("good", "ok", grown.edge),
        ("swapped-edge", "bad-consistency-proof", grown.edge[::-1]),
        ("short-edge", "bad-edge", grown.edge[:1]),
    ):
        given = {
            "edge": hexes(edge),
            "size1": 3,
            "size2": 7,
            "root2": tree.root_of(hashes[:7]).hex(),
            "path": hexes(tree.prefix_path(hashes, 3, 7)),
        }
        about = "The edge at three leaves is that of the tree of seven."
        yield Scenario("prefix-proof", name, "2.3", about, given, expect)


def public_keys() -> Scenarios:
    p = 2**255 - 19
    good = ex.RECEIVER.public_key().raw
    for name, expect, about, cose_key in (
        ("ed25519", "ok", "An Ed25519 key.", ex.GIVER.public_key().cose_key()),
        ("p256", "ok", "A P-256 key.", ex.RECEIVER.public_key().cose_key()),
        ("identity", "weak-key", "The identity verifies every message.", _ed(1)),
        ("order-two", "weak-key", "A point of order two.", _ed(p - 1)),
        ("order-four", "weak-key", "A point of order four.", _ed(0)),
        ("identity-again", "weak-key", "The identity, encoded otherwise.", _ed(p + 1)),
        ("not-canonical", "bad-key", "y is not below the field's prime.", _ed(p + 3)),
        ("no-ed25519-point", "bad-key", "y of no point.", _ed(2)),
        ("off-the-curve", "bad-key", "A P-256 point off the curve.", _p(good[:32], good[:32])),
        ("p256-zero", "bad-key", "Both coordinates zero.", _p(bytes(32), bytes(32))),
        (
            "x-too-large",
            "bad-key",
            "x is not below the field's prime.",
            _p(b"\xff" * 32, good[32:]),
        ),
        ("short", "bad-key", "31 bytes.", {1: 1, -1: 6, -2: bytes(31)}),
        ("kid-inside", "bad-key", "More than the required parameters.", {**_ed(9), 2: b"kid"}),
        ("x25519", "bad-key", "A curve for key agreement.", {1: 1, -1: 4, -2: good[:32]}),
    ):
        given = {"key": cbor.encode(cose_key).hex()}
        yield Scenario("public-key", name, "1.4", about, given, expect)
    line = root.format_root(ex.ACME, ex.ACME_ROOT.public_key())
    for name, expect, text in (
        ("good", "ok", line),
        ("p256", "ok", root.format_root(ex.GLOBEX, ex.GLOBEX_ROOT.public_key())),
        ("capital-letter", "bad-header", line.replace("acme", "Acme")),
        ("padding", "bad-key", line + "="),
        ("line-end", "bad-key", line + "\n"),
        ("stray-bits", "bad-value", line[:-1] + chr(ord(line[-1]) + 1)),
        ("two-names", "bad-value", "acme+" + line),
    ):
        about = f"A fleet root's line: {name.replace('-', ' ')}."
        yield Scenario("root-line", name, "1.3", about, {"text": text}, expect)


def _ed(y: int) -> dict[int, object]:
    return {1: 1, -1: 6, -2: y.to_bytes(32, "little")}


def _p(x: bytes, y: bytes) -> dict[int, object]:
    return {1: 2, -1: 1, -2: x, -3: y}


def signatures() -> Scenarios:
    message = b"this key signed these bytes"
    ed, p = ex.GIVER.sign(message), ex.RECEIVER.sign(message)
    r, s = p[:32], int.from_bytes(p[32:], "big")
    s_l = (int.from_bytes(ed[32:], "little") + L).to_bytes(32, "little")
    der = bytes([0x30, 68, 2, 32]) + r + bytes([2, 32]) + p[32:]
    zero = bytes(32)
    for name, expect, about, signer, signature in (
        ("ed25519", "ok", "A good signature.", ex.GIVER, ed),
        ("p256", "ok", "A good signature, r || s.", ex.RECEIVER, p),
        (
            "p256-high-s",
            "no",
            "(r, n-s) verifies too, so it is refused.",
            ex.RECEIVER,
            r + _n(N - s),
        ),
        ("p256-r-zero", "no", "r is zero.", ex.RECEIVER, zero + p[32:]),
        ("p256-s-zero", "no", "s is zero.", ex.RECEIVER, r + zero),
        ("p256-r-is-n", "no", "r is the order.", ex.RECEIVER, _n(N) + p[32:]),
        ("p256-der", "no", "DER instead of r || s.", ex.RECEIVER, der),
        ("ed25519-s-plus-l", "no", "S is not below the order.", ex.GIVER, ed[:32] + s_l),
        ("ed25519-flipped", "no", "One bit of R.", ex.GIVER, bytes([ed[0] ^ 1]) + ed[1:]),
        ("other-key", "no", "Another key's signature.", ex.GIVER2, ed),
        ("short", "no", "63 bytes.", ex.GIVER, ed[:63]),
    ):
        given = {
            "key": key_hex(signer.public_key()),
            "message": message.hex(),
            "signature": signature.hex(),
        }
        reason = "bad-signature" if expect == "no" else expect
        yield Scenario("raw-signature", name, "1.4", about, given, reason)


def _n(value: int) -> bytes:
    return value.to_bytes(32, "big")


def ids() -> Scenarios:
    given = {
        "device": ex.GIVER.id.hex(),
        "epoch": ex.EPOCH.hex(),
        "index": 2,
        "leaf": sha256(b"leaf").hex(),
    }
    about = "SHA-256 over the encoding of [device id, epoch, index, leaf hash]."
    yield Scenario("claim-reference", "good", "1.3", about, given, "ok")


def all_scenarios() -> Scenarios:
    for part in (encodings, leaves, inclusion, consistency, public_keys, signatures, ids):
        yield from part()
