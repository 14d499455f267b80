# CPython only
"""The TPM library, which is optional: imported before anything of it, for its setting."""

import os

from tallystick.evidence.errors import KeyDriverError

# It writes every refused command to standard error, before anybody can say what that means; we
# say it once, in words.  It reads this when it first has something to write.
os.environ.setdefault("TSS2_LOG", "all+none")


def require() -> None:
    """KeyDriverError("no-library") where it is not installed."""
    try:
        import tpm2_pytss  # noqa: F401, PLC0415  # loaded when it is used
    except ImportError as error:
        raise KeyDriverError(
            "no-library",
            "a TPM key needs the extra [tpm]: apt install libtss2-dev gcc python3-dev pkg-config, "
            "then pip install 'tallystick[tpm]' (%s)" % error,
        ) from None
