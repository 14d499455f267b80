"""Published vectors: RFC 9052's and the COSE working group's, RFC 9162's trees, C2SP's notes."""

import pytest

from tallystick.evidence import cose, cosignature, keys, note, proof, tree
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.verify import addcheckpoint

# The P-256 key "11" of RFC 9052, appendix C.7.
KEY_11 = keys.from_raw(
    keys.ES256,
    bytes.fromhex(
        "bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff"
        "20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e"
    ),
)
# RFC 9052, appendix C.2.1: one signature, kid in the unprotected header.
C_2_1 = bytes.fromhex(
    "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac"
    "34cc6b23d58fef5c083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5"
    "a4c345cacb36"
)
# cose-wg/Examples, sign1-tests/sign-pass-01: the algorithm stands in the unprotected header.
SIGN_PASS_01 = bytes.fromhex(
    "d28441a0a201260442313154546869732069732074686520636f6e74656e742e584087db0d2e5571843b78ac33ec"
    "b2830df7b6e0a4d5b7376de336b23c591c90c425317e56127fbe04370097ce347087b233bf722b64072beb4486bd"
    "a4031d27244f"
)
CONTENT = b"This is the content."


def test_the_signature_of_rfc_9052_verifies() -> None:
    protected, signature = bytes.fromhex("a10126"), C_2_1[-64:]
    to_be_signed = cose.to_be_signed(protected, CONTENT)
    assert to_be_signed.hex() == (
        "846a5369676e61747572653143a101264054546869732069732074686520636f6e74656e742e"
    )
    KEY_11.verify(signature, to_be_signed)
    # The message as it is puts kid where nobody signs it, which the profile does not allow.
    with pytest.raises(Malformed) as refused:
        cose.parse(C_2_1, 1000)
    assert refused.value.reason == "bad-header"
    emptied = cose.encode(protected, CONTENT, signature)
    assert cose.parse(emptied, 1000).verify(KEY_11).payload == CONTENT


def test_an_algorithm_that_nobody_signed_is_refused() -> None:
    # RFC 9052 lets it pass; its Sig_structure has a zero-length protected header.
    to_be_signed = cose.to_be_signed(b"", CONTENT)
    assert to_be_signed.hex() == "846a5369676e6174757265314040" + "54" + CONTENT.hex()
    with pytest.raises(Malformed) as refused:
        cose.parse(SIGN_PASS_01, 1000)
    assert refused.value.reason == "bad-header"


# The tree of Certificate Transparency's reference implementations: entries, roots by size.
ENTRIES = (
    *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
    "606162636465666768696a6b6c6d6e6f",
)
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
# (index, size): path, and (size, size): path, as those implementations publish them.
INCLUSION = {
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
CONSISTENCY = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
LEAVES = [tree.leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]


def test_published_roots() -> None:
    assert [tree.root_of(LEAVES[: size + 1]).hex() for size in range(8)] == list(ROOTS)


@pytest.mark.parametrize(("where", "path"), INCLUSION.items())
def test_published_inclusion_proofs(where: tuple[int, int], path: tuple[str, ...]) -> None:
    index, size = where
    ours = tree.inclusion_path(LEAVES, index, size)
    assert tuple(node.hex() for node in ours) == path
    proof.verify_inclusion(LEAVES[index], index, size, ours, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("sizes", "path"), CONSISTENCY.items())
def test_published_consistency_proofs(sizes: tuple[int, int], path: tuple[str, ...]) -> None:
    old, new = sizes
    ours = tree.consistency_path(LEAVES, old, new)
    assert tuple(node.hex() for node in ours) == path
    roots = [bytes.fromhex(ROOTS[size - 1]) for size in sizes]
    proof.verify_consistency(old, roots[0], new, roots[1], ours)


# The example of the documentation of Go's sumdb/note, which signed-note specifies.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)
# The example checkpoint of C2SP's tlog specifications, with two signatures.
C2SP = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5"
    "/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks"
    "+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n"
)
# signed-note, "Verifier keys": name, key and id of its worked example.
FOO_KEY = "e932791ae6e7a840a46164c904786426d5e7821dd8b29a00d61cae72afdd4da4"


def test_the_published_note_verifies() -> None:
    key = note.parse_key(PETER)
    body, signatures = note.split(f"{PETER_TEXT}\n{PETER_LINE}")
    assert body == PETER_TEXT
    key.verify(body, signatures)
    with pytest.raises(Unverified):
        key.verify(body.replace("answer", "solution"), signatures)


def test_no_part_of_a_published_key_is_a_key() -> None:
    for begin in range(len(PETER)):
        for end in range(begin + 1, len(PETER) + 1):
            if (begin, end) != (0, len(PETER)):
                with pytest.raises(Malformed):
                    note.parse_key(PETER[begin:end])


# The worked example of C2SP signed-note, whose key has the id of the specification's text.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n"
    "\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFX"
    "mRKuwHjG1Yu72IneyaQM=\n"
)


def test_the_worked_example_of_signed_note_verifies() -> None:
    body, signatures = note.split(FOO_NOTE)
    note.parse_key(FOO).verify(body, signatures)
    with pytest.raises(Unverified):
        note.parse_key(FOO).verify(body.replace("e", "f", 1), signatures)


# A staging log of Certificate Transparency as it was served, cosigned by witnesses; the keys of the
# log and of one witness are published. One line is by a key of a type that a note key has not.
CT_LOG = "arche2025h1.staging.ct.transparency.dev"
CT_KEY = f"{CT_LOG}+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
CT_WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
CT_CHECKPOINT = (
    f"{CT_LOG}\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
    f"\u2014 {CT_LOG} zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtE"
    "roeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=\n"
    f"\u2014 {CT_LOG} ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23"
    "oHP7Ry1k3ZFWwQ=\n"
    "\u2014 transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTz"
    "wZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n"
    "\u2014 remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobW"
    "X9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n"
)


def test_a_real_logs_checkpoint_and_its_witnesss_cosignature_verify() -> None:
    got = note.parse(CT_CHECKPOINT)
    assert got.text() == CT_CHECKPOINT
    assert got.verify(note.parse_key(CT_KEY)).size == 1432088532
    witness = cosignature.parse_key(CT_WITNESS)
    assert witness.verify(got.body(), got.signatures) == 1779573024
    for changed in (got.body().replace("1432088532", "1432088533"), got.body() + "more\n"):
        with pytest.raises(Unverified):
            witness.verify(changed, got.signatures)


def test_published_key_ids() -> None:
    assert note.parse_key(PETER).key_id.hex() == "c74f20a3"
    foo = note.NoteKey("example.com/foo", keys.from_raw(keys.EDDSA, bytes.fromhex(FOO_KEY)))
    assert foo.key_id.hex() == "530d903a"
    assert note.parse_key(foo.text()) == foo


def test_the_example_checkpoint_of_c2sp_is_read() -> None:
    got = note.parse(C2SP)
    assert got.text() == C2SP
    assert (got.origin, got.size) == ("example.com/behind-the-sofa", 20852163)
    ids = [key_id.hex() for _, key_id, _ in got.signatures]
    assert ids == ["033de0ae", "a292ea05"]
    # Its keys are not published, so only its form can be checked.
    with pytest.raises(Unverified) as refused:
        got.verify(note.parse_key(PETER))
    assert refused.value.reason == "wrong-key"


# The example of C2SP tlog-cosignature: a checkpoint with a cosignature of its time.
COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5"
    "/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dl"
    "rDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
# The example request and answer of C2SP tlog-witness.
REQUEST = (
    "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
    "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
    "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n"
) + C2SP
ANSWER = (
    "\u2014 witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTS"
    "vVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==\n"
    "\u2014 witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt6"
    "4vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==\n"
    "\u2014 witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrK"
    "bYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==\n"
)


def test_the_example_cosignature_of_c2sp_is_read_as_its_message_says() -> None:
    got = note.parse(COSIGNED)
    assert got.text() == COSIGNED
    signature = got.signatures[1][2]
    assert len(signature) == cosignature.TIME_SIZE + cosignature.SIGNATURE_SIZE
    time_s = int.from_bytes(signature[: cosignature.TIME_SIZE], "big")
    assert cosignature.signed_message(got.body(), time_s).decode() == (
        "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_the_example_request_and_answer_of_c2sp_are_read() -> None:
    request = addcheckpoint.parse(REQUEST.encode())
    assert (request.old, len(request.proof), request.note.size) == (20852014, 4, 20852163)
    assert request.encode() == REQUEST.encode()
    assert cosignature.lines(cosignature.parse_lines(ANSWER)) == ANSWER
