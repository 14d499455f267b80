"""Whether a head of a left epoch shows that it was signed after its device had left it.

What merely arrives late shows nothing: it may have been sent before the journal was wiped, or held
back by somebody (docs/protocol.md, 5.4).
"""

from collections.abc import Callable, Iterable

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import event as events
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.errors import Malformed
from tallystick.gateway.limits import LATER_EPOCHS_MAX
from tallystick.gateway.tracks import Log
from tallystick.gateway.view import View

# A device's log, with what was decided in the transaction that is open.
Logs = Callable[[bytes, bytes], Log]


def revived(view: View, logs: Logs, log: Log, to: int, heads: Iterable[Checkpoint]) -> bool:
    """Whether heads up to `to` were signed after the device had left this log's epoch.

    By a custody receipt over a later epoch, whose name is random, or by a hardware counter.
    """
    if log.frozen_at is None or to <= log.frozen_at:
        return False
    later = [logs(log.device, epoch) for epoch in _descendants(view, log.device, log.epoch)]
    return any(_shows(view, later, head) for head in heads)


def _descendants(view: View, device: bytes, epoch: bytes) -> list[bytes]:
    """The epochs that came after, by what each one's first record names."""
    left = view.left_epochs(device)
    found = [epoch]
    for one in found:  # grows while it is read
        found += [after for after, before in left if before == one and after not in found]
        if len(found) > LATER_EPOCHS_MAX:
            break
    return found[1 : LATER_EPOCHS_MAX + 1]


def _shows(view: View, later: list[Log], head: Checkpoint) -> bool:
    if head.custody is not None and later:
        over = view.receipted_epoch(later[0].device, head.custody)
        if any(log.epoch == over for log in later):
            return True
    if head.counter is None:
        return False
    begun = [track.track for log in later for track in log.tracks if track.began == 0]
    return any(_counter_exceeds(view.first_checkpoint(track), head) for track in begun)


def _counter_exceeds(data: bytes | None, head: Checkpoint) -> bool:
    first = None if data is None else checkpoints.parse(data)
    if first is None or first.counter is None or head.counter is None:
        return False
    # Counters of two chips say nothing of each other.
    return first.received().kid == head.received().kid and head.counter > first.counter


def previous_of(record: bytes) -> tuple[bytes, int] | None:
    """The epoch that an epoch's first record names, with its size (docs/protocol.md, 2.1)."""
    try:
        event = events.parse(record)
    except Malformed:
        return None
    previous = event.details.get("previous")
    if event.event != "epoch" or not isinstance(previous, list) or len(previous) != 3:
        return None
    epoch, size, _root = previous
    if not isinstance(epoch, bytes) or not isinstance(size, int) or isinstance(size, bool):
        return None
    return epoch, size
