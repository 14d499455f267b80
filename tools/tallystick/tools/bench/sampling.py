"""Where time goes, by looking at the main thread again and again.

A timer's signal interrupts the program every millisecond of the wall clock, and what it was doing
then counts as that millisecond. A function in C, or a wait for the disk, counts for the Python code
that called it, which is why sorting goes by files. It costs some per cent, and equally of all.
"""

import signal
import threading
from collections import Counter
from types import FrameType, TracebackType

EVERY_S = 0.001
# What a sample is counted as: the first frame from the innermost that lies in such a file.
KINDS = {
    "signature": (
        "nacl/", "cryptography/", "evidence/cose.py", "evidence/keys.py", "hw/software_key.py",
        "hw/_software.py",
    ),
    "hash": (
        "evidence/tree.py", "evidence/leaf.py", "evidence/digest.py", "evidence/_paths.py",
        "evidence/ids.py",
    ),
    "SQL and disk": (
        "sqlalchemy/", "psycopg/", "psycopg_binary/", "validator/portable.py",
    ),
    "decode and encode": (
        "evidence/cbor.py", "evidence/_cborreader.py", "evidence/_segmentreader.py",
        "evidence/segment.py", "evidence/segmentwriter.py", "evidence/claim.py",
        "evidence/value.py", "evidence/_shape.py", "evidence/_dec.py", "evidence/batch.py",
        "evidence/statement.py", "evidence/checkpoint.py", "evidence/entry.py",
        "evidence/finding.py", "evidence/verdict.py", "validator/body.py",
    ),
    "findings": ("tallystick/verify/",),
}  # fmt: skip
OTHER = "other Python"
NAMES = ("hash", "signature", "decode and encode", "findings", "SQL and disk", OTHER)


class Sampler:
    """Counts samples by kind while it is open; a context manager, for the main thread only."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kinds: dict[str, str | None] = {}

    def __enter__(self) -> "Sampler":
        if threading.current_thread() is not threading.main_thread():
            message = "signals reach the main thread only"
            raise RuntimeError(message)
        self._before = signal.signal(signal.SIGALRM, self._sample)
        signal.siginterrupt(signal.SIGALRM, False)  # noqa: FBT003 - the standard library's
        signal.setitimer(signal.ITIMER_REAL, EVERY_S, EVERY_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def shares(self) -> dict[str, float]:
        """Of 1, by kind; all zero where nothing was sampled."""
        total = self.counts.total() or 1
        return {name: round(self.counts[name] / total, 4) for name in NAMES}

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        while frame is not None:
            name = frame.f_code.co_filename
            if name not in self._kinds:
                self._kinds[name] = kind_of(name)
            kind = self._kinds[name]
            if kind is not None:
                self.counts[kind] += 1
                return
            frame = frame.f_back
        self.counts[OTHER] += 1


def kind_of(filename: str) -> str | None:
    """What time in a file counts as; None where its caller tells."""
    for kind, parts in KINDS.items():
        if any(part in filename for part in parts):
            return kind
    # The standard library works for whoever calls it; our own other files are bookkeeping.
    return OTHER if "/tallystick/" in filename else None
