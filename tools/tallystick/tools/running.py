"""Services in threads of this process, for the demo: started together, stopped one by one."""

import threading
from collections.abc import Callable

from tallystick.evidence.errors import TallyError

START_S_MAX = 60.0
STOP_S_MAX = 30.0


class Service:
    """One `run(stop)` in a thread; what ends it is raised where it is waited for."""

    def __init__(self, name: str, run: Callable[[threading.Event], None]) -> None:
        self.name = name
        self._run = run
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._body, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end, and wait for it; TallyError when it does not or when it had failed."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S_MAX)
        if self._thread.is_alive():
            message = f"{self.name} did not stop within {STOP_S_MAX:.0f} s"
            raise TallyError("service-failed", message)
        self.check()

    def check(self) -> None:
        """Raise what ended it, if anything did."""
        if self._failure is not None:
            message = f"{self.name} ended: {self._failure}"
            raise TallyError("service-failed", message) from self._failure

    def _body(self) -> None:
        try:
            self._run(self._stop)
        except Exception as error:  # noqa: BLE001 - raised again by check() in the thread that cares
            self._failure = error


class Services:
    """Several services; use it as a context manager. All are stopped, whatever one of them does."""

    def __init__(self, services: list[Service]) -> None:
        self._services = {service.name: service for service in services}

    def __enter__(self) -> "Services":
        for service in self._services.values():
            service.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        failures = []
        for service in self._services.values():
            try:
                service.stop()
            except TallyError as error:
                failures.append(error)
        # What went wrong first is the news; a failure to stop must not hide it.
        if failures and kind is None:
            raise failures[0]

    def stop(self, name: str) -> None:
        """Stop one of them for good."""
        self._services[name].stop()

    def check(self) -> None:
        """Raise when one of them ended by itself."""
        for service in self._services.values():
            service.check()
