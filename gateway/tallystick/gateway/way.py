"""The way to one validator: what is sent there, what is asked for there, in threads of its own."""

import threading

from tallystick.gateway import limits
from tallystick.gateway.built import Part
from tallystick.gateway.down import Down
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.peers import Peer
from tallystick.gateway.shared import Shared
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store
from tallystick.gateway.urgency import Urgent
from tallystick.gateway.verdicts import VerdictPoller


class Way:
    """A forwarder and a verdict poller; `stop` is its own, or all ways'."""

    def __init__(
        self,
        peer: Peer,
        store: Store,
        signing: Signing,
        credential: tuple[bytes, ...],
        down: Down,
        stop: threading.Event,
        *,
        gateway: str = "",
        retry_s_max: float = limits.RETRY_S_MAX,
        verdicts_poll_s: float = limits.VERDICTS_POLL_S,
        urgent: Urgent | None = None,
        shared: Shared[Part] | None = None,
    ) -> None:
        self.peer = peer
        self.forwarder = Forwarder(
            peer, store, signing, credential, down, stop, retry_s_max, urgent=urgent, shared=shared
        )
        self.poller = VerdictPoller(
            peer, store, down, stop, self.forwarder.answered, verdicts_poll_s, retry_s_max
        )
        self._stop = stop
        self._gateway = gateway
        self.threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start both; once is enough."""
        if self.threads:
            return
        name = self.peer.config.name
        for what, target in (
            (f"to {name}", self.forwarder.run),
            (f"verdicts of {name}", self.poller.run),
        ):
            thread = threading.Thread(target=target, name=f"{self._gateway}: {what}", daemon=True)
            thread.start()
            self.threads.append(thread)

    def wake(self) -> None:
        """There is something new in the log, or it is time to stop."""
        self.forwarder.wake()

    def stop(self) -> None:
        """End both; a request that is under way is not waited for."""
        self._stop.set()
        self.forwarder.wake()
        self.poller.wake()
