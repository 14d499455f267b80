"""Log checkpoints as signed notes (docs/protocol.md, section 6.3)."""

from _signing import Signer, refused
from tallystick.evidence import note

KEYS = {
    "k": "8320a51977d8c38ca8a4927c670df5821e449761945e15e9efb26a1509d230ea",
}
SIGNATURES = {
    "16f8e54e": "42ac195c3fe9a0dcafa536dd05c0efab7cfc5b6c4f2ce9452837207ea77bb857"
    "54d9e0b82d7f1bfe345ded5ceb4f089333a69b471cb23d865feaa42fddd9cd07",
}
# The example of the signed-note documentation.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)
ORIGIN = "log.example"
ROOT = bytes(range(32))
LINE = "\u2014 log.example AAAAAAA=\n"
GOOD = "log.example\n12\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n" + LINE


def test_the_published_note_verifies() -> None:
    key = note.parse_key(PETER)
    assert key.text() == PETER
    key.verify(*note.split(PETER_NOTE))
    body, signatures = note.split(PETER_NOTE)
    assert note.join(body, signatures) == PETER_NOTE
    assert refused(key.verify, body + "x\n", signatures) == "bad-signature"


def test_a_checkpoint_is_signed_and_verified() -> None:
    signer = Signer("k", KEYS, SIGNATURES)
    signed = note.Note(ORIGIN, 12, ROOT, []).sign(signer, ORIGIN)
    key = note.NoteKey(ORIGIN, signer.public_key())
    again = note.parse(signed.text())
    assert again == signed and note.parse_key(key.text()) == key
    verified = again.verify(key)
    assert (verified.origin, verified.size, verified.root) == (ORIGIN, 12, ROOT)
    assert refused(again.verify, note.NoteKey("other", signer.public_key())) == "wrong-key"


def test_two_texts_never_mean_one_checkpoint() -> None:
    parsed = note.parse(GOOD)
    assert (parsed.origin, parsed.size, parsed.root) == (ORIGIN, 12, ROOT)
    assert parsed.text() == GOOD
    for changed, reason in (
        (GOOD.replace("12", "012"), "bad-number"),
        (GOOD.replace("12", "1_2"), "bad-number"),
        (GOOD.replace("12", "+12"), "bad-number"),
        (GOOD.replace("12", " 12"), "bad-number"),
        (GOOD.replace("12", "9223372036854775808"), "bad-number"),
        (GOOD.replace("12", "9" * 30), "bad-number"),
        (GOOD.replace("Hh8=", "Hh9="), "non-canonical"),
        (GOOD.replace("Hh8=", "Hh8"), "bad-value"),
        (GOOD.replace("AAEC", "AA EC"), "bad-value"),
        (GOOD.replace("AAEC", ""), "bad-value"),
        (GOOD.replace("AAEC", "AA-C"), "bad-value"),
        (GOOD.replace("Hh8=", "H==="), "bad-value"),
        (GOOD.replace("AAECAwQF", "AAECAw=="), "bad-value"),
        (GOOD.replace("\n\n", "\nextension\n\n"), "bad-value"),
        (GOOD.replace("\n", "\r\n"), "bad-value"),
        (GOOD.replace("\n\n", "\n"), "truncated"),
        (GOOD[:-1], "truncated"),
        (GOOD + LINE, "duplicate-key"),
        (GOOD.replace("\u2014 ", "- "), "bad-value"),
        (GOOD.replace("AAAAAAA=", "AAAAAA=="), "truncated"),
        ("\n" + GOOD[12:], "bad-value"),
    ):
        assert refused(note.parse, changed) == reason, (changed, reason)


def test_names_hide_nothing() -> None:
    for name in ("", "a b", "a+b", "a\u00a0b", "a\u2003b", "a\x7fb", "a\tb"):
        assert refused(note.check_name, name) == "bad-value"
    note.check_name("log.example/\u00e9")


def test_keys_have_one_text() -> None:
    for changed, reason in (
        (PETER.replace("c74f20a3", "c74f20a4"), "bad-key"),
        (PETER.replace("c74f20a3", "C74F20A3"), "bad-key"),
        (PETER.replace("ARpc", "BBpc"), "bad-key"),
        (PETER[:-4], "bad-key"),
        (PETER[: PETER.rfind("+")], "truncated"),
        (PETER.replace("PeterNeumann", ""), "bad-value"),
    ):
        assert refused(note.parse_key, changed) == reason, changed
