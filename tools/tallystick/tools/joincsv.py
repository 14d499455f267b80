"""Which robots a fleet expects: the CSV file of `tally fleet approve --from`.

The first line names the columns. A line says by `serial` or `thumbprint` which device is meant, and
what the fleet signs of it:

    serial,label,asset_tag,names.vda5050,profile,custody
    0001,robot-1,A-0001,agv-1,handover,secure-element
"""

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_from_text
from tallystick.evidence.limits import NAME_BYTES_MAX
from tallystick.tools._files import read_text
from tallystick.tools.fleetdir import LABEL

FILE_BYTES_MAX = 16 << 20
LINES_MAX = 100_000
CELL_CHARS_MAX = 256
KEYS = ("serial", "thumbprint")
COLUMNS = (*KEYS, "label", "asset_tag", "manufacturer", "profile", "namespace", "broker", "custody")
NAMES = re.compile(r"names\.[A-Za-z0-9_.-]{1,58}")


@dataclass(frozen=True)
class Row:
    """One line: which device, and what is said of it; empty texts are None."""

    line: int
    serial: str | None
    thumbprint: bytes | None
    label: str
    custody: int
    profiles: tuple[str, ...] | None = None
    namespace: str | None = None
    broker: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def wanted(self) -> str:
        """For people."""
        return f"serial {self.serial}" if self.serial is not None else f"label {self.label}"


@dataclass(frozen=True)
class Wrong:
    """A line that cannot be followed, and why."""

    line: int
    why: str


def read(path: Path) -> tuple[list[Row], list[Wrong]]:
    """Rows and wrong lines; Malformed where the file as a whole is none of ours."""
    return parse(read_text(path, FILE_BYTES_MAX), str(path))


def parse(text: str, where: str) -> tuple[list[Row], list[Wrong]]:
    """As read, of a text."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    rows: list[Row] = []
    wrong: list[Wrong] = []
    try:
        columns = _columns(next(reader, []), where)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) + len(wrong) >= LINES_MAX:
                raise Malformed("too-large", f"{where}: over {LINES_MAX:,} lines")
            try:
                rows.append(_row(reader.line_num, columns, cells))
            except Malformed as error:
                wrong.append(Wrong(reader.line_num, error.message))
    except csv.Error as error:
        raise Malformed("bad-value", f"{where}, line {reader.line_num}: {error}") from None
    return _unique(rows, wrong)


def _columns(names: list[str], where: str) -> list[str]:
    found = [name.strip() for name in names]
    for name in found:
        if name not in COLUMNS and not NAMES.fullmatch(name):
            known = ", ".join([*COLUMNS, "names.SYSTEM"])
            raise Malformed(
                "bad-value", f"{where}, line 1: no column {name[:40]!r}; known: {known}"
            )
    if len(set(found)) != len(found):
        raise Malformed("duplicate-key", f"{where}, line 1: a column is there twice")
    if not set(KEYS) & set(found):
        raise Malformed("bad-value", f"{where}, line 1: needs the column serial or thumbprint")
    return found


def _row(line: int, columns: list[str], cells: list[str]) -> Row:
    if len(cells) != len(columns):
        raise Malformed("bad-value", f"has {len(cells)} cells, and line 1 has {len(columns)}")
    given = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()}
    for name, cell in given.items():
        if len(cell) > CELL_CHARS_MAX or not cell.isprintable():
            raise Malformed("bad-value", f"{name}: over {CELL_CHARS_MAX} characters, or no text")
    if not set(KEYS) & set(given):
        raise Malformed("bad-value", "names neither serial nor thumbprint")
    text = given.get("thumbprint")
    thumbprint = None
    if text is not None:
        try:
            thumbprint = device_from_text(text)
        except Malformed:
            raise Malformed("bad-value", "thumbprint: 43 characters of an id") from None
    custody = given.get("custody", CUSTODIES[0])
    if custody not in CUSTODIES:
        raise Malformed("bad-value", f"custody: one of {', '.join(CUSTODIES)}")
    named = given.get("label") or given.get("asset_tag") or given.get("serial") or text or ""
    if not LABEL.fullmatch(named):
        raise Malformed("bad-value", "label: 1 to 64 letters, digits, . _ - (else asset_tag is it)")
    profiles = tuple(given["profile"].split()) if "profile" in given else None
    return Row(
        line,
        given.get("serial"),
        thumbprint,
        named,
        CUSTODIES.index(custody),
        profiles,
        given.get("namespace"),
        given.get("broker"),
        _details(given),
    )


def _details(given: dict[str, str]) -> dict[str, Any]:
    details: dict[str, Any] = {
        name: given[name] for name in ("manufacturer", "serial", "asset_tag") if name in given
    }
    names = {
        name.partition(".")[2]: cell for name, cell in given.items() if name.startswith("names.")
    }
    for name in names:
        if len(name.encode()) > NAME_BYTES_MAX:
            raise Malformed("too-large", f"names.{name}: the name is too long")
    if names:
        details["names"] = names
    return details


def _unique(rows: list[Row], wrong: list[Wrong]) -> tuple[list[Row], list[Wrong]]:
    """Nothing may stand for two robots: of equal lines none is followed but the first."""
    seen: dict[tuple[str, object], int] = {}
    good: list[Row] = []
    for row in rows:
        marks = [("serial", row.serial), ("thumbprint", row.thumbprint), ("label", row.label)]
        twice = [
            f"{name} stands in line {seen[name, value]} too"
            for name, value in marks
            if value is not None and (name, value) in seen
        ]
        for name, value in marks:
            if value is not None:
                seen.setdefault((name, value), row.line)
        if twice:
            wrong.append(Wrong(row.line, "; ".join(twice)))
        else:
            good.append(row)
    return good, sorted(wrong, key=lambda one: one.line)
