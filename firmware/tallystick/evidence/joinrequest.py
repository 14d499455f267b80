"""Join request: [32, code, nonce, request, door, fleet] (docs/protocol.md, 5.5)."""

# `request` is an enrolment request.  `door` and `fleet` show that its maker knows the code: one to
# the gateway, one to the fleet, so that the gateway cannot invent a request.

from tallystick.evidence import _shape as shape
from tallystick.evidence import joincode
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import encode
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Unverified
from tallystick.evidence.kinds import JOIN_REQUEST
from tallystick.evidence.limits import JOIN_REQUEST_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.joincode import Code

NONCE_SIZE = 16


class JoinRequest(Wire):
    """code: the invitation's name, 16 bytes; request: an enrolment request's bytes."""

    def __init__(
        self, code: bytes, nonce: bytes, request: bytes, door: bytes, fleet: bytes
    ) -> None:
        what = "join request"
        self.code = shape.octets(code, joincode.NAME_SIZE, what)
        self.nonce = shape.octets(nonce, NONCE_SIZE, what)
        self.request = shape.blob(request, JOIN_REQUEST_BYTES_MAX, what)
        self.door = shape.octets(door, 32, what)
        self.fleet = shape.octets(fleet, 32, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [JOIN_REQUEST, self.code, self.nonce, self.request, self.door, self.fleet]

    @property
    def digest(self) -> bytes:
        """32 bytes that its answer names."""
        return sha256(self.encode())

    def verify_door(self, key: bytes) -> "VerifiedJoin":
        """Unverified("not-authorised") unless made with the code whose door key this is."""
        return self._verified(self.door, key)

    def verify_fleet(self, key: bytes) -> "VerifiedJoin":
        """As verify_door, by the key that only the fleet holds."""
        return self._verified(self.fleet, key)

    def _verified(self, shown: bytes, key: bytes) -> "VerifiedJoin":
        if not joincode.same(shown, _shown(key, self.code, self.nonce, self.request)):
            raise Unverified("not-authorised", "the join request was made without the code")
        twin: VerifiedJoin = object.__new__(VerifiedJoin)
        for name, item in self.__dict__.items():
            setattr(twin, name, item)
        return twin


class VerifiedJoin(JoinRequest):
    """Its maker knows the code; made by verify_door() and verify_fleet() only."""


def _shown(key: bytes, code: bytes, nonce: bytes, request: bytes) -> bytes:
    return joincode.hmac(key, encode([JOIN_REQUEST, code, nonce, request]))


def make(code: "Code", nonce: bytes, request: bytes) -> JoinRequest:
    """The request of who holds a code; nonce: 16 random bytes."""
    name = code.name()
    door = _shown(code.door_key(), name, nonce, request)
    return JoinRequest(name, nonce, request, door, _shown(code.fleet_key(), name, nonce, request))


def parse(data: bytes) -> JoinRequest:
    """As received; Malformed with a reason of section 1.7."""
    made = JoinRequest(*shape.fields(data, JOIN_REQUEST, 5, JOIN_REQUEST_BYTES_MAX, "join request"))
    made._data = data
    return made
