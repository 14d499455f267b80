"""A real PKCS#11 token of one's own, in software: SoftHSM, for the tests, the bench, the replay.

SoftHSM reads where its tokens are from the environment when it starts, so a process has one folder
of them at a time; a token that is pulled or put back is seen when the library is started anew.
"""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

from tallystick.tools._cache import ToolMissing

# Where distributions put the library: Debian and Ubuntu, Fedora, Arch, others.
LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
CONFIG_VARIABLE = "SOFTHSM2_CONF"
SO_PIN = "security-officer"
TIMEOUT_S = 120


def find() -> tuple[str, str]:
    """(the program softhsm2-util, the library).

    :raises ToolMissing: one of them, or python-pkcs11, is not installed.
    """
    program = shutil.which("softhsm2-util")
    library = next((path for path in LIBRARIES if Path(path).is_file()), None)
    if program is None or library is None:
        message = "SoftHSM is not installed; install the package softhsm2"
        raise ToolMissing("no-softhsm", message)
    try:
        import pkcs11  # noqa: F401, PLC0415 - an extra
    except ImportError:
        message = "python-pkcs11 is not installed: pip install 'tallystick[pkcs11]'"
        raise ToolMissing("no-softhsm", message) from None
    return program, library


class SoftHsm:
    """Tokens in a folder; whoever uses them has `environment` in its own."""

    def __init__(self, folder: Path) -> None:
        self.program, self.library = find()
        self.folder = folder
        self.tokens = folder / "tokens"
        self._away = folder / "tokens.away"
        self.config = folder / "softhsm2.conf"
        self.tokens.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find these tokens."""
        return {CONFIG_VARIABLE: str(self.config)}

    def make(self, label: str, pin: str) -> None:
        """Make a token."""
        self._run("--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", SO_PIN)

    def pull(self) -> None:
        """Take the tokens away."""
        self.tokens.rename(self._away)
        self.tokens.mkdir()

    def put_back(self) -> None:
        """Bring the tokens that were pulled back, instead of those that are there."""
        shutil.rmtree(self.tokens)
        self._away.rename(self.tokens)

    def uri(self, token: str, key: str, pin_file: Path | None = None) -> str:
        """A key's URI."""
        query = f"module-path={self.library}"
        if pin_file is not None:
            query += f"&pin-source=file:{quote(str(pin_file))}"
        return f"pkcs11:token={quote(token, safe='')};object={quote(key, safe='')}?{query}"

    def _run(self, *arguments: str) -> None:
        # A PIN stands in the arguments, for others on this machine to see: it guards nothing here.
        subprocess.run(
            [self.program, *arguments],
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
