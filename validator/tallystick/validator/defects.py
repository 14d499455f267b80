"""A defect of ours in a log line: where it shows, and nothing that somebody sent."""

import traceback
from pathlib import Path

from sqlalchemy.exc import DataError, IntegrityError

# The store works and does not take this: another try goes no better (store-full says "later").
OF_CONTENT = (IntegrityError, DataError)
FRAMES_SHOWN = 5


def described(error: Exception) -> dict[str, str]:
    """The constraint, the type and our line; parameters of a statement may be anybody's content."""
    found = {"error": type(error).__name__}
    if isinstance(error, OF_CONTENT):
        found["constraint"] = _constraint(error)
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "tallystick" in Path(frame.filename).parts
    ]
    if ours:
        last = ours[-FRAMES_SHOWN:]
        found["at"] = " ".join(f"{Path(one.filename).name}:{one.lineno}" for one in last)
    return found


def _constraint(error: IntegrityError | DataError) -> str:
    told = getattr(error.orig, "diag", None)  # psycopg's
    if told is not None:
        return str(told.constraint_name or told.sqlstate or "not named")
    # SQLite names table and column, or the constraint, and no value.
    return str(error.orig) if isinstance(error, IntegrityError) else "not named"
