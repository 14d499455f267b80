"""Halves that name their credential by its digest (docs/protocol.md, section 4.2)."""

from _half import half_of
from _names import ISS
from _signing import Signer, refused
from tallystick.evidence import half
from tallystick.evidence.credential import Credential, Keyring, digests_of

KEYS = {
    "d": "2bc2800b3316e009209ffd757dab19ccf0ae84bc7ae90654e1e81712d270f653",
    "r": "5b6489c9c7fd0dcf50545e7c164886ef40491ec06c7f1b123041797e8117535e",
}
SIGNATURES = {
    "38088af1": "a8fb072fd72abc1815472f3826669fcd9a643aebfbd5984f6669bcef6d803fe6"
    "af2cf412ed73f0e746af0cfe6f51ef91c0f27b1562cc78eec6a7f8739145ba07",
    "831a62e1": "b3c33282b754b5b1abd649a0f397b998328b36b8e3a2a9c3ccfc77d7bc7f6b0b"
    "1164f97e32df3742bb24a0d97124cd6e45c6e74f9d66a73aebf99096a4780602",
    "b6442bf7": "d09d0c1b2a975bc3a4c300f003ee3e19517b6af0c0538dd651b9aa76edbcf382"
    "1f4f2c22742a4bb3026958969f0542d6eb70573bd57747294ce9931723249302",
}
KEY, ROOT = Signer("d", KEYS, SIGNATURES), Signer("r", KEYS, SIGNATURES)


def test_a_known_credential_is_named_by_its_digest() -> None:
    whole = half_of(KEY, ROOT)
    assert isinstance(whole.credential, list)
    digest = digests_of(Credential(whole.credential))[-1]
    named = half_of(KEY, ROOT, credential=digest)
    keyring, stranger = Keyring({ISS: ROOT.public_key()}), Keyring({ISS: ROOT.public_key()})
    # All is signed; the rest of the heap is for the checks.
    SIGNATURES.clear()
    first = half.verify_half(whole, keyring)
    reference = first.reference
    assert first.identity.digest == digest
    del first, whole
    assert half.verify_half(named, keyring).reference == reference
    assert refused(half.verify_half, named, stranger) == "unknown-device"
