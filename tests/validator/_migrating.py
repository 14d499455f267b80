"""Migrates a store again and again, each time killed at the next statement; its states on stdout.

python _migrating.py PLACE EVERY      PLACE: a file of version 1, copied first, or a database's URL
"""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tallystick.validator import _postgresql
from tallystick.validator.place import Place, Server, parse_place
from tallystick.validator.store import Store

KILLED = 9
STATEMENTS_MAX = 2_000


def migrate(place: Place, last: int) -> None:
    """As a start does; the process dies before statement `last`."""
    passed = 0

    def count(*_: Any) -> None:
        nonlocal passed
        passed += 1
        if passed == last:
            os._exit(KILLED)  # no handler runs, nothing is rolled back by us

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", count)
    sa.event.listen(sa.engine.Engine, "commit", count)
    Store(place).close()


def main() -> None:
    given, every = sys.argv[1], int(sys.argv[2])
    path = Path(given)
    on_disk = "://" not in given
    for last in range(1, STATEMENTS_MAX, every):
        if on_disk:
            copy = path.with_name("copy.sqlite")
            for old in path.parent.glob("copy.sqlite*"):
                old.unlink()
            shutil.copy(path, copy)
        place = parse_place(str(copy) if on_disk else given, path.parent)
        child = os.fork()
        if not child:
            migrate(place, last)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        while isinstance(place, Server) and not _postgresql.is_free(place):
            time.sleep(0.005)  # the server has yet to notice
        code = os.waitstatus_to_exitcode(status)
        print(last, code, state(place), flush=True)
        if code != KILLED:
            return


def state(place: Place) -> str:
    """The version, and every table with its columns and how many rows it has."""
    url = place.url if isinstance(place, Server) else f"sqlite:///{place}"
    engine = sa.create_engine(url)
    try:
        found = sa.inspect(engine)
        with engine.connect() as connection:
            tables = [
                (
                    name,
                    sorted(column["name"] for column in found.get_columns(name)),
                    connection.exec_driver_sql(f'SELECT count(*) FROM "{name}"').scalar_one(),
                )
                for name in sorted(found.get_table_names())
            ]
            version = connection.exec_driver_sql(
                "SELECT value FROM meta WHERE name = 'schema'"
            ).scalar_one()
    finally:
        engine.dispose()
    return f"{version} {tables}"


if __name__ == "__main__":
    main()
