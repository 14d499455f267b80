"""Signers: whatever holds a private key, named by a URI such as `file:/etc/tally/device.key`."""

# Split-phase, since a chip may take 0.7 s a signature and a control loop must not wait for it:
# begin(message), poll() until True, signature().

from tallystick.evidence.errors import KeyDriverError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.evidence.keys import PublicKey

    # Asked for a passphrase or PIN with what it is for; gives None where there is none.
    Secrets = Callable[[str], "str | None"]

# Scheme -> module with open_signer(rest of the URI, secrets); imported when it is used.
DRIVERS = {"file": "tallystick.hw.file_key"}


class Signer:
    """One private key; a driver gives it a body."""

    alg = 0  # -7 ES256 or -8 EdDSA
    custody = ""  # software, pkcs11, tpm or secure-element (docs/protocol.md, section 5.1)

    @staticmethod
    def from_uri(uri: str, secrets: "Secrets | None" = None) -> "Signer":
        """The signer that `uri` names; KeyDriverError when there is none."""
        scheme, colon, rest = uri.partition(":")
        module = DRIVERS.get(scheme)
        if not colon or not rest or not module:
            known = ", ".join(sorted(DRIVERS))
            raise KeyDriverError("bad-key-uri", "a key's URI is SCHEME:NAME; schemes: " + known)
        driver: "Any" = __import__(module, None, None, ("open_signer",))
        signer: Signer = driver.open_signer(rest, secrets)
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

    def counter(self) -> "Any":
        """The hardware's monotonic counter, or None where it has none."""
        return None

    def close(self) -> None:
        """Give bus, session or handle back."""

    def _refused(self, reason: str, what: str) -> KeyDriverError:
        return KeyDriverError(reason, "the %s key %s" % (self.custody, what))
