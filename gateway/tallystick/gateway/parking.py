"""What came early and waits for what lies before it: how much may, and what goes unplaced. Pure."""

from collections.abc import Callable

from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.errors import Unverified
from tallystick.evidence.segment import Segment
from tallystick.gateway.decisions import Parked, Unparked
from tallystick.gateway.tracks import Log
from tallystick.gateway.view import View


class Parking:
    """Bounded for each device and for all of them together, in bytes."""

    def __init__(self, view: View, device_bytes_max: int, bytes_max: int) -> None:
        self._view = view
        self._device_bytes_max = device_bytes_max
        self._bytes_max = bytes_max
        self._next = 0
        self._bytes: dict[bytes, int] = {}

    def reset(self, first_free: int) -> None:
        """What is parked is what the view says; `first_free`: the next one's number."""
        self._next = first_free
        self._bytes = self._view.parked_bytes()

    def park(self, log: Log, segment: Segment, head: Checkpoint) -> Parked:
        """Keep a segment of which `head` is the last checkpoint; Unverified("over-quota")."""
        data = segment.encode()
        mine = self._bytes.get(log.device, 0) + len(data)
        if mine > self._device_bytes_max:
            raise Unverified("over-quota", "too much came early; send in order")
        if sum(self._bytes.values()) + len(data) > self._bytes_max:
            raise Unverified("over-quota", "too much of all devices came early; send in order")
        number = self._next
        self._next += 1
        self._bytes[log.device] = mine
        log.parked[number] = (segment.first, len(data), head.digest)
        return Parked(number, log.device, log.epoch, segment.first, head.digest, data)

    def take(self, log: Log, number: int) -> bytes:
        """The bytes of a parked segment, which is parked no more."""
        _, size, _ = log.parked.pop(number)
        self._freed(log.device, size)
        return self._view.parked_data(number)

    def moved(self, leaves: Callable[[bytes], bool]) -> list[bytes]:
        """The devices of which something is parked and that `leaves` says are another gateway's."""
        return [device for device in self._bytes if leaves(device)]

    def drop(
        self,
        devices: list[bytes],
        most: int,
        cached: Callable[[tuple[bytes, bytes]], Log | None],
    ) -> list[Unparked]:
        """Give up to `most` parked segments of these up; `cached`: a (device, epoch) in memory."""
        found: list[Unparked] = []
        for device in devices:
            for number, epoch, size in self._view.parked_of(device, most - len(found)):
                log = cached((device, epoch))
                if log is not None:
                    # Else one that comes again would be taken for parked, and never be.
                    log.parked.pop(number, None)
                self._freed(device, size)
                found.append(Unparked(number))
        return found

    def _freed(self, device: bytes, size: int) -> None:
        left = self._bytes.get(device, 0) - size
        if left > 0:
            self._bytes[device] = left
        else:
            self._bytes.pop(device, None)
