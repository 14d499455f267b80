"""An MQTT broker inside this process, for the demo and `tally dev` only.

amqtt is pure Python and installs everywhere; it may lose what it acknowledged (facts in
docs/operations.md), which the protocol survives: devices resend until a custody receipt comes.
Nobody should run a site on it.
"""

import asyncio
import logging
import threading

from tallystick.evidence.errors import TransportError
from tallystick.tools._ports import free_port

START_S_MAX = 60.0
STOP_S_MAX = 5.0


class EmbeddedBroker:
    """A broker on loopback in a thread of its own; use it as a context manager.

    Raises TransportError when it does not come up within `START_S_MAX`.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)

    @property
    def url(self) -> str:
        """Where devices and gateways connect."""
        return f"mqtt://127.0.0.1:{self.port}"

    def __enter__(self) -> "EmbeddedBroker":
        # It logs each connection at INFO and each goodbye as a warning; a demo shows its own news.
        for name in ("amqtt", "transitions"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._thread.start()
        if not self._ready.wait(START_S_MAX) or self._failure is not None:
            message = f"the embedded broker did not start: {self._failure}"
            raise TransportError("broker-failed", message)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S_MAX)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits for us
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        from amqtt.broker import Broker  # noqa: PLC0415 - the extra [demo], imported when used

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {
                    "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
                },
            }
        )
        await broker.start()
        self._ready.set()
        await self._stop.wait()
        try:
            await asyncio.wait_for(broker.shutdown(), STOP_S_MAX)
        except (TimeoutError, asyncio.TimeoutError):
            logging.getLogger(__name__).warning("the embedded broker did not shut down in time")
