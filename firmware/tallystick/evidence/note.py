"""Log checkpoints as signed notes (C2SP signed-note and tlog-checkpoint)."""

# origin, size and root, a blank line, then lines "— <name> <base64(key id || signature)>".  Every
# part has one spelling, because two texts must never mean one checkpoint.

import binascii

from tallystick.evidence._shape import utf8_size
from tallystick.evidence.digest import SHA256_SIZE, sha256
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import EDDSA, PublicKey, from_raw
from tallystick.evidence.limits import LOG_CHECKPOINT_BYTES_MAX, LOG_CHECKPOINT_SIGNATURES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence.statement import Signs

NOTE_SIZE_MAX = 2**63 - 1
NOTE_SIZE_DIGITS_MAX = 19
KEY_ID_SIZE = 4
ED25519_NOTE = 1  # signature type of a log's own key (signed-note, "Signature types")

_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_DASH = "\u2014 "
# What Unicode calls a space, beyond ASCII: a name must not hide one.
_SPACES = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"


def b64(data: bytes) -> str:
    """Standard base64 with padding, without a line end."""
    return binascii.b2a_base64(data)[:-1].decode()


def from_b64(text: str) -> bytes:
    """The bytes of exactly one base64 text; Malformed for any other spelling."""
    # Decoders skip foreign characters and stray bits, each in its own way.
    digits = text.rstrip("=")
    wrong = len(text) % 4 != 0 or len(text) - len(digits) > 2
    for char in digits:
        wrong = wrong or char not in _BASE64
    if wrong:
        raise Malformed("bad-value", "a note holds base64 that cannot be decoded")
    data = binascii.a2b_base64(text.encode())
    if b64(data) != text:
        raise Malformed("non-canonical", "a note holds base64 in another spelling")
    return data


def check_name(name: str) -> None:
    """Malformed unless a key name as signed-note allows it: no spaces, no plus sign."""
    utf8_size(name, "note key name")
    bad = not name or "+" in name
    for char in name:
        bad = (
            bad or char <= " " or char == "\x7f" or char in _SPACES or "\u2000" <= char <= "\u200a"
        )
    if bad:
        raise Malformed("bad-value", "a note's key name is empty or has a space or plus sign")


def _check_text(text: str) -> None:
    if type(text) is not str:
        raise Malformed("bad-type", "a note is text")
    if utf8_size(text, "note") > LOG_CHECKPOINT_BYTES_MAX:
        raise Malformed("too-large", "a note is longer than %d bytes" % LOG_CHECKPOINT_BYTES_MAX)
    for char in text:
        if char < " " and char != "\n":
            raise Malformed("bad-value", "a note has a control character")


def split(text: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """(signed text, [(key name, key id, signature)]) of any signed note."""
    _check_text(text)
    end = text.rfind("\n\n")
    if end < 0 or text[-1] != "\n":
        raise Malformed("truncated", "a note has no signature block after a blank line")
    lines = text[end + 2 : -1].split("\n")
    if len(lines) > LOG_CHECKPOINT_SIGNATURES_MAX:
        raise Malformed(
            "too-large", "a note has more than %d signatures" % LOG_CHECKPOINT_SIGNATURES_MAX
        )
    signatures = []
    seen = set()
    for line in lines:
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] + " " != _DASH:
            raise Malformed("bad-value", "a note's signature line must be '\u2014 name base64'")
        check_name(parts[1])
        data = from_b64(parts[2])
        if len(data) <= KEY_ID_SIZE:
            raise Malformed("truncated", "a note's signature is too short")
        key_id = data[:KEY_ID_SIZE]
        if (parts[1], key_id) in seen:
            raise Malformed("duplicate-key", "a note has two signatures of one key")
        seen.add((parts[1], key_id))
        signatures.append((parts[1], key_id, data[KEY_ID_SIZE:]))
    return text[: end + 1], signatures


def join(body: str, signatures: list[tuple[str, bytes, bytes]]) -> str:
    """The note whose parts `split` gives."""
    lines = [_DASH + name + " " + b64(key_id + sig) + "\n" for name, key_id, sig in signatures]
    return body + "\n" + "".join(lines)


class NoteKey:
    """An Ed25519 key with the name that it signs notes by."""

    def __init__(self, name: str, key: PublicKey) -> None:
        check_name(name)
        if key.alg != EDDSA:
            raise Malformed("wrong-alg", "a note key must be an Ed25519 key")
        self.name = name
        self.key = key
        self.key_id = sha256(name.encode() + b"\n" + bytes((ED25519_NOTE,)) + key.raw)[:KEY_ID_SIZE]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoteKey) and self.text() == other.text()

    def __hash__(self) -> int:
        return hash((self.name, self.key_id))

    def text(self) -> str:
        """The verifier key `name+hash+base64`."""
        raw = bytes((ED25519_NOTE,)) + self.key.raw
        return self.name + "+" + binascii.hexlify(self.key_id).decode() + "+" + b64(raw)

    def verify(self, body: str, signatures: list[tuple[str, bytes, bytes]]) -> None:
        """Unverified unless this key's signature is there and covers the body."""
        for name, key_id, signature in signatures:
            if name == self.name and key_id == self.key_id:
                if len(signature) != 64:
                    raise Unverified("bad-signature", "a note's signature is not 64 bytes")
                self.key.verify(signature, body.encode())
                return
        raise Unverified("wrong-key", "the note has no signature of the key %s" % self.name)


def parse_key(text: str) -> NoteKey:
    """The key of one verifier key text; Malformed for another spelling, type or hash."""
    if type(text) is not str or len(text) > 1024:
        raise Malformed("bad-type", "a note key is text of at most 1,024 characters")
    # Base64 may hold a plus sign, a name and a hash never do.
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise Malformed("truncated", "a note key must be name+hash+base64")
    raw = from_b64(parts[2])
    if len(raw) != 33 or raw[0] != ED25519_NOTE:
        raise Malformed("bad-key", "a note key must be an Ed25519 key of type 1")
    key = NoteKey(parts[0], from_raw(EDDSA, raw[1:]))
    if key.text() != text:
        raise Malformed("bad-key", "the hash in a note key is not that of its name and key")
    return key


class Note:
    """A checkpoint of a log: `origin`, `size`, `root` and (name, key id, signature) each."""

    def __init__(
        self, origin: str, size: int, root: bytes, signatures: list[tuple[str, bytes, bytes]]
    ) -> None:
        self.origin = origin
        self.size = size
        self.root = root
        self.signatures = signatures

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Note) and self.text() == other.text()

    def __hash__(self) -> int:
        return hash((self.origin, self.size, self.root))

    def body(self) -> str:
        """The signed text."""
        return "%s\n%d\n%s\n" % (self.origin, self.size, b64(self.root))

    def text(self) -> str:
        """The note with its signatures."""
        return join(self.body(), self.signatures)

    def sign(self, signer: "Signs", name: str) -> "Note":
        """A note with one more signature, by the signer's key under this name."""
        key = NoteKey(name, signer.public_key())
        signature = signer.sign(self.body().encode())
        signatures = self.signatures + [(name, key.key_id, signature)]
        # Parsed again, so that no note leaves here that a reader would refuse or read otherwise.
        return parse(Note(self.origin, self.size, self.root, signatures).text())

    def verify(self, key: NoteKey) -> "VerifiedNote":
        """Unverified unless the key's signature is there and right; others are not looked at."""
        key.verify(self.body(), self.signatures)
        return VerifiedNote(self, key)


class VerifiedNote(Note):
    """A note that `key` signed."""

    def __init__(self, note: Note, key: NoteKey) -> None:
        super().__init__(note.origin, note.size, note.root, note.signatures)
        self.key = key


def parse(text: str) -> Note:
    """The checkpoint in a signed note; Malformed for anything that text() would not write."""
    body, signatures = split(text)
    lines = body[:-1].split("\n")
    if len(lines) != 3 or not lines[0]:
        raise Malformed("bad-value", "a checkpoint note has an origin, a size and a root line")
    digits = lines[1]
    # int() also takes signs, spaces, underscores and other scripts' digits.
    if not 0 < len(digits) <= NOTE_SIZE_DIGITS_MAX or digits.strip("0123456789"):
        raise Malformed("bad-number", "a checkpoint's size is not a decimal number")
    size = int(digits)
    if str(size) != digits or size > NOTE_SIZE_MAX:
        raise Malformed("bad-number", "a checkpoint's size is not in its one spelling")
    root = from_b64(lines[2])
    if len(root) != SHA256_SIZE:
        raise Malformed("bad-value", "a checkpoint's root is not 32 bytes")
    return Note(lines[0], size, root, signatures)
