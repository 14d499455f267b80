"""Who is known: credentials from the enrolments folder and from devices' hellos. Pure."""

from collections.abc import Callable

from tallystick.evidence import enrolment as enrolments
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.gateway.decisions import Learned
from tallystick.gateway.limits import IDENTITIES_CACHED_MAX
from tallystick.gateway.pace import Bounded
from tallystick.gateway.view import View


class Identities:
    """Verified identities of devices, read from the view when they are needed."""

    def __init__(self, view: View, roots: dict[str, PublicKey]) -> None:
        self._view = view
        self._roots = roots
        # Hears of every identity that is read or learned.
        self.on_known: Callable[[Identity], None] = lambda _: None
        self._cache: Bounded[bytes, Identity] = Bounded(IDENTITIES_CACHED_MAX)
        # Credentials that are in force, so that a repeated hello costs a comparison.
        self._digests: Bounded[bytes, bytes] = Bounded(IDENTITIES_CACHED_MAX)

    def reset(self) -> None:
        """Forget what was read: the store may say otherwise now."""
        self._cache.clear()
        self._digests.clear()

    def find(self, device: bytes) -> Identity | None:
        """A known device; None when nothing of it is stored, or its root is pinned no more."""
        found = self._cache.get(device)
        if found is None:
            statements = self._view.credential(device)
            if statements is None:
                return None
            known = Credential(statements)
            try:
                found = verify_credential(known, self._roots)
            except Unverified:
                return None
            self._keep(found, known)
        return found

    def current(self, device: bytes, now_s: int) -> Identity:
        """As find; Unverified("unknown-device") or ("expired") instead of None."""
        found = self.find(device)
        if found is None:
            raise Unverified("unknown-device", "no enrolment of this device is known here")
        found.enrolment.check_time(now_s)
        return found

    def same(self, device: bytes, credential: Credential) -> bool:
        """Whether a credential is the one that is in force, byte for byte."""
        self.find(device)
        return self._digests.get(device) == sha256(credential.encode())

    def learn(self, credential: Credential, expected: bytes | None, now_s: int) -> Learned | None:
        """Verify a device's credential; None when a known one says at least as much.

        `expected` is the device that it must be of, where that is known.

        Unverified: not-enrolled, wrong-device, already-enrolled, expired, no-possession and what
        else a credential is refused for.
        """
        device = enrolments.parse(credential.statements[0]).device
        if expected is not None and device != expected:
            raise Unverified("wrong-device", "the credential is another device's")
        fresh = verify_credential(credential, self._roots, now_s)
        if fresh.subject != enrolments.SUBJECT_DEVICE:
            raise Unverified("not-enrolled", "the enrolment is not a device's")
        known = self.find(device)
        if known is not None:
            if known.iss != fresh.iss:
                raise Unverified(
                    "already-enrolled", f"the device is enrolled by {known.iss}, not {fresh.iss}"
                )
            if not _says_more(fresh, known):
                return None
        thumbprints = tuple(period.key.thumbprint() for period in fresh.keys)
        for thumbprint in thumbprints:
            owner = self._view.key_owner(thumbprint)
            if owner is not None and owner != device:
                raise Unverified("already-enrolled", "the key is another device's already")
        self._keep(fresh, credential)
        return Learned(
            device, fresh.iss, credential.encode(), sha256(credential.encode()), thumbprints
        )

    def _keep(self, identity: Identity, credential: Credential) -> None:
        self._cache.put(identity.id, identity)
        self.on_known(identity)
        self._digests.put(identity.id, sha256(credential.encode()))


def _says_more(fresh: Identity, known: Identity) -> bool:
    # A renewed enrolment replaces an older one; a longer chain of key changes replaces its prefix.
    # Otherwise an old hello, replayed, would undo a revocation.
    if fresh.digests[0] == known.digests[0]:
        return len(fresh.digests) > len(known.digests)
    renewed = fresh.enrolment.validity[1] > known.enrolment.validity[1]
    return renewed and len(fresh.digests) >= len(known.digests)
