# CPython only
# Needs an extra: gateway or validator
"""What libraries and threads say of themselves, as lines of a service's own log.

Python writes such things as bare text, and who reads a log of JSON objects trips over that. Here,
because gateways and validators are such services, and neither imports the other.
"""

import logging
import threading

import structlog


class _Ours(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say(record.getMessage(), exc_info=record.exc_info or None)


def take() -> None:
    """From now on and for this process; a service's command calls it, `run` never."""
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, _Ours)]
    root.addHandler(_Ours(logging.WARNING))
    threading.excepthook = _of_thread


def _of_thread(failed: threading.ExceptHookArgs) -> None:
    # A trace shows lines and no values.
    if failed.exc_value is None or isinstance(failed.exc_value, SystemExit):
        return
    name = None if failed.thread is None else failed.thread.name
    log = structlog.get_logger("tallystick")
    log.error("a thread ended by an error", thread=name, exc_info=failed.exc_value)
