"""A key file that is not exactly what create() wrote is refused by KeyDriverError."""

import tempfile
from pathlib import Path

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import file_key
from tallystick.hw.signer import Signer

_FOLDER = tempfile.TemporaryDirectory()
_PATH = Path(_FOLDER.name) / "fuzzed.key"


def _written() -> bytes:
    path = Path(_FOLDER.name) / "made.key"
    Signer.create(f"file:{path}")
    return path.read_bytes()


_GOOD = _written()
SEEDS = (_GOOD,)


def target(data: bytes) -> None:
    _PATH.write_bytes(data)
    _PATH.chmod(0o600)
    try:
        file_key.open_signer(str(_PATH))
    except KeyDriverError:
        return
    assert data == _GOOD
