"""HTTP between a gateway and a validator: refused, timed out, repeated, its answers lost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from simulation.links import Links
from simulation.world import Node
from tallystick.evidence.errors import TransportError
from tallystick.gateway.http import Http, TimedOut, refusal_of

if TYPE_CHECKING:
    from simulation.validator import Validator

OK = 200
SLOW_MS = (1_000, 90_000)


@dataclass
class Way:
    """To a validator, as a gateway is configured for it."""

    validator: "Validator"


class Transport(Http):
    """A client of one validator over a link of the world."""

    def __init__(self, gateway: Node, way: Way, links: Links) -> None:
        self._gateway = gateway
        self._validator = way.validator
        self._links = links

    def close(self) -> None:
        """Nothing is open."""

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        validator, name = self._validator, self._gateway.name
        world = validator.world
        if not validator.on or self._links.lost(name, validator.name):
            raise TransportError("unreachable", f"{validator.name}: nobody answers")
        url = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if validator.slow():
            # It takes what was sent when nobody waits for its answer any more.
            delay_ms = world.chance.randint(*SLOW_MS)
            world.after(delay_ms, lambda: validator.asked_late(method, url.path, query, body))
            raise TimedOut("unreachable", f"{validator.name}: timed out")
        if self._links.repeated():
            delay_ms = self._links.delay_ms()
            world.after(delay_ms, lambda: validator.asked_late(method, url.path, query, body))
        status, answer = validator.asked(method, url.path, query, body)
        if self._links.lost(validator.name, name):
            raise TransportError("unreachable", f"{validator.name}: the answer was lost")
        if status != OK:
            raise refusal_of(status, answer)
        return answer
