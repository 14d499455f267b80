"""Cosignatures on log checkpoints (C2SP tlog-cosignature, cosignature/v1; protocol, 6.3)."""

# CPython only

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import EDDSA, PublicKey, from_raw
from tallystick.evidence.note import KEY_ID_SIZE, NoteKey, b64, check_name, from_b64, split

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence.statement import Signs

Signature = tuple[str, bytes, bytes]  # name, key id, signature, as note.split gives them

ED25519_COSIGNATURE = 4  # signature type (signed-note, "Signature types")
TIME_SIZE = 8
SIGNATURE_SIZE = 64
TIME_S_MAX = 2**63 - 1
KEY_CHARS_MAX = 1024


class CosignerKey:
    """An Ed25519 key with the name that it cosigns by."""

    def __init__(self, name: str, key: PublicKey) -> None:
        check_name(name)
        if key.alg != EDDSA:
            raise Malformed("wrong-alg", "a cosigner key must be an Ed25519 key")
        self.name = name
        self.key = key
        typed = bytes((ED25519_COSIGNATURE,)) + key.raw
        self.key_id = sha256(name.encode() + b"\n" + typed)[:KEY_ID_SIZE]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CosignerKey) and self.text() == other.text()

    def __hash__(self) -> int:
        return hash((self.name, self.key_id))

    def __repr__(self) -> str:
        return f"CosignerKey({self.text()})"

    def text(self) -> str:
        """The verifier key `name+hash+base64`, of type 0x04."""
        raw = bytes((ED25519_COSIGNATURE,)) + self.key.raw
        return f"{self.name}+{self.key_id.hex()}+{b64(raw)}"

    def verify(self, body: str, signatures: list[Signature]) -> int:
        """The time, in seconds, of this key's cosignature on a checkpoint's body.

        Unverified("wrong-key") when there is none, ("bad-signature") when it is wrong.
        """
        for name, key_id, signature in signatures:
            if name == self.name and key_id == self.key_id:
                return self._verify(body, signature)
        raise Unverified("wrong-key", f"the checkpoint has no cosignature of {self.name}")

    def _verify(self, body: str, signature: bytes) -> int:
        if len(signature) != TIME_SIZE + SIGNATURE_SIZE:
            raise Unverified("bad-signature", "a cosignature is not a time and 64 bytes")
        time_s = int.from_bytes(signature[:TIME_SIZE], "big")
        if time_s > TIME_S_MAX:
            raise Unverified("bad-signature", "a cosignature's time is over 2^63-1")
        self.key.verify(signature[TIME_SIZE:], signed_message(body, time_s))
        return time_s


def signed_message(body: str, time_s: int) -> bytes:
    """What a cosigner signs: a header line, a time line, the checkpoint's body."""
    return f"cosignature/v1\ntime {time_s}\n{body}".encode()


def cosign(signer: "Signs", name: str, body: str, time_s: int) -> Signature:
    """The cosignature of the signer's key, under this name, on a checkpoint's body."""
    if type(time_s) is not int or not 0 <= time_s <= TIME_S_MAX:
        raise Malformed("bad-value", "a cosignature's time is 0 to 2^63-1 seconds")
    key = CosignerKey(name, signer.public_key())
    signature = signer.sign(signed_message(body, time_s))
    return name, key.key_id, time_s.to_bytes(TIME_SIZE, "big") + signature


def cosigner_of(note_key: NoteKey) -> CosignerKey:
    """The cosigner key of the validator with this note key: same name, same key, type 0x04."""
    return CosignerKey(note_key.name, note_key.key)


def parse_key(text: str) -> CosignerKey:
    """The key of one verifier key text; Malformed for another spelling, type or hash."""
    if type(text) is not str or len(text) > KEY_CHARS_MAX:
        raise Malformed("bad-type", "a cosigner key is text of at most 1,024 characters")
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise Malformed("truncated", "a cosigner key must be name+hash+base64")
    raw = from_b64(parts[2])
    if len(raw) != 33 or raw[0] != ED25519_COSIGNATURE:
        raise Malformed("bad-key", "a cosigner key must be an Ed25519 key of type 4")
    key = CosignerKey(parts[0], from_raw(EDDSA, raw[1:]))
    if key.text() != text:
        raise Malformed("bad-key", "the hash in a cosigner key is not that of its name and key")
    return key


def lines(signatures: list[Signature]) -> str:
    """Signature lines, as a witness answers them."""
    return "".join(f"\u2014 {name} {b64(key_id + sig)}\n" for name, key_id, sig in signatures)


def parse_lines(text: str) -> list[Signature]:
    """The signatures in a witness's answer; Malformed for anything that lines() would not write."""
    if type(text) is not str or not text.startswith("\u2014 "):
        raise Malformed("bad-value", "a witness's answer is not made of signature lines")
    body, signatures = split("\n\n" + text)
    if body != "\n":
        raise Malformed("bad-value", "a witness's answer has an empty line")
    return signatures
