"""What one thread does beside everything else, with what it needs of a gateway's parts."""

import threading
from typing import TYPE_CHECKING

from tallystick.gateway.asking import Asker
from tallystick.gateway.damage import Scrubber
from tallystick.gateway.devicehold import Teller
from tallystick.gateway.lostsegments import LostSegments

if TYPE_CHECKING:
    from tallystick.gateway.service import Gateway


def scrubber_of(gateway: "Gateway", stop: threading.Event) -> Scrubber:
    """The scrubber of a gateway whose store, signing, inbox and way down are open."""
    config = gateway.config
    made = Scrubber(gateway.store, gateway.down.put, stop, config.roots)
    asker = Asker(
        gateway.store,
        gateway.signing,
        gateway.inbox,
        config.broker.prefix,
        # They come and go while it runs.
        lambda: [way.peer for way in gateway.ways],
        stop,
    )
    lost = LostSegments(asker, stop)
    made.ask_validators, made.at_end = lost.put, lost.close
    made.also = Teller(
        gateway.store,
        gateway.signing,
        gateway.down.put,
        lambda device: gateway.broker.connected or gateway.serial.hears(device),
    ).turn
    return made
