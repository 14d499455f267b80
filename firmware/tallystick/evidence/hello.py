"""Hello: [15, device, epoch, first, size, credential] (docs/protocol.md, 3.3)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import HELLO
from tallystick.evidence.limits import SEGMENT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.credential import Identity, Keyring


class Hello(Wire):
    """first: the oldest index that the device still holds; size: its newest checkpoint's, or 0."""

    def __init__(
        self, device: bytes, epoch: bytes, first: int, size: int, credential: list[bytes]
    ) -> None:
        what = "hello"
        self.device = shape.octets(device, 32, what)
        self.epoch = shape.octets(epoch, 8, what)
        self.first = shape.uint(first, what)
        self.size = shape.uint(size, what)
        if first > size:
            raise Malformed("bad-value", "hello: begins beyond its size")
        self.credential = shape.statements(credential, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [HELLO, self.device, self.epoch, self.first, self.size, self.credential]


def parse(data: bytes) -> Hello:
    """As received; Malformed with a reason of section 1.7."""
    hello = Hello(*shape.fields(data, HELLO, 5, SEGMENT_BYTES_MAX, "hello"))
    hello._data = data
    return hello


def verify_hello(hello: Hello, keyring: "Keyring") -> "Identity":
    """Who its credential speaks of, which is the device that it names; the rest is a claim."""
    # Imported when used: a device says hello and never hears one.
    from tallystick.evidence.credential import Credential  # noqa: PLC0415  # costs heap
    from tallystick.evidence.enrolment import SUBJECT_DEVICE  # noqa: PLC0415  # costs heap

    identity = keyring.verify(Credential(hello.credential))
    if identity.subject != SUBJECT_DEVICE:
        raise Unverified("not-enrolled", "a hello of something that is not enrolled as a device")
    if identity.id != hello.device:
        raise Unverified("wrong-device", "a hello with the credential of another device")
    return identity
