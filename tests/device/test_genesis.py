"""The first entry of a validator's log (docs/protocol.md, section 6.3)."""

from _signing import Signer, refused
from tallystick.evidence import genesis, note

KEYS = {
    "o": "c86d01ad8b2fb694b22ff60e3c9d9e7ed90db5604772b74450d40913b9a9cbaf",
    "v": "b5f90095318f3f044cd8e40b584253d86777be62bf07221334e5fd2199cfa7f7",
}
SIGNATURES = {
    "35994e19": "74713fc3225061db0b1878b2e6547c8aadad016ed88800e19a2c788777216c54"
    "55a9f7a9bdb3ec18f961d07cb4b646b345960ce5fb136f44de1b1627017ed401",
}


def test_a_genesis_is_signed_and_verified() -> None:
    signer = Signer("v", KEYS, SIGNATURES)
    key = signer.public_key()
    note_key = note.NoteKey("log.example", key)
    made = genesis.Genesis("initech", "log.example", key, note_key, {"k": 2}, 5)
    data = made.sign(signer, "initech", key.thumbprint())
    got = genesis.parse(data).verify(key)
    assert got.receipt_key == key and got.note_key == note_key
    assert (got.name, got.origin) == ("initech", "log.example")
    assert (got.policy, got.time_ms) == ({"k": 2}, 5)
    assert refused(genesis.parse, data[:-1]) == "truncated"
    other = note.NoteKey("log.example", Signer("o", KEYS, SIGNATURES).public_key())
    again = genesis.Genesis("initech", "log.example", key, other, {"k": 2}, 5)
    assert again.payload() != made.payload()
