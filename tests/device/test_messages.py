"""Welcome, resend request, notarised, notice (docs/protocol.md, section 3.3)."""

from _made import EPOCH, refused
from tallystick.evidence import cbor, notarised, notice, resend, welcome
from tallystick.evidence.notarised import Notarised
from tallystick.evidence.notice import Notice
from tallystick.evidence.resend import Resend
from tallystick.evidence.welcome import Welcome


def test_welcome() -> None:
    for made in (Welcome(9, b"checkpoint", b"receipt"), Welcome(9, None, None)):
        got = welcome.parse(made.encode())
        assert got == made and got.encode() == cbor.encode([24, 9, made.checkpoint, made.custody])
    assert refused(Welcome, -1, None, None) == "bad-value"
    assert refused(Welcome, 9, b"", None) == "bad-value"
    assert refused(Welcome, 9, None, b"x" * 513) == "too-large"
    assert refused(welcome.parse, cbor.encode([24, 9, None, "text"])) == "bad-type"


def test_resend() -> None:
    for made in (Resend(EPOCH, 3, 7), Resend(EPOCH, 3, 3), Resend(EPOCH, 0, None)):
        got = resend.parse(made.encode())
        assert got == made and got.encode() == cbor.encode([16, EPOCH, made.from_, made.to])
    assert refused(Resend, EPOCH, 3, 2) == "bad-value"
    assert refused(Resend, b"short", 3, None) == "bad-value"
    assert refused(resend.parse, cbor.encode([16, EPOCH, 3])) == "bad-value"
    assert refused(resend.parse, cbor.encode([16, EPOCH, 3, "7"])) == "bad-type"


def test_notarised() -> None:
    made = Notarised(EPOCH, 7, b"receipt")
    got = notarised.parse(made.encode())
    assert got == made and got.encode() == cbor.encode([25, EPOCH, 7, b"receipt"])
    assert refused(Notarised, EPOCH, 7, b"") == "bad-value"
    assert refused(Notarised, EPOCH, 7, b"x" * 4097) == "too-large"
    assert refused(notarised.parse, made.encode()[:-1]) == "truncated"


def test_notice() -> None:
    for made in (Notice("no-history", EPOCH, 3), Notice("over-quota", None, None)):
        got = notice.parse(made.encode())
        assert got == made and got.encode() == cbor.encode(
            [26, made.reason, made.epoch, made.from_]
        )
    assert refused(Notice, "", None, None) == "bad-value"
    assert refused(Notice, "x" * 65, None, None) == "too-large"
    assert refused(Notice, "fork", b"short", None) == "bad-value"
    assert refused(notice.parse, cbor.encode([25, "fork", None, None])) == "unknown-kind"
