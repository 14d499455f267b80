# Frames that remember what is no record: a custody receipt, an earlier epoch, a boot.

from tallystick.recorder.core import Log
from tallystick.recorder.frames import BOOT, CUSTODY, PAST, control

PAST_MAX = 8


def custody(log: Log, to: int, digest: bytes, statement: bytes, time_ms: int) -> bytes:
    """The frame of a verified custody receipt."""
    log.custody = (to, digest, statement, time_ms)
    return control([CUSTODY, to, digest, statement, time_ms])


def past(log: Log, epoch: bytes) -> bytes:
    """The frame that remembers an epoch that came before this one."""
    log.past = (log.past + [epoch])[-PAST_MAX:]
    return control([PAST, epoch])


def boot(log: Log) -> bytes:
    """The frame of one boot more."""
    log.boot += 1
    return control([BOOT, log.boot])
