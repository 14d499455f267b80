"""Named points on a message's way, where a test may stop the process."""

from collections.abc import Callable

RECEIVED = "received"  # a group is taken from the inbox, nothing is written
APPLIED = "applied"  # the transaction is open, everything is written
COMMITTED = "committed"  # durable, nothing is acknowledged
ACKED = "acked"  # acknowledged to the broker, no custody receipt is signed
SIGNED = "signed"  # custody receipts are stored, none has left
PUBLISHED = "published"  # custody receipts were handed to the broker
BATCHED = "batched"  # a batch is signed and not sent
ANSWERED = "answered"  # the validator answered, nothing of it is stored
MARKED = "marked"  # the answer is stored

ALL = (
    RECEIVED,
    APPLIED,
    COMMITTED,
    ACKED,
    SIGNED,
    PUBLISHED,
    BATCHED,
    ANSWERED,
    MARKED,
)

_hook: Callable[[str], None] | None = None


def on_step(hook: Callable[[str], None] | None) -> None:
    """Set or take away what is called at each point; only tests do."""
    global _hook  # noqa: PLW0603 - one process, one hook
    _hook = hook


def passed(point: str) -> None:
    """Say that this point is reached."""
    if _hook is not None:
        _hook(point)
