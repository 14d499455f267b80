"""Everything that is here to its validators, and nothing new: before a gateway goes out of service.

The gateway itself does not run meanwhile. Verdicts are not fetched, and validators of imported
organisations are left out: they have their own time.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway import limits
from tallystick.gateway.built import Part
from tallystick.gateway.config import Config
from tallystick.gateway.down import Down
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.identity import open_signing, peer_of
from tallystick.gateway.inbox import Inbox
from tallystick.gateway.shared import Shared
from tallystick.gateway.store import Store, meta

_LOOK_S = 0.1


@dataclass(frozen=True)
class Drained:
    """What of `size` segments one validator has, what waits for its quota or is set aside."""

    validator: str
    size: int
    has: int
    held: int
    set_aside: int
    error: str | None

    @property
    def done(self) -> bool:
        """Whether it was sent everything; what it refused is set aside, and counts apart."""
        return self.has == self.size and not self.held


def _quiet(_found: list[Drained]) -> None:
    pass


def drain(
    config: Config,
    stop: threading.Event,
    wait_s: float,
    told: Callable[[list[Drained]], None] = _quiet,
) -> list[Drained]:
    """Send until every validator of the file has everything, `stop` is set, or time is over.

    told: how far it is, ten times a second.

    :raises StoreBusy: the gateway runs.
    :raises CouldNotCheck: there is no store, it is another gateway's, or it is older than what was
        signed.
    """
    if not config.store.exists():
        # One that is made here would be empty, and everything of it sent.
        raise CouldNotCheck("bad-value", f"{config.store}: no store; has the gateway run yet?")
    now_s = int(time.time())
    peers = [peer_of(validator, config.roots, now_s) for validator in config.validators]
    signing = open_signing(config, now_s)
    try:
        store = Store(config.store)
    except BaseException:
        signing.close()
        raise
    over = threading.Event()
    forwarders: list[Forwarder] = []
    threads: list[threading.Thread] = []
    try:
        with store.write() as connection:
            if meta(connection, "gateway") not in {None, signing.gateway}:
                raise CouldNotCheck("wrong-key", f"{store.path} belongs to another gateway")
        shared: Shared[Part] = Shared()
        for peer in peers:
            # Nothing comes in any more that a batch could wait for.
            at_once = replace(peer, config=replace(peer.config, batch_age_s=0.0))
            made = Forwarder(
                at_once,
                store,
                signing,
                config.credential,
                Down(Inbox()),
                over,
                config.retry_s_max,
                shared=shared,
            )
            forwarders.append(made)
            thread = threading.Thread(target=made.run, name=f"to {made.name}", daemon=True)
            threads.append(thread)
            thread.start()
        until_s = time.monotonic() + wait_s
        while True:
            found = _look(store, forwarders)
            told(found)
            late = time.monotonic() >= until_s
            if late or all(one.done for one in found) or stop.wait(_LOOK_S):
                return found
    finally:
        over.set()
        for made in forwarders:
            made.wake()
        for thread in threads:
            thread.join(limits.STOP_S_MAX)
        store.close()
        signing.close()


def _look(store: Store, forwarders: list[Forwarder]) -> list[Drained]:
    reader = store.reader()
    try:
        reader.execute("BEGIN")
        (size,) = reader.execute("SELECT coalesce(max(at) + 1, 0) FROM segments").fetchone()
        found = []
        for made in forwarders:
            if made.put_back is not None:
                raise made.put_back
            row = reader.execute(
                "SELECT cursor, error, (SELECT count(*) FROM held WHERE validator = :name), "
                "(SELECT count(*) FROM set_aside WHERE validator = :name) "
                "FROM validators WHERE name = :name",
                {"name": made.name},
            ).fetchone()
            cursor, error, held, set_aside = row
            found.append(Drained(made.name, size, cursor, held, set_aside, error))
        return found
    finally:
        reader.close()
