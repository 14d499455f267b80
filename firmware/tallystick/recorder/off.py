# A recorder that does nothing: what Recorder.open() gives where TALLY=off, or the configuration's
# "off": true, says so.  It touches no file, key or link, and says that it is off.

from tallystick.recorder.files import MICROPYTHON
from tallystick.recorder.health import Health
from tallystick.recorder.recorder import POLL_MS, Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OFF = "off"


def begin(config: "dict[str, Any]") -> "Off":
    """Says in one line that nothing is recorded."""
    line = "tallystick is off (%s): nothing is recorded" % config["off"]
    if MICROPYTHON:
        print(line)  # noqa: T201  # a board's log
    else:
        import logging  # noqa: PLC0415  # CPython's

        logging.getLogger("tallystick").warning(line)
    return Off()


class OffHealth(Health):
    """All counters stay 0."""

    off = True

    def __repr__(self) -> str:
        return "Health(off)"

    def as_dict(self) -> "dict[str, int | bool | str | dict[str, int] | None]":
        """As of any recorder, and `off`."""
        found = Health.as_dict(self)
        found["off"] = True
        return found


class Off(Recorder):
    """Each call returns at once what it returns when nothing could be done."""

    def __init__(self) -> None:
        self.device = b""
        self.health = OffHealth()

    def decision(
        self,
        model: "Any",
        inputs: "Any" = None,
        constraints: "Any" = None,
        output: "Any" = None,
        context: "Any" = None,
        urgent: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        pass

    if not MICROPYTHON:

        def decides(
            self,
            model: "Any",  # noqa: ARG002
            inputs: "Any" = (),  # noqa: ARG002
            constraints: "Any" = None,  # noqa: ARG002
            output: "Any" = None,  # noqa: ARG002
            context: "Any" = None,  # noqa: ARG002
        ) -> "Callable[[Any], Any]":
            """The function as it is."""
            return lambda function: function

    def event(self, name: str, **details: "Any") -> None:
        pass

    def claim(
        self,
        profile: str,  # noqa: ARG002
        role: str,  # noqa: ARG002
        claim: str,  # noqa: ARG002
        peers: "Any",  # noqa: ARG002
        wait: bool = True,  # noqa: FBT001, FBT002
        **fields: "Any",  # noqa: ARG002
    ) -> "Any":
        """No half: b""."""
        return b"" if wait else _lost(b"")

    def accept(self, half: bytes, wait: bool = True) -> "Any":  # noqa: ARG002, FBT001, FBT002
        """None: nothing was verified, so nothing is given that looks as if it were."""
        return None if wait else _lost(None)

    def poll(self, budget_ms: int = POLL_MS) -> bool:  # noqa: ARG002
        return False

    def on_step(self, call: "Any") -> None:
        pass

    def step_ledger(self) -> bool:
        return False

    def step(self) -> bool:
        return False

    def wake(self) -> None:
        pass

    def flush(self) -> bool:
        return True

    def backlog(self) -> int:
        return 0

    @property
    def epoch(self) -> bytes:
        return b""

    @property
    def received(self) -> "list[tuple[str, bytes]]":
        return []

    def listen(self, listener: "Any") -> None:
        pass

    def close(self) -> None:
        pass

    def stop(self) -> None:
        pass


def _lost(value: "Any") -> "Any":
    from tallystick.recorder.handle import Handle  # noqa: PLC0415  # costs heap

    handle = Handle()
    handle.value = value
    handle.lose(OFF)
    return handle
