# CPython only
# Needs an extra: tpm
"""What a TPM or the way to it answers, as KeyDriverError that says what to do."""

import errno
import os

from tpm2_pytss import TPM2_RC, TSS2_Exception

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import tpm2_library  # noqa: F401  # its setting comes before the library

# Layers of a TSS2 code that carry the TPM's own answer (TSS 2.0 overview, 2.3).
_LAYER_SHIFT = 16
_TPM_LAYERS = (0, 11, 12)
_FORMAT_1 = 0x80
_FORMAT_1_ERROR = 0x3F
_FULL = "end other programs that use it, or give it up to a resource manager (device:/dev/tpmrm0)"
# The TPM's answers that have something to do about them: reason, and what to say.
_ANSWERS = {
    int(TPM2_RC.AUTH_FAIL): ("wrong-pin", "the TPM refused the PIN"),
    int(TPM2_RC.BAD_AUTH): ("wrong-pin", "the TPM refused the PIN or authorisation"),
    int(TPM2_RC.LOCKOUT): (
        "pin-locked",
        "the TPM is locked after too many wrong PINs; wait, or run tpm2_dictionarylockout",
    ),
    int(TPM2_RC.HANDLE): (
        "no-key",
        "nothing is at this handle; `tally key create` makes a key there",
    ),
    int(TPM2_RC.HIERARCHY): ("disabled", "the TPM's hierarchy is disabled in its firmware"),
    int(TPM2_RC.INITIALIZE): ("not-started", "the TPM was not started; firmware or kernel does so"),
    int(TPM2_RC.FAILURE): ("failed", "the TPM is in failure mode; restart the machine"),
    int(TPM2_RC.NV_SPACE): ("no-space", "the TPM has no room for another key or counter"),
    int(TPM2_RC.NV_DEFINED): ("key-exists", "the TPM has something at this handle already"),
    int(TPM2_RC.OBJECT_MEMORY): ("busy", "all object slots of the TPM are taken; " + _FULL),
    int(TPM2_RC.OBJECT_HANDLES): ("busy", "all object slots of the TPM are taken; " + _FULL),
    int(TPM2_RC.SESSION_MEMORY): ("busy", "all sessions of the TPM are taken; " + _FULL),
    int(TPM2_RC.SESSION_HANDLES): ("busy", "all sessions of the TPM are taken; " + _FULL),
    int(TPM2_RC.MEMORY): ("busy", "the TPM has no memory left; " + _FULL),
}
# Answers after which the same command may succeed a little later.
_PASSING = (
    TPM2_RC.RETRY,
    TPM2_RC.NV_RATE,
    TPM2_RC.TESTING,
    TPM2_RC.YIELDED,
    TPM2_RC.NV_UNAVAILABLE,
)
PASSING = frozenset(int(code) for code in _PASSING)
# Answers that count against the PIN.
REFUSED_PIN = frozenset(int(code) for code in (TPM2_RC.AUTH_FAIL, TPM2_RC.BAD_AUTH))


def answer(error: TSS2_Exception) -> "int | None":
    """The TPM's own code without handle, session and parameter; None when it gave no answer."""
    if int(error.rc) >> _LAYER_SHIFT not in _TPM_LAYERS:
        return None
    code = int(error.rc) & 0xFFFF
    return _FORMAT_1 | code & _FORMAT_1_ERROR if code & _FORMAT_1 else code


def explain(error: TSS2_Exception, what: str, tcti: str) -> KeyDriverError:
    """What `error` means for `what` (a key or counter, named) in the TPM at `tcti`."""
    code = answer(error)
    if code is None:
        said = "no TPM answers at %s; is it there and running? (%s)" % (tcti, error)
        return KeyDriverError("no-chip", "%s: %s" % (what, said))
    if code in PASSING:
        return KeyDriverError("busy", "%s: the TPM is busy (%s); try again" % (what, error))
    if code in _ANSWERS:
        reason, said = _ANSWERS[code]
        return KeyDriverError(reason, "%s: %s" % (what, said))
    return KeyDriverError("chip-error", "%s: the TPM answered: %s" % (what, error))


def check_device(tcti: str) -> None:
    """KeyDriverError unless the device of a `device:` TCTI is there and may be opened.

    The library says "IO failure" to all of that.
    """
    scheme, _, path = tcti.partition(":")
    if scheme != "device":
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        raise _no_device(path, error) from None


def _no_device(path: str, error: OSError) -> KeyDriverError:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return KeyDriverError(
            "no-access",
            "%s: the TPM needs group tss: `sudo usermod -aG tss USER`, then log in again" % path,
        )
    if error.errno == errno.EBUSY:
        return KeyDriverError(
            "busy", "%s: another program has the TPM; use /dev/tpmrm0, which many can share" % path
        )
    said = error.strerror or "cannot be opened"
    return KeyDriverError(
        "no-chip", "%s: no TPM there (%s); is it enabled in the firmware's setup?" % (path, said)
    )
