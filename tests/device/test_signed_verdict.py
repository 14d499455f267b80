"""Verdicts: signed findings (docs/protocol.md, section 6.5)."""

from _signing import Signer, refused
from tallystick.evidence import finding, verdict

KEYS = {
    "v": "b5f90095318f3f044cd8e40b584253d86777be62bf07221334e5fd2199cfa7f7",
    "w": "c853ad0f0cd2b619aea92ceec4fd56a24d6499d584ce79257e45cfd8139b60a7",
}
SIGNATURES = {
    "0df52c75": "2422537477359a918ec6c529640aa21863ce5452b746f986de1af14ef4d79157"
    "18ae779da8f8db863da6cb3901c500de72aa1cc8d842fa44979bcbfc4f9d1b0d",
    "377e5a87": "ad3ff179b75f408cd7778bb7697c6d0ab5bbe3f93f7847f0fa7cd0569867419a"
    "b2e3fcd8d1e56f93433fc13a094d895dddfc4006c61114b26ddd475ae6f6780e",
}
A, B, HASH, ID16 = b"a" * 32, b"b" * 32, b"h" * 32, b"i" * 16
PARTIES = {"giver": [A], "receiver": [B]}


def found(state: str = "matched") -> finding.Finding:
    claims = [finding.FindingClaim(A, A, "giver", "released", "active", 0)]
    return finding.Finding(HASH, "dock-3", ID16, PARTIES, HASH, state, [], [], claims, [])


def test_a_verdict_is_signed_and_verified() -> None:
    signer = Signer("v", KEYS, SIGNATURES)
    made = verdict.Verdict(found(), 12, None, [B, A], 5)
    data = made.sign(signer, "initech", made.subject())
    got = verdict.parse(data).verify(signer.public_key())
    assert got.encode() == data and got.finding == found()
    assert got.uninvited == [A, B] and got.size == 12
    assert (
        refused(verdict.parse(data).verify, Signer("w", KEYS, SIGNATURES).public_key())
        == "wrong-key"
    )
    other = made.sign(signer, "initech", "other")
    assert refused(verdict.parse, other) == "bad-header"
