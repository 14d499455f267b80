"""What stores say while processes have them open: only to know when all is done."""

import sqlite3
from pathlib import Path
from typing import Any

from chaos.plan import VALIDATORS


def _ask(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def cursors(path: Path) -> str:
    """How many segments a gateway has, and where its validators are."""
    try:
        ((count,),) = _ask(path, "SELECT count(*) FROM segments")
        cursors = dict(_ask(path, "SELECT name, cursor FROM validators"))
    except sqlite3.Error as error:
        return str(error)
    return f"{count} {sorted(cursors.values())}"


def sent_all(path: Path) -> bool:
    """Whether a gateway's validators have everything."""
    try:
        # What is parked was never acknowledged: its device sent it again, elsewhere maybe.
        ((count, held, aside),) = _ask(
            path,
            "SELECT (SELECT count(*) FROM segments), (SELECT count(*) FROM held),"
            " (SELECT count(*) FROM set_aside)",
        )
        cursors = dict(_ask(path, "SELECT name, cursor FROM validators"))
    except sqlite3.Error:
        return False
    sent = set(cursors) == set(VALIDATORS) and set(cursors.values()) == {count}
    return sent and not (held or aside)


def reconciled(path: Path) -> bool:
    """Whether a validator has found all that is to be found."""
    try:
        return _ask(path, "SELECT 1 FROM party_sets WHERE dirty LIMIT 1") == []
    except sqlite3.Error:
        return False
