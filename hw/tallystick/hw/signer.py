"""Signers: whatever holds a private key, named by a URI such as `file:/etc/tally/device.key`."""

# Split-phase, since a chip may take 0.7 s a signature and a control loop must not wait for it:
# begin(message), poll() until True, signature().

from tallystick.evidence.errors import KeyDriverError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.evidence.keys import PublicKey
    from tallystick.hw.counter import Counter

    # Asked for a passphrase or PIN with what it is for; gives None where there is none.
    Secrets = Callable[[str], "str | None"]

# Scheme -> module with open_signer(rest, secrets) and create_signer(rest, alg, secrets), where
# `rest` is the URI without its scheme; imported when it is used.
DRIVERS = {
    "atecc608": "tallystick.hw.atecc608",
    "file": "tallystick.hw.file_key",
    "pkcs11": "tallystick.hw.pkcs11",
    "tpm2": "tallystick.hw.tpm2",
}


def driver(uri: str) -> "tuple[Any, str]":
    """(the driver's module, the rest of `uri`); KeyDriverError for a scheme that we do not know."""
    scheme, colon, rest = uri.partition(":")
    module = DRIVERS.get(scheme)
    if not colon or not rest or not module:
        known = ", ".join(sorted(DRIVERS))
        raise KeyDriverError("bad-key-uri", "a key's URI is SCHEME:NAME; schemes: " + known)
    return __import__(module, None, None, ("open_signer",)), rest


class Signer:
    """One private key; a driver gives it a body."""

    alg = 0  # -7 ES256 or -8 EdDSA
    custody = ""  # software, pkcs11, tpm or secure-element (docs/protocol.md, section 5.1)
    # Where poll() works itself 0; else hardware does, and so many milliseconds after a False is
    # soon enough to poll again.
    waits = 0

    @staticmethod
    def from_uri(uri: str, secrets: "Secrets | None" = None) -> "Signer":
        """The signer that `uri` names; KeyDriverError when there is none."""
        module, rest = driver(uri)
        signer: Signer = module.open_signer(rest, secrets)
        return signer

    @staticmethod
    def create(uri: str, alg: "int | None" = None, secrets: "Secrets | None" = None) -> "Signer":
        """A new key where `uri` says, never over another; `alg` None: the driver's own."""
        module, rest = driver(uri)
        signer: Signer = module.create_signer(rest, alg, secrets)
        return signer

    def public_key(self) -> "PublicKey":
        """The public half."""
        raise self._refused("no-key", "has no key")

    def begin(self, message: bytes) -> None:
        """Start to sign; one signature at a time."""
        raise self._refused("cannot-sign", "cannot sign %d bytes" % len(message))

    def poll(self) -> bool:
        """A bounded piece of work; True when signature() has it."""
        raise self._refused("not-signing", "signs nothing")

    def signature(self) -> bytes:
        """64 bytes, r || s with low s, or R || S; once for each begin()."""
        raise self._refused("not-ready", "has no signature ready")

    def sign(self, message: bytes) -> bytes:
        """begin, poll and signature in one; blocks."""
        self.begin(message)
        while not self.poll():
            pass
        return self.signature()

    def verifier(self, key: "PublicKey", signature: bytes, message: bytes) -> "Any":  # noqa: ARG002  # a driver may
        """Another's signature checked in the hardware, as PublicKey.verifier: step() until True.

        None where the hardware cannot; then the caller uses key.verifier().
        """
        return None

    def counter(self) -> "Counter | None":
        """The hardware's monotonic counter, or None where it has none."""
        return None

    def evidence(self, context: bytes) -> "list[list[Any]]":  # noqa: ARG002  # a driver may
        """Custody evidence, [type, bytes] each (docs/protocol.md, 5.3); empty for a software key.

        context: 32 bytes that attested evidence is bound to (enrolment.custody_context).
        """
        return []

    def self_test(self) -> "list[str]":
        """What was tried and works, a sentence each; KeyDriverError says what does not."""
        message = b"tallystick self-test"
        self.public_key().verify(self.sign(message), message)
        return ["signs, and the public key verifies it"]

    def close(self) -> None:
        """Give bus, session or handle back."""

    def _refused(self, reason: str, what: str) -> KeyDriverError:
        return KeyDriverError(reason, "the %s key %s" % (self.custody, what))
