"""Reads of the store for the page, beside the devices' (pagedevices.py)."""

import re
import sqlite3
import time
from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

from msgspec.structs import replace

from tallystick.evidence import verdict as verdicts
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import b64u, device_text
from tallystick.gateway import holds, pagelimits, pagewords
from tallystick.gateway.pagestate import (
    Conflict,
    Hold,
    Named,
    Quarantined,
    Refused,
    Validator,
)

T = TypeVar("T")
CONFLICTING = "conflicting"
# A validator refuses these for what a device signed itself; its key's end is all that can be done.
SETTLED_BY_AN_END = frozenset({"fork", "revoked"})
# How forward.py ends the text of a validator's refusal; a line that failed has no such end.
_REFUSAL = re.compile(r"\(([a-z]+(-[a-z0-9]+)*)\)\Z")
_NOW_ERRORS = "SELECT name, cursor, batches, answered_ms, error, error_ms FROM validators"


class Paced(Generic[T]):
    """A count that reads a whole table: made so seldom that it takes a hundredth of the time."""

    def __init__(self, count: Callable[[sqlite3.Connection], T]) -> None:
        self._count = count
        self._value: T | None = None
        self._due_s = 0.0

    def get(self, connection: sqlite3.Connection) -> T:
        """The newest value there is."""
        begin_s = time.monotonic()
        if self._value is None or begin_s >= self._due_s:
            self._value = self._count(connection)
            took_s = time.monotonic() - begin_s
            self._due_s = begin_s + took_s / pagelimits.COUNT_SHARE
        return self._value


def verdicts_by_validator(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """How many verdicts in force each gave, by state."""
    found: dict[str, dict[str, int]] = {}
    for validator, state, count in connection.execute(
        "SELECT validator, state, count(*) FROM verdicts WHERE superseded = 0 "
        "GROUP BY validator, state"
    ):
        found.setdefault(validator, {})[state] = count
    return found


class Counts:
    """What is counted over whole tables, each at its own pace."""

    def __init__(self) -> None:
        self.receipts = Paced(partial(_by_validator, table="receipts"))
        self.held = Paced(_held)
        self.aside = Paced(partial(_by_validator, table="set_aside"))
        self.states = Paced(verdicts_by_validator)
        self.custody = Paced(_custody_receipts)
        self.set_aside = Paced(set_aside)
        self.own_quarantine = Paced(own_quarantine)
        self.refused = Paced(refused)


def _by_validator(connection: sqlite3.Connection, table: str) -> dict[str, int]:
    sql = f"SELECT validator, count(*) FROM {table} GROUP BY validator"  # noqa: S608 - our own names
    return dict(connection.execute(sql).fetchall())


def _held(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    # How many, and the oldest of them.
    rows = connection.execute("SELECT validator, count(*), min(at) FROM held GROUP BY validator")
    return {name: (count, at) for name, count, at in rows}


def _custody_receipts(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM custody").fetchone()
    return int(count)


def validators(
    connection: sqlite3.Connection, urls: dict[str, str], size: int, counts: Counts, now_ms: int
) -> list[Validator]:
    """Those that are served now, by name."""
    held, aside = counts.held.get(connection), counts.aside.get(connection)
    receipts, states = counts.receipts.get(connection), counts.states.get(connection)
    quotas = dict(
        connection.execute(
            "SELECT validator, quota FROM quota_refusals WHERE until_ms > ? GROUP BY validator",
            (now_ms,),
        )
    )
    found = []
    for name, cursor, batches, answered_ms, error, error_ms in connection.execute(
        f"{_NOW_ERRORS} ORDER BY name"
    ).fetchall():
        if name not in urls:
            continue
        count, oldest = held.get(name, (0, cursor))
        waits = _came_ms(connection, min(cursor, oldest)) if cursor < size or count else None
        refuses = refusal_of(error)
        if refuses is None and name in quotas and count:
            refuses = f"the quota {quotas[name]} is used up (over-quota)"
        found.append(
            Validator(
                name=name,
                url=urls[name],
                cursor=cursor,
                lag=max(0, size - cursor),
                held=count,
                waits_since_ms=waits,
                batches=batches,
                receipts=receipts.get(name, 0),
                answered_ms=answered_ms,
                error=None if error is None else pagewords.quoted(error),
                error_ms=error_ms,
                refuses=None if refuses is None else pagewords.quoted(refuses),
                set_aside=aside.get(name, 0),
                verdicts=states.get(name, {}),
            )
        )
    return found


def refusal_of(error: str | None) -> str | None:
    """What a validator refused for; None where it did not answer."""
    return error if error is not None and _REFUSAL.search(error) else None


def _came_ms(connection: sqlite3.Connection, at: int) -> int | None:
    row = connection.execute("SELECT time_ms FROM segments WHERE at = ?", (at,)).fetchone()
    return None if row is None else int(row[0])


def refused(connection: sqlite3.Connection) -> list[Refused]:
    """What was refused, by reason."""
    # SQLite gives the bare column of the row that has the maximum.
    rows = connection.execute(
        "SELECT reason, sum(count), max(last_ms), message FROM refusals GROUP BY reason "
        "ORDER BY reason LIMIT ?",
        (pagelimits.REASONS_MAX,),
    )
    return [
        Refused(reason=reason, count=count, last_ms=last_ms, message=message)
        for reason, count, last_ms, message in rows
    ]


class SetAside(NamedTuple):
    """Segments of one device that one validator set aside for one reason."""

    validator: str
    reason: str
    device: bytes
    segments: int
    since_ms: int


def set_aside(connection: sqlite3.Connection) -> list[SetAside]:
    """What validators set aside, by whose it is."""
    rows = connection.execute(
        "SELECT a.validator, a.reason, t.device, count(*), min(a.time_ms) FROM set_aside a "
        "JOIN segments s USING (at) JOIN tracks t USING (track) "
        "GROUP BY a.validator, a.reason, t.device LIMIT ?",
        (pagelimits.SET_ASIDE_ROWS_MAX,),
    )
    return [SetAside(*row) for row in rows]


def own_quarantine(connection: sqlite3.Connection) -> list[Quarantined]:
    """What this gateway itself set aside."""
    rows = [
        *connection.execute(
            "SELECT 'this store', 'damaged', count(*), min(found_ms) FROM damaged "
            "HAVING count(*) > 0"
        ),
        *connection.execute(
            "SELECT 'this gateway', 'internal-error', count(*), min(first_ms) FROM poison "
            "HAVING count(*) > 0"
        ),
    ]
    return [
        Quarantined(where=where, reason=reason, count=count, since_ms=since_ms)
        for where, reason, count, since_ms in rows
    ]


def quarantine(
    rows: Iterable[SetAside], own: list[Quarantined], urls: Iterable[str], ended: Container[bytes]
) -> list[Quarantined]:
    """By who set it aside and why; without validators that are served no more: nobody waits.

    ended: devices whose key has ended, so that what contradicts it is settled.
    """
    found: dict[tuple[str, str], Quarantined] = {}
    for row in rows:
        if row.validator not in urls:
            continue
        key = (row.validator, row.reason)
        first = found.get(key) or Quarantined(
            where=f"validator {row.validator}", reason=row.reason, count=0, since_ms=row.since_ms
        )
        settled = row.reason in SETTLED_BY_AN_END and row.device in ended
        found[key] = replace(
            first,
            count=first.count + row.segments,
            since_ms=min(first.since_ms, row.since_ms),
            settled=first.settled + (row.segments if settled else 0),
        )
    return [*(found[key] for key in sorted(found)[: pagelimits.REASONS_MAX]), *own]


def holds_in_force(connection: sqlite3.Connection) -> list[Hold]:
    """Holds in force, the oldest first."""
    rows = connection.execute(
        "SELECT name, why, since_ms, devices FROM holds WHERE ended_ms IS NULL "
        "ORDER BY since_ms LIMIT ?",
        (pagelimits.HOLDS_SHOWN_MAX,),
    )
    return [
        Hold(
            name=name,
            why=why,
            since_ms=since_ms,
            devices=None if devices == holds.ALL else len(devices.split()),
        )
        for name, why, since_ms, devices in rows
    ]


class Conflicts:
    """The conflicting verdicts of the last day that nothing superseded; remembered."""

    def __init__(self) -> None:
        self._after: dict[str, int] = {}
        self._kept: dict[tuple[str, int], Conflict] = {}

    def read(
        self, connection: sqlite3.Connection, urls: dict[str, str], now_ms: int
    ) -> list[Conflict]:
        """Newest first."""
        oldest_ms = now_ms - pagelimits.CONFLICTS_KEPT_MS
        for name, url in urls.items():
            self._look(connection, name, url, oldest_ms)
        for key, one in list(self._kept.items()):
            row = connection.execute(
                "SELECT superseded FROM verdicts WHERE validator = ? AND entry = ?", key
            ).fetchone()
            if row is None or row[0] or one.time_ms < oldest_ms or key[0] not in urls:
                del self._kept[key]
        found = sorted(self._kept.values(), key=lambda one: one.time_ms, reverse=True)
        for one in found[pagelimits.CONFLICTS_MAX :]:
            del self._kept[one.validator, one.entry]
        return found[: pagelimits.CONFLICTS_MAX]

    def _look(self, connection: sqlite3.Connection, name: str, url: str, oldest_ms: int) -> None:
        (newest,) = connection.execute(
            "SELECT max(entry) FROM verdicts WHERE validator = ?", (name,)
        ).fetchone()
        if newest is None:
            self._after.pop(name, None)
            return
        after = self._after.get(name, -1)
        if newest < after:
            after = -1  # another validator under this name
        rows = connection.execute(
            "SELECT entry, namespace, interaction, state, superseded, time_ms, data FROM verdicts "
            "WHERE validator = ? AND entry > ? ORDER BY entry DESC LIMIT ?",
            (name, after, pagelimits.VERDICTS_LOOKED_MAX),
        )
        for entry, namespace, interaction, state, superseded, time_ms, data in rows:
            if time_ms < oldest_ms:
                break
            if state == CONFLICTING and not superseded:
                self._kept[name, entry] = _conflict(
                    (name, url), entry, (namespace, interaction), time_ms, data
                )
        self._after[name] = newest


def _conflict(
    validator: tuple[str, str],
    entry: int,
    interaction: tuple[str, bytes],
    time_ms: int,
    data: bytes,
) -> Conflict:
    name, url = validator
    namespace, id_ = interaction
    why, devices = "", list[Named]()
    try:
        finding = verdicts.parse(data).finding
        failed = [
            f"{one.check} {one.name}: {one.reason}"
            for one in finding.checks
            if one.result == "fail"
        ]
        why = "; ".join(failed)
        ids = {device_text(one) for role in finding.parties.values() for one in role}
        devices = [Named(id=one, name=f"{one[:8]}…") for one in sorted(ids)]
    except TallyError as error:
        why = error.message
    return Conflict(
        validator=name,
        namespace=pagewords.quoted(namespace),
        interaction=b64u(id_),
        entry=entry,
        time_ms=time_ms,
        link=f"{url}/#/interaction/{quote(namespace, safe='')}/{b64u(id_)}",
        why=pagewords.quoted(why),
        devices=devices,
    )
