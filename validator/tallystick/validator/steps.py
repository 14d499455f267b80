"""Named points between the steps of a commit, where a test may stop the process."""

from collections.abc import Callable

SEQUENCED = "sequenced"  # entries are written, the transaction is open
INTEGRATED = "integrated"  # entries and nodes are durable, nothing is published
SIGNED = "signed"  # the checkpoint is signed and not stored
PUBLISHED = "published"  # the checkpoint is durable, no receipt has left
ANSWERED = "answered"  # the answer is stored
WITNESSED = "witnessed"  # another log's checkpoint is stored and not cosigned
TILED = "tiled"  # tiles and bundles are written, the checkpoint over them is not
# An ingest worker's (ingestduty.py):
LOCKED = "locked"  # a batch is taken, nothing of it was looked at
LOOKED = "looked"  # its signatures are verified, nothing is written
HANDED = "handed"  # its facts are committed
TAKEN = "taken"  # a worker has locked a portion
COMPUTED = "computed"  # it has the findings of it
PROPOSED = "proposed"  # it has written its proposal, the transaction is open

_hook: Callable[[str], None] | None = None


def on_step(hook: Callable[[str], None] | None) -> None:
    """Set or take away what is called at each point; only tests do."""
    global _hook  # noqa: PLW0603 - one process has one sequencer
    _hook = hook


def passed(point: str) -> None:
    """Say that this point is reached."""
    if _hook is not None:
        _hook(point)
