"""Verdicts: signed findings (docs/protocol.md, section 6.5)."""

from _signing import Signer, refused
from tallystick.evidence import finding, verdict

KEYS = {
    "v": "b5f90095318f3f044cd8e40b584253d86777be62bf07221334e5fd2199cfa7f7",
    "w": "c853ad0f0cd2b619aea92ceec4fd56a24d6499d584ce79257e45cfd8139b60a7",
}
SIGNATURES = {
    "913ca7bd": "c778ee249a514a2dc27e068e165c7ab78016a3b4f0e42a1095e63f885a1df602"
    "c7e31a00b13f2f2f4f3005b45c7c4ad3e37eaf18edc999722c90b47c9027970d",
    "a73ce72d": "8be981223da3cb1b2dc7916a0f5211150020cdf36de13c0ee7001ad48e39a3ab"
    "ea82c49abd589bf2ee600a1372f365ba5bd78f7c5b2df589fae9ea838d510a07",
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
