# CPython only
"""Where a service finds a PIN or passphrase: a private file, systemd's credentials, environment.

Nothing here prints, logs or keeps a secret; errors name the place and never the content.
"""

import os

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.signer import Signer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets

SECRET_BYTES_MAX = 256
# What every program of ours reads where nothing nearer is configured.
ENVIRONMENT = "TALLY_PIN"
# Set by systemd for a unit with LoadCredential= or SetCredential= (systemd.exec).
CREDENTIALS = "CREDENTIALS_DIRECTORY"


def read_secret(path: str, *, shared: bool = False) -> str:
    """The first line of a file that only its owner may read; KeyDriverError says what to do.

    shared: the folder keeps others out, so the file's own mode says nothing.
    """
    try:
        # Opened once and asked about what was opened: a file put there in between changes nothing.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077 and not shared:
                raise KeyDriverError("open-pin-file", path + ": others may read it; chmod 600 it")
            data = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise KeyDriverError("no-pin", "%s: cannot be read (%s)" % (path, said)) from None
    if len(data) > SECRET_BYTES_MAX:
        raise KeyDriverError("bad-pin", "%s: over %d bytes" % (path, SECRET_BYTES_MAX))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        # Not with its cause: that error carries the bytes.
        raise KeyDriverError("bad-pin", path + ": is not UTF-8 text") from None
    return plain(text[:-1] if text.endswith("\n") else text, path)


def plain(text: str, where: str) -> str:
    """The secret itself; KeyDriverError where it is empty or more than a line."""
    if not text or "\n" in text or "\r" in text or "\0" in text:
        raise KeyDriverError("bad-pin", where + ": holds no single line with a PIN or passphrase")
    if len(text.encode()) > SECRET_BYTES_MAX:
        raise KeyDriverError("bad-pin", "%s: over %d bytes" % (where, SECRET_BYTES_MAX))
    return text


def from_environment(name: str = ENVIRONMENT) -> "str | None":
    """What an environment variable holds, or None where it is not set."""
    text = os.environ.get(name)
    return None if text is None else plain(text, name)


def environment_without() -> "dict[str, str]":
    """The environment without secrets and the way to them, for a process that needs none."""
    return {
        name: text
        for name, text in os.environ.items()
        if name != CREDENTIALS and not (name.startswith("TALLY_") and name.endswith("PIN"))
    }


def service_secrets(setting: str, file: "str | None" = None) -> "Secrets":
    """Secrets for the key of a service's setting, such as `key` or `note_key`.

    Looked for when a driver asks, in this order: `file`; systemd's credential `<setting>_pin`;
    the environment's TALLY_<SETTING>_PIN; TALLY_PIN.
    """

    def ask(_what: str) -> "str | None":
        if file is not None:
            return read_secret(file)
        folder = os.environ.get(CREDENTIALS)
        if folder:
            path = os.path.join(folder, setting + "_pin")
            if os.path.exists(path):
                # systemd gives access by an access list, whose mask shows as the group's bits.
                return read_secret(path, shared=True)
        own = from_environment("TALLY_%s_PIN" % setting.upper())
        return own if own is not None else from_environment()

    return ask


def open_key(setting: str, uri: str, pin_file: "str | os.PathLike[str] | None" = None) -> Signer:
    """The key of a service's setting; KeyDriverError names the setting."""
    file = None if pin_file is None else os.fspath(pin_file)
    try:
        return Signer.from_uri(uri, service_secrets(setting, file))
    except KeyDriverError as error:
        raise KeyDriverError(error.reason, "%s: %s" % (setting, error.message)) from None
