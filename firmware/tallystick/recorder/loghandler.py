# CPython only
"""A `logging.Handler`: an existing program takes part by its logging configuration alone."""

import logging
import time
from typing import Any

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.recorder.recorder import Recorder

EXTRA = "tally"
PREFIX = "log."
PER_MINUTE = 60
PER_MINUTE_MAX = 60_000
MINUTE_S = 60.0
TEXT_CHARS_MAX = 240
# What the recorder itself stands on: what it logs while it records must not be recorded.
OWN_LOGGERS = ("tallystick", "paho", "tpm2_pytss", "pkcs11")
DECISION = frozenset(("model", "inputs", "constraints", "output", "context"))
PART = "logging"


class TallyHandler(logging.Handler):
    """Records become events `log.<level>`, or what `extra={"tally": {...}}` says.

    config: as for Recorder.open(). recorder: an open one in its place, which the program closes.
    arguments: record messages with their arguments; else only the text before they are put in,
    since arguments may hold secrets. per_minute: of log events, at most; what is over is counted
    in the next one's `suppressed`. Nothing raises into the program once the handler is made.
    """

    def __init__(
        self,
        config: "str | dict[str, Any] | None" = None,
        recorder: "Recorder | None" = None,
        level: "int | str" = logging.NOTSET,
        *,
        arguments: bool = False,
        per_minute: int = PER_MINUTE,
    ) -> None:
        super().__init__(level)
        if type(per_minute) is not int or not 0 < per_minute <= PER_MINUTE_MAX:
            raise Malformed("bad-config", f"per_minute must be 1 to {PER_MINUTE_MAX}")
        if recorder is not None and config is not None:
            raise Malformed("bad-config", "give the handler a recorder or a config, not both")
        self._arguments = arguments
        self._per_minute = per_minute
        self._room = float(per_minute)
        self._since_s = time.monotonic()
        self._suppressed = 0
        self._emitting = False
        self._opened = recorder is None
        self.recorder = recorder if recorder is not None else Recorder.open(config)

    def filter(self, record: logging.LogRecord) -> Any:
        """Nothing of the recorder's own, lest it record its recording."""
        # Here and not in emit(): before this handler's lock is taken, which a thread may hold that
        # waits for the recorder's.
        if record.name.split(".", 1)[0] in OWN_LOGGERS or record.threadName == "tallystick":
            return False
        return super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Record one; what is wrong with it shows in `recorder.health.faults`."""
        # The handler's lock is this thread's alone, so this is a call within itself.
        if self._emitting:
            return
        self._emitting = True
        try:
            self._tell(record)
        except Exception as error:  # noqa: BLE001  # never into the program that logs
            self._fault(error)
        finally:
            self._emitting = False

    def close(self) -> None:
        """Tell what was suppressed; close the recorder that this handler opened."""
        try:
            if self._suppressed:
                self.recorder.event(PREFIX + "suppressed", suppressed=self._suppressed)
                self._suppressed = 0
            if self._opened:
                self._opened = False
                self.recorder.close()
        except Exception as error:  # noqa: BLE001  # as in emit()
            self._fault(error)
        super().close()

    def _tell(self, record: logging.LogRecord) -> None:
        said = getattr(record, EXTRA, None)
        if said is not None:
            self._tell_extra(said)
        elif self._has_room():
            details = self._details(record)
            if self._suppressed:
                details["suppressed"] = self._suppressed
            self.recorder.event(PREFIX + record.levelname.lower(), **details)
            self._suppressed = 0
        else:
            self._suppressed += 1

    def _tell_extra(self, said: Any) -> None:
        if type(said) is not dict:
            raise Malformed("bad-type", 'extra={"tally": {...}} is a dict')
        if "event" in said:
            details = dict(said)
            self.recorder.event(details.pop("event"), **details)
            return
        unknown = sorted(set(said) - DECISION)
        if unknown or "model" not in said:
            raise Malformed(
                "bad-value", f"a decision has a model, and may have inputs: not {unknown}"
            )
        self.recorder.decision(**said)

    def _details(self, record: logging.LogRecord) -> "dict[str, Any]":
        if self._arguments:
            text = record.getMessage()
        elif isinstance(record.msg, str):
            text = record.msg
        else:
            text = type(record.msg).__name__
        details: "dict[str, Any]" = {
            "logger": record.name[:TEXT_CHARS_MAX],
            "message": text[:TEXT_CHARS_MAX].encode(errors="replace").decode(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            details["raised"] = record.exc_info[0].__name__
        return details

    def _has_room(self) -> bool:
        now = time.monotonic()
        grown = self._room + (now - self._since_s) * self._per_minute / MINUTE_S
        self._room = min(grown, float(self._per_minute))
        self._since_s = now
        if self._room < 1.0:
            return False
        self._room -= 1.0
        return True

    def _fault(self, error: Exception) -> None:
        # A program's own object raised: its words may hold anything, so only the kind is told.
        reason = error.reason if isinstance(error, TallyError) else "raised"
        ledger = getattr(self.recorder, "_ledger", None)
        if ledger is not None:
            ledger.fault(PART, reason)
