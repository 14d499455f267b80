# CPython only
"""Which peer files are in force, of those that lie in a folder (docs/protocol.md, 5.6)."""

# Pure: bytes and times come in, a plan comes out; validators and gateways read and act.

from collections.abc import Mapping

from tallystick.evidence import peerfile
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import POLICY_ROOTS_MAX
from tallystick.evidence.peerfile import VerifiedPeerFile

FILES_MAX = 64
SOON_S = 30 * 86_400  # an end that is so near is told


class Plan:
    """files: the good ones by peer's name, in force or not yet; wrong: why, by file name."""

    def __init__(self, files: dict[str, VerifiedPeerFile], wrong: dict[str, str]) -> None:
        self.files = files
        self.wrong = wrong

    def marks(self, at_s: int) -> dict[str, tuple[bytes, bool]]:
        """What must be equal for nothing to have changed; time alone changes it too."""
        return {name: (file.digest, is_valid(file, at_s)) for name, file in self.files.items()}

    def valid(self, at_s: int) -> list[VerifiedPeerFile]:
        """Those in force at this time, by name."""
        return [file for _, file in sorted(self.files.items()) if is_valid(file, at_s)]

    def roots(
        self, configured: Mapping[str, PublicKey], at_s: int
    ) -> tuple[dict[str, PublicKey], dict[str, bytes]]:
        """All roots that are accepted, and the digest of the file for those that one brought."""
        roots = dict(configured)
        by: dict[str, bytes] = {}
        for file in self.valid(at_s):
            for name, key in file.roots:
                if name not in roots:
                    roots[name] = key
                    by[name] = file.digest
        return roots, by


def is_valid(file: VerifiedPeerFile, at_s: int) -> bool:
    """Whether it is within its validity."""
    first, last = file.validity
    return bool(first <= at_s <= last)


def state(file: VerifiedPeerFile, at_s: int) -> str:
    """in-force, expires-soon, expired or not-yet."""
    first, last = file.validity
    if at_s > last:
        return "expired"
    if at_s < first:
        return "not-yet"
    return "expires-soon" if last - at_s < SOON_S else "in-force"


class Decider:
    """Decides on a folder's files, next to those that were in force; verifies each once."""

    def __init__(self, configured: Mapping[str, PublicKey]) -> None:
        self._configured = dict(configured)
        self._verified: dict[bytes, VerifiedPeerFile | str] = {}

    def decide(
        self, found: Mapping[str, bytes | str], known: Mapping[str, VerifiedPeerFile]
    ) -> Plan:
        """found: file name -> its bytes, or why it could not be read; known: by peer's name.

        A file that is wrong changes nothing: what was known of its peer stays. A peer without a
        file is removed.
        """
        plan = Plan({}, {})
        names = sorted(found)
        for name in names[FILES_MAX:]:
            plan.wrong[name] = "only the first %d files are read" % FILES_MAX
        seen: dict[bytes, VerifiedPeerFile | str] = {}
        for name in names[:FILES_MAX]:
            peer = name[: -len(peerfile.SUFFIX)]
            data = found[name]
            file: VerifiedPeerFile | str = data if isinstance(data, str) else self._read(data, seen)
            before = known.get(peer)
            if not isinstance(file, str):
                why = self._against(file, peer, before, plan)
                file = file if why is None else why
            if not isinstance(file, str):
                plan.files[peer] = file
                continue
            plan.wrong[name] = file
            if before is not None:
                plan.files[peer] = before
        self._verified = seen
        return plan

    def _read(
        self, data: bytes, seen: dict[bytes, VerifiedPeerFile | str]
    ) -> VerifiedPeerFile | str:
        digest = sha256(data)
        file = self._verified.get(digest)
        if file is None:
            try:
                file = peerfile.parse(data).verify()
            except TallyError as error:
                file = "%s (%s)" % (error.message, error.reason)
        seen[digest] = file
        return file

    def _against(
        self, file: VerifiedPeerFile, peer: str, known: VerifiedPeerFile | None, plan: Plan
    ) -> str | None:
        name = file.roots[0][0]
        if peer != name:
            return "it is the file of %s: name it %s" % (name, peerfile.file_name(name))
        why = None if known is None else refused_renewal(file, known)
        if why is not None:
            return why
        others = [dict(other.roots) for other in plan.files.values()]
        names = {root for roots in (self._configured, *others, dict(file.roots)) for root in roots}
        if len(names) > POLICY_ROOTS_MAX:
            return "with it more than %d roots are accepted (too-large)" % POLICY_ROOTS_MAX
        for root, key in file.roots:
            for roots in (self._configured, *others):
                if roots.get(root, key) != key:
                    return "%s is known with another key (wrong-key)" % root
        return None


def refused_renewal(file: VerifiedPeerFile, known: VerifiedPeerFile) -> str | None:
    """Why a file does not follow the one that is known of its peer; None when it does."""
    if file.digest == known.digest:
        return None
    if file.root != known.root:
        return "it is by another key than before: remove the peer first (wrong-key)"
    if file.made_ms <= known.made_ms:
        return "it is not newer than the one that is known (replayed)"
    return None
