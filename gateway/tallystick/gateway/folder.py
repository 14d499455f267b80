"""The enrolments folder: credentials of devices, read again when something in it changed."""

from pathlib import Path

import structlog

from tallystick.evidence.errors import TallyError
from tallystick.gateway import limits
from tallystick.gateway.validatorconfig import read_credential

_log = structlog.get_logger("tallystick.gateway.folder")


class Folder:
    """Remembers what it gave, so that `changed` gives what is new."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: dict[Path, tuple[int, int]] = {}

    def changed(self) -> list[list[bytes]]:
        """The credentials of files that are new or changed; a bad file is logged and skipped."""
        found = []
        for path in self._files():
            try:
                stat = path.stat()
                mark = (stat.st_mtime_ns, stat.st_size)
                if self._seen.get(path) == mark:
                    continue
                self._seen[path] = mark
                found.append(list(read_credential(path)))
            except (TallyError, OSError) as error:
                _log.warning("no credential", file=str(path), error=str(error))
        return found

    def _files(self) -> list[Path]:
        if self._path is None or not self._path.is_dir():
            return []
        # Files of the folder, and of one level below: `tally fleet` keeps a folder a device.
        files = [
            path
            for pattern in ("*.cbor", "*/credential.cbor")
            for path in self._path.glob(pattern)
            if path.is_file()
        ]
        return sorted(files)[: limits.ENROLMENT_FILES_MAX]
