"""What a gateway's time goes to while it takes in as fast as it can: ours, and a peer's.

A run of its own beside the timed ones, since sampling costs some per cent.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGUSR1

from tallystick.evidence import kinds
from tallystick.evidence.digest import sha256
from tallystick.tools import provision
from tallystick.tools.bench import gateway_time, load, peer_gateway
from tallystick.tools.bench.ingest import Custody, Received, Sender, Shares, peer_messages
from tallystick.tools.bench.load import Load
from tallystick.tools.bench.peers import checked
from tallystick.tools.bench.running import Running
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.mosquitto import Mosquitto

_GATEWAY = "gateway"
# [24, ...]: an array whose first element takes two bytes.
_WELCOME = bytes([0x18, kinds.WELCOME])


def both(seconds: float) -> Shares:
    """For ingest.run: of ours and of the best peer, which is sampled for `seconds`, about."""

    def told(
        folder: Path, fleet: Fleet, loads: list[Load], best: str
    ) -> dict[str, dict[str, float]]:
        return {
            "tallystick": ours(folder / "ours-shares", fleet, loads),
            best: peer(folder / "peer-shares", best, seconds),
        }

    return told


def welcomes(one: Load) -> Callable[[Received], bool]:
    """Whether a message makes this device welcome."""

    def answers(received: Received) -> bool:
        return received.topic == f"{one.topic}/down" and received.payload[1:3] == _WELCOME

    return answers


def ours(folder: Path, fleet: Fleet, loads: list[Load]) -> dict[str, float]:
    """Shares of 1 by kind, of a gateway that verifies in its own process."""
    member = fleet.enrol("gateway", folder.name)
    downs = f"{provision.topic_prefix(fleet)}/+/down"
    with Mosquitto(folder / "broker") as broker, Running(folder) as running:
        url = f"mqtt://{broker.host}:{broker.port}"
        config = provision.gateway(fleet, member, broker=url, limits={"verify_workers": 0})
        _start(running, folder, "gateway", str(config))
        with Sender(broker.port, downs, lambda: running.check([_GATEWAY])) as sender:
            for one in loads:
                sender.ask(f"{one.topic}/up", one.hello(), welcomes(one))
            running.tell(_GATEWAY, SIGUSR1)
            sender.measure(load.in_turn(loads), Custody(loads, member.identity.key))
        return _told(running, folder)


def peer(folder: Path, name: str, seconds: float) -> dict[str, float]:
    """Shares of 1 by kind, of a gateway that checks one signature a record."""
    messages = peer_messages(checked(name, peer_gateway.SEED), seconds)
    waiting = {sha256(message) for message in messages}

    def complete(received: Received) -> bool:
        waiting.discard(received.payload[-32:])
        return not waiting

    with Mosquitto(folder / "broker") as broker, Running(folder) as running:
        _start(running, folder, "peer", name, str(broker.port), str(folder / "peer.sqlite"))
        up, down = peer_gateway.UP, peer_gateway.DOWN
        with Sender(broker.port, down, lambda: running.check([_GATEWAY])) as sender:
            sender.ask(up, peer_gateway.HELLO, lambda _received: True)
            running.tell(_GATEWAY, SIGUSR1)
            sender.measure(((up, message) for message in messages), complete)
        return _told(running, folder)


def _start(running: Running, folder: Path, *arguments: str) -> None:
    module = "tallystick.tools.bench.timed_gateway"
    running.start(_GATEWAY, [sys.executable, "-m", module, str(folder / "seconds"), *arguments])


def _told(running: Running, folder: Path) -> dict[str, float]:
    running.end(_GATEWAY)
    return gateway_time.shares(json.loads((folder / "seconds").read_text()))
