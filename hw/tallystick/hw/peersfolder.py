# CPython only
"""The folder of imported peer files, as gateways and validators watch it (docs/protocol.md, 5.6).

Here only because both of them may import this room and neither the other; what a folder's content
means is decided in `tallystick.evidence.peercircle`, and each service acts on it by itself.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tallystick.evidence import peercircle, peerfile
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import PEER_FILE_BYTES_MAX
from tallystick.evidence.peercircle import Decider, Plan
from tallystick.evidence.peerfile import VerifiedPeerFile


class PeersFolder:
    """What the folder says, next to `plan`, which is in force; for one thread at a time."""

    def __init__(
        self,
        folder: Path | None,
        configured: Mapping[str, PublicKey],
        warn: Callable[[str, str], None],
    ) -> None:
        """configured: roots that no file replaces; warn: told a wrong file's name and why, once."""
        self._folder = folder
        self._decider = Decider(configured)
        self._warn = warn
        self._applied: dict[str, tuple[bytes, bool]] = {}
        self.plan = Plan({}, {})
        self.wrong: dict[str, str] = {}

    def configure(self, configured: Mapping[str, PublicKey]) -> None:
        """Other roots are configured now; what the folder says is decided anew at the next look."""
        self._decider = Decider(configured)
        self._applied = {}

    def restore(self, rows: Mapping[str, bytes]) -> None:
        """At the start: the files that the store says were in force, by peer's name."""
        files = {name: peerfile.parse(data).verify() for name, data in rows.items()}
        self.plan = Plan(files, {})

    def look(self, now_s: int) -> Plan | None:
        """What the folder says, where that is another thing than what is in force."""
        plan = self._read()
        for name in sorted(plan.wrong):
            if self.wrong.get(name) != plan.wrong[name]:
                self._warn(name, plan.wrong[name])
        self.wrong = plan.wrong
        return plan if plan.marks(now_s) != self._applied else None

    def _read(self) -> Plan:
        if self._folder is None:
            return Plan({}, {})
        known = self.plan.files
        try:
            found = read_folder(self._folder)
        except OSError as error:
            # Not the same as an empty one: a disk that is away removes nobody.
            why = f"{error.strerror}; what was in force stays"
            return Plan(dict(known), {self._folder.name: why} if known else {})
        return self._decider.decide(found, known)

    def applied(self, plan: Plan, now_s: int) -> dict[str, bool]:
        """`plan` is in force from now on; whose file came (True) or went (False)."""
        moved = {name: name in plan.files for name in set(self.plan.files) ^ set(plan.files)}
        self.plan = plan
        self._applied = plan.marks(now_s)
        return dict(sorted(moved.items()))

    def states(
        self, now_s: int
    ) -> tuple[list[tuple[str, VerifiedPeerFile, str, str | None]], dict[str, str]]:
        """For a status: each peer's name, file, state and problem; then wrong files of nobody."""
        wrong = dict(self.wrong)
        found = [
            (name, file, peercircle.state(file, now_s), wrong.pop(peerfile.file_name(name), None))
            for name, file in sorted(self.plan.files.items())
        ]
        return found, wrong


def read_folder(folder: Path) -> dict[str, bytes | str]:
    """File name -> bytes, or why it could not be read; OSError where there is no folder."""
    found: dict[str, bytes | str] = {}
    names = sorted(path.name for path in folder.iterdir() if path.suffix == peerfile.SUFFIX)
    for name in names[: peercircle.FILES_MAX + 1]:
        try:
            with (folder / name).open("rb") as file:
                found[name] = file.read(PEER_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            continue  # removed while we looked
        except OSError as error:
            found[name] = str(error.strerror)
    return found


def become(roots: dict[str, PublicKey], wanted: Mapping[str, PublicKey]) -> None:
    """Change roots that others hold by reference, so that no reader ever sees one too few."""
    # In this order a reader beside the writer sees a root too many for a moment.
    roots.update(wanted)
    for name in set(roots) - set(wanted):
        del roots[name]
