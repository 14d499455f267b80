"""What a revocation as compromised settles of contradictions (docs/protocol.md, 5.4)."""

from typing import Any

import sqlalchemy as sa

from tallystick.evidence import checkpoint
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError
from tallystick.validator import schema
from tallystick.validator.schema import BEYOND
from tallystick.validator.work import Work
from tallystick.verify.standing import proves_nothing


def reason_left(work: Work, identity: Identity) -> str | None:
    """Why a device is suspect still, by the contradictions that were kept of it; None: it is not.

    One by a key that is compromised proves nothing any more.
    """
    table = schema.forks
    rows = work.written(table).execute(
        sa.select(table.c.reason, table.c.ours, table.c.theirs)
        .where(table.c.device == identity.id, table.c.reason != BEYOND)
        .order_by(table.c.time_ms)
    )
    return next((row.reason for row in rows if _row_counts(identity, row)), None)


def counts(identity: Identity, reason: str, ours: Checkpoint, theirs: Checkpoint) -> bool:
    """Whether a contradiction shows anything: not by a head that a thief may have signed.

    A left epoch that was gone on with is shown by the one head that goes on.
    """
    heads = (ours, theirs) if reason == "fork" else (theirs,)
    return not any(proves_nothing(identity, head) for head in heads)


def _row_counts(identity: Identity, row: Any) -> bool:
    try:
        theirs = checkpoint.parse(row.theirs)
        ours = theirs if row.ours is None else checkpoint.parse(row.ours)
        return counts(identity, row.reason, ours, theirs)
    except TallyError:
        return True
