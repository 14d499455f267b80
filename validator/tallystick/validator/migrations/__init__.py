"""From one version of the store to the next, by alembic's operations, for every database.

A step is a file `vNNN_what.py` with one function `step(op)`; NNN is the version it leads to. It
describes tables as they were at that version and never reads `schema.metadata`, which goes on
changing. A new store is made from `schema.metadata` at once; a test compares the two ways.
"""

from collections.abc import Callable

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence.errors import CouldNotCheck
from tallystick.validator.migrations import (
    v002_witnessing,
    v003_circle,
    v004_privacy,
    v005_neighbours,
    v006_stories,
    v007_workers,
    v008_inbox,
)

Step = Callable[[Operations], None]

# STEPS[0] leads from version 1 to 2. Append only: a store in the field has taken the others.
STEPS: tuple[Step, ...] = (
    v002_witnessing.step,
    v003_circle.step,
    v004_privacy.step,
    v005_neighbours.step,
    v006_stories.step,
    v007_workers.step,
    v008_inbox.step,
)


def migrate(connection: Connection, found: int) -> None:
    """Take every step from version `found` on, in the caller's transaction.

    The caller holds the store's lock. CouldNotCheck, and nothing is changed, when a step fails.
    """
    operations = Operations(MigrationContext.configure(connection))
    for version, step in enumerate(STEPS, 2):
        if version <= found:
            continue
        try:
            step(operations)
        except SQLAlchemyError as error:
            raise CouldNotCheck(
                "bad-value",
                f"the store's migration to version {version} failed ({type(error).__name__}); "
                "the store is as it was: go back to the program that wrote it, and report this",
            ) from error
