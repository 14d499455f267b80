"""Which threads of a gateway the watchdog watches, and for how long each may stand still."""

import threading
from typing import TYPE_CHECKING

import structlog

from tallystick.evidence.errors import TransportError
from tallystick.gateway import limits, lives
from tallystick.gateway.doors import page_of
from tallystick.gateway.watchdog import Watched, stack_of

if TYPE_CHECKING:
    from tallystick.gateway.service import Gateway

_log = structlog.get_logger("tallystick.gateway.watchdog")


def watched(gateway: "Gateway", watching: threading.Thread) -> list[Watched]:
    """Those that run now; `watching` is the one in Gateway.watch and, later, in Gateway.stop.

    Servers are asked for a sign of life, which comes with their next turn.
    """
    found = [Watched(watching, limits.THREAD_BEAT_S_MAX)]
    if not gateway.running:
        return found
    for thread in gateway.threads:
        worker = thread is gateway.intake
        most_s = limits.WORKER_BEAT_S_MAX if worker else limits.THREAD_BEAT_S_MAX
        found.append(Watched(thread, most_s))
    if gateway.joining is not None:
        gateway.joining.door.call(lives.moved)
    if gateway.page is not None:
        gateway.page.server.call(lives.moved)
        found += [
            Watched(thread, limits.PAGE_BEAT_S_MAX, mended=True) for thread in gateway.page.threads
        ]
    return found


class PageCare:
    """Puts another page in the place of one whose threads hang or ended; custody needs none."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self.replaced = 0

    def turn(self, hanging: frozenset[threading.Thread]) -> None:
        """Look after it; the thread's that watches the gateway."""
        page = self._gateway.page
        if page is None:
            return
        page.look_after()
        broken = [one for one in page.threads if one in hanging or not one.is_alive()]
        # One that could not be started has none.
        if (page.threads and not broken) or self.replaced >= limits.PAGES_REPLACED_MAX:
            return
        self.replaced += 1
        _log.error(
            "the page is replaced; custody goes on as before",
            threads=[one.name for one in broken],
            stacks=[stack_of(one) for one in broken],
        )
        page.give_up()
        fresh = self._gateway.page = page_of(self._gateway)
        try:
            if fresh is not None:
                fresh.start()
        except TransportError as error:
            _log.error("the page cannot be replaced", error=str(error))
