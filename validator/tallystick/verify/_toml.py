"""Strict reading of TOML: every key is known, every error names its line and key.

TOML text comes from people, so an error says where it is and what to write instead.  Decimal
fractions of TOML itself are refused: a reader rounds them to binary on the way.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tallystick.evidence import number
from tallystick.evidence.errors import Malformed

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
DURATION = re.compile(r"(0|[1-9][0-9]{0,14}) (ms|s|min|h)")
UNIT_MS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
DURATION_MS_MAX = 366 * 24 * 3_600_000

Number = int | number.Dec
Path = tuple[str | int, ...]


class Table:
    """One table of a TOML document; `finish` refuses the keys that nobody asked for."""

    def __init__(self, document: Document, path: Path, values: dict[str, Any]) -> None:
        self.document = document
        self.path = path
        self.values = values
        self._asked: set[str] = set()

    def fail(self, key: str | None, what: str) -> Malformed:
        """The error to raise about a key of this table."""
        return self.document.fail((*self.path, key) if key is not None else self.path, what)

    def has(self, key: str) -> bool:
        """Whether the key is given."""
        return key in self.values

    def names(self) -> list[str]:
        """All keys, which are names that the author chose."""
        self._asked.update(self.values)
        return list(self.values)

    def _get(self, key: str, kind: type, what: str, default: Any) -> Any:
        self._asked.add(key)
        if key not in self.values:
            if default is ...:
                raise self.fail(key, f"is missing: give {what}")
            return default
        value = self.values[key]
        if type(value) is not kind:
            raise self.fail(key, f"must be {what}")
        return value

    def text(self, key: str, *, default: Any = ..., chars_max: int = 1024) -> str:
        """Text of 1 to `chars_max` characters."""
        value = self._get(key, str, "text in quotes", default)
        if value is not default and not 1 <= len(value) <= chars_max:
            raise self.fail(key, f"must have 1 to {chars_max} characters")
        return value  # type: ignore[no-any-return]  # _get has checked the type

    def name(self, key: str, *, default: Any = ...) -> str:
        """A name as docs/reconciliation.md, section 1, has them."""
        value = self.text(key, default=default)
        if value is not default:
            self.check_name(value, key)
        return value

    def check_name(self, value: str, key: str | None) -> None:
        """Malformed unless a name."""
        if not NAME.fullmatch(value):
            raise self.fail(key, f"{value!r} is no name: use a-z, 0-9, _ and -, a letter first")

    def integer(self, key: str, least: int, most: int, *, default: Any = ...) -> int:
        """A whole number in a range."""
        value = self._get(key, int, "a whole number", default)
        if value is not default and not least <= value <= most:
            raise self.fail(key, f"must be {least} to {most}")
        return value  # type: ignore[no-any-return]  # _get has checked the type

    def boolean(self, key: str, *, default: Any = ...) -> bool:
        """True or false."""
        return self._get(key, bool, "true or false", default)  # type: ignore[no-any-return]

    def decimal(self, key: str, *, default: Any = ...) -> Number:
        """An exact number, written as text, not negative."""
        value = self._get(key, str, 'decimal text in quotes, like "0.25"', default)
        if value is default:
            return value  # type: ignore[no-any-return]  # the caller's own default
        try:
            exact = number.from_text(value)
        except Malformed as error:
            raise self.fail(key, error.message) from None
        if number.compare(exact, 0) < 0:
            raise self.fail(key, "must not be negative")
        return exact

    def duration_ms(self, key: str, *, default: Any = ...) -> int:
        """A duration, written as text, in milliseconds."""
        value = self._get(key, str, 'a duration in quotes, like "60 s"', default)
        if value is default:
            return value  # type: ignore[no-any-return]  # the caller's own default
        match = DURATION.fullmatch(value)
        if match is None:
            raise self.fail(key, 'must be a whole number and ms, s, min or h, like "60 s"')
        duration = int(match[1]) * UNIT_MS[match[2]]
        if duration > DURATION_MS_MAX:
            raise self.fail(key, "must be at most 366 days")
        return duration

    def texts(self, key: str, *, default: Any = ..., items_max: int = 64) -> list[str]:
        """A list of texts."""
        value = self.items(key, default=default, items_max=items_max)
        if value is default:
            return value  # type: ignore[no-any-return]  # the caller's own default
        for item in value:
            if type(item) is not str or not item:
                raise self.fail(key, "must be a list of texts in quotes")
        return value

    def items(self, key: str, *, default: Any = ..., items_max: int = 64) -> list[Any]:
        """A list whose items the caller checks."""
        value = self._get(key, list, "a list", default)
        if value is not default and len(value) > items_max:
            raise self.fail(key, f"must have at most {items_max} items")
        return value  # type: ignore[no-any-return]  # _get has checked the type

    def value(self, key: str) -> Any:
        """Whatever stands there; the caller checks it."""
        self._asked.add(key)
        return self.values[key]

    def table(self, key: str, *, default: Any = ...) -> Table:
        """A table below this one."""
        value = self._get(key, dict, "a table", default)
        if value is default:
            value = {}
        return Table(self.document, (*self.path, key), value)

    def tables(self, key: str, *, default: Any = ..., items_max: int = 64) -> list[Table]:
        """A list of tables below this one."""
        value = self._get(key, list, f"tables, each beginning with [[{key}]]", default)
        if value is default:
            return []
        if len(value) > items_max:
            raise self.fail(key, f"must have at most {items_max} items")
        for item in value:
            if type(item) is not dict:
                raise self.fail(key, f"must be tables, each beginning with [[{key}]]")
        return [Table(self.document, (*self.path, key, at), item) for at, item in enumerate(value)]

    def finish(self) -> None:
        """Malformed when the table has a key that nobody asked for."""
        for key in self.values:
            if key not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise self.fail(key, f"is not known here; known are: {known}")


class Document:
    """A TOML text; `what` is how errors call it."""

    def __init__(self, text: str, what: str, bytes_max: int) -> None:
        self.text = text
        self.what = what
        if len(text.encode("utf-8", "surrogatepass")) > bytes_max:
            raise Malformed("too-large", f"{what}: longer than {bytes_max} bytes")
        try:
            values = msgspec.toml.decode(text)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise Malformed("bad-value", f"{what}: {error}") from None
        except RecursionError:
            raise Malformed("too-deep", f"{what}: nested too deep") from None
        self.top = Table(self, (), values)

    def fail(self, path: Path, what: str) -> Malformed:
        """The error to raise about what stands at `path`."""
        named = ".".join(str(part) for part in path if isinstance(part, str)) or "the file"
        return Malformed("bad-value", f"{self.what}: line {self.line(path)}: {named}: {what}")

    def line(self, path: Path) -> int:
        """The line of the deepest part of `path` that the text has, from 1."""
        best_depth, best_line = 0, 1
        table: Path = ()
        counts: dict[str, int] = {}
        for at, raw in enumerate(self.text.splitlines(), 1):
            line = raw.strip()
            if line.startswith("["):
                head = _parts(line.strip("[]").split("]")[0])
                if line.startswith("[["):
                    name = ".".join(head)
                    counts[name] = counts.get(name, -1) + 1
                    table = (*head, counts[name])
                else:
                    table = head
                here = table
            elif "=" in line and not line.startswith("#"):
                here = (*table, *_parts(line.split("=")[0]))
            else:
                continue
            depth = _common(here, path)
            # A line about something else below the same table is no better place than the table.
            if depth > best_depth and depth == min(len(here), len(path)):
                best_depth, best_line = depth, at
        return best_line


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _common(one: Path, other: Path) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
