# CPython only
# Needs an extra: tpm
"""One TPM 2.0: a thread that alone speaks to it, so that nobody waits and nothing interleaves."""

# The library blocks for as long as the TPM takes (a real one signs in 30 to 200 ms), and its
# contexts are not for several threads.  So work is handed to one thread, which keeps the
# connection where others can connect beside it (a resource manager), and else makes one for each
# piece of work: swtpm and mssim answer one connection at a time.

import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from tpm2_pytss import TSS2_Exception

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import tpm2_errors as errors
from tallystick.hw.tpm2_connection import Connection

# The longest command of a slow TPM, an RSA endorsement key, takes half a minute.
ANSWER_S_MAX = 60
# A signature, a counter and an enquiry at once, for several keys of one TPM.
JOBS_MAX = 16
# What a TPM asks to try again: NV that is written too often, above all.
ATTEMPTS_MAX = 6
RETRY_S = 0.25
# Where others can connect beside us; any other may serve one connection at a time.  `cmd` starts a
# program for each connection, so it is for that program to share the TPM.
_SHARED = ("device", "tabrmd", "cmd")


class Job:
    """A piece of work for the TPM: `done` when it is over."""

    def __init__(self, work: "Callable[[Connection], Any]", what: str) -> None:
        self.work = work
        self.what = what
        self.done = threading.Event()
        self.began_s = time.monotonic()
        self.value: "Any" = None
        self.error: "KeyDriverError | None" = None
        self.abandoned = False  # nobody waits any more, so it must not happen later

    def ready(self) -> bool:
        """Whether it is over; KeyDriverError when the TPM takes too long."""
        if not self.done.is_set() and time.monotonic() - self.began_s > ANSWER_S_MAX:
            raise self._abandon()
        return self.done.is_set()

    def result(self) -> "Any":
        """What the work returned; waits for it; KeyDriverError as it failed."""
        left_s = max(0.0, self.began_s + ANSWER_S_MAX - time.monotonic())
        if not self.done.wait(left_s):
            raise self._abandon()
        if self.error is not None:
            raise self.error
        return self.value

    def _abandon(self) -> KeyDriverError:
        self.abandoned = True
        return _silent(self.what)


class Tpm:
    """The TPM at a TCTI such as `device:/dev/tpmrm0` or `swtpm:host=127.0.0.1,port=2321`."""

    def __init__(self, tcti: str) -> None:
        self.tcti = tcti
        self._worker: "_Worker | None" = None
        self._pid = 0
        self._closed = False

    def start(self, what: str, work: "Callable[[Connection], Any]") -> Job:
        """Hand work over; `what` names key or counter in errors."""
        if self._closed:
            raise KeyDriverError("closed", what + ": was closed")
        # A forked child has the object and not the thread, and must not share the connection.
        if self._worker is None or self._pid != os.getpid():
            self._worker = _Worker(self.tcti)
            self._pid = os.getpid()
            # A key that nobody closed must not keep thread and connection for ever.
            weakref.finalize(self, self._worker.jobs.put, None)
        job = Job(work, what)
        if self._worker.jobs.qsize() >= JOBS_MAX:
            raise _silent(what)
        self._worker.jobs.put(job)
        return job

    def run(self, what: str, work: "Callable[[Connection], Any]") -> "Any":
        """As start, and wait for the result."""
        return self.start(what, work).result()

    def close(self) -> None:
        """Give the connection back when what was handed over is done."""
        self._closed = True
        if self._worker is not None:
            self._worker.jobs.put(None)
            self._worker = None


class _Worker:
    # Holds no reference to the Tpm, so that a forgotten one can be found and its thread ended.

    def __init__(self, tcti: str) -> None:
        self.jobs: "queue.SimpleQueue[Job | None]" = queue.SimpleQueue()
        self._tcti = tcti
        self._keeps = tcti.partition(":")[0] in _SHARED
        self._connection: "Connection | None" = None
        # A TPM that never answers must not keep the program from ending.
        threading.Thread(target=self._serve, name="tpm2 " + tcti, daemon=True).start()

    def _serve(self) -> None:
        while self._do(self.jobs.get()):
            pass
        self._disconnect()

    def _do(self, job: "Job | None") -> bool:
        # A method of its own, so that nothing here holds a job, and with it a key, while waiting.
        if job is None:
            return False
        if job.abandoned:
            return True
        try:
            job.value = self._try(job)
        except KeyDriverError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001  # the thread must outlive one bad job
            # Not with its words, which are the library's and may hold what was given to it.
            said = "%s: the TPM library failed (%s)" % (job.what, type(error).__name__)
            job.error = KeyDriverError("chip-error", said)
        if not self._keeps:
            self._disconnect()
        job.done.set()
        return True

    def _try(self, job: Job) -> "Any":
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                if self._connection is None:
                    errors.check_device(self._tcti)
                    self._connection = Connection(self._tcti)
                return job.work(self._connection)
            except TSS2_Exception as error:
                code = errors.answer(error)
                if code in errors.PASSING and attempt < ATTEMPTS_MAX:
                    time.sleep(RETRY_S * attempt)
                    continue
                raise self._explained(error, job) from None
        return None

    def _explained(self, error: TSS2_Exception, job: Job) -> KeyDriverError:
        explained = errors.explain(error, job.what, self._tcti)
        if errors.answer(error) is None:
            # The TPM or the way to it is gone, and with it all that the connection knew.
            self._disconnect()
        elif errors.answer(error) in errors.REFUSED_PIN and self._connection is not None:
            try:
                left = self._connection.tries_left()
            except TSS2_Exception:
                return explained
            explained = KeyDriverError(explained.reason, "%s; %s" % (explained.message, left))
        return explained

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _silent(what: str) -> KeyDriverError:
    return KeyDriverError(
        "busy",
        "%s: no answer for %d s; another program keeps the TPM, or it hangs (swtpm answers one "
        "connection at a time)" % (what, ANSWER_S_MAX),
    )
