"""What an operator brings by file: invitations and answers in a folder, taken and removed.

Each file holds a CBOR array of statements, as the door takes it. Whoever can write into the folder
can hand in what the fleet root signed, and nothing else.
"""

from pathlib import Path

import structlog

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.gateway import limits
from tallystick.gateway.joinconfig import INBOX_SUFFIX
from tallystick.gateway.joins import Joins

REFUSED = ".refused"
_log = structlog.get_logger("tallystick.gateway.joininbox")


def statements(data: bytes) -> list[bytes]:
    """Of a file or a request's body; Malformed where it is anything else."""
    if len(data) > limits.JOIN_STATEMENTS_BYTES_MAX:
        raise Malformed("too-large", f"statements: over {limits.JOIN_STATEMENTS_BYTES_MAX} bytes")
    found = cbor.decode(data)
    if not isinstance(found, list) or not all(isinstance(item, bytes) for item in found):
        raise Malformed("bad-type", "statements: an array of byte strings")
    if not 1 <= len(found) <= limits.JOIN_STATEMENTS_MAX:
        raise Malformed("too-large", f"statements: 1 to {limits.JOIN_STATEMENTS_MAX} at once")
    return found


class JoinInbox:
    """`read` takes what lies there."""

    def __init__(self, folder: Path, joins: Joins) -> None:
        self._folder = folder
        self._joins = joins

    def read(self) -> int:
        """Take every file, remove it, and give the number of statements that were taken."""
        taken = 0
        try:
            paths = sorted(self._folder.glob(f"*{INBOX_SUFFIX}"))[: limits.JOIN_INBOX_FILES_MAX]
        except OSError as error:
            _log.warning("the join inbox cannot be read", error=str(error))
            return 0
        for path in paths:
            try:
                taken += self._take(path)
            except (TallyError, OSError) as error:
                _log.warning("no statements", file=str(path), error=str(error))
                self._set_aside(path)
        return taken

    def _take(self, path: Path) -> int:
        with path.open("rb") as file:
            data = file.read(limits.JOIN_STATEMENTS_BYTES_MAX + 1)
        refused = [reason for one in statements(data) if (reason := self._joins.take(one))]
        if refused:
            _log.warning("statements are refused", file=str(path), reasons=sorted(set(refused)))
        # Only now: what was taken is on disk, and taking it twice changes nothing.
        path.unlink()
        return len(statements(data)) - len(refused)

    def _set_aside(self, path: Path) -> None:
        try:
            path.rename(path.with_suffix(REFUSED))
        except OSError as error:
            _log.warning("it cannot be set aside", file=str(path), error=str(error))
