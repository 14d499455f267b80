"""Which line of a TOML file an error is about, where its reader names the setting alone."""

import re

_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
# msgspec: "... - at `$.validators[0].url`"; ours: "limits.retry_s_max: ...".
_PATH = re.compile(r"at `(?:key in )?\$\.([A-Za-z0-9_.\[\]]+)`")
# A second name after a comma or "and" is the other half of what is wrong.
_OURS = re.compile(r"\s*([a-z_]+(?:\.[A-Za-z0-9_-]+)*)(?:(?:,| and) [A-Za-z0-9_.-]+)*:")
_HEAD = re.compile(r"\s*\[+\s*([A-Za-z0-9_.\"-]+)")


def hint(data: bytes, message: str) -> str:
    """` (line N)` for an error's message; empty where it names a line, or no setting is found."""
    if "line " in message:
        return ""
    for pattern in (_UNKNOWN, _PATH, _OURS):
        match = pattern.search(message) if pattern is not _OURS else pattern.match(message)
        if match is not None:
            return of_setting(data, re.sub(r"\[([^\]]*)\]", r".\1", match[1]))
    return ""


def of_setting(data: bytes, setting: str) -> str:
    """` (line N)` of a setting such as `limits.retry_s_max`; of its table where it has no line.

    Of a table that stands there more than once, its name or its number is the second part.
    """
    parts = setting.split(".")
    table, which, name = parts[0], parts[1:-1], parts[-1]
    try:
        tables = _tables(data.decode().splitlines())
    except UnicodeDecodeError:
        return ""
    if len(parts) == 1:
        # Also one that stands in a table: an unknown field is named without it.
        own = [one for one in tables if one[0] == name]
        found = [_line(one, name) for one in tables] + [begin for _, begin, _ in own]
    else:
        own = [one for one in tables if one[0] == table]
        own = [own[int(which[0])]] if _counts(which, own) else _named(which, own)
        found = [_line(one, name) for one in own] + [begin for _, begin, _ in own]
    return next((f" (line {number})" for number in found if number), "")


_Table = tuple[str, int, list[str]]


def _tables(lines: list[str]) -> list[_Table]:
    """(name, number of its first line, lines from there); what stands before all has no name."""
    found: list[_Table] = [("", 0, [""])]
    for number, line in enumerate(lines, 1):
        head = _HEAD.match(line)
        if head is not None:
            found.append((head[1].split(".")[0], number, []))
        found[-1][2].append(line)
    return found


def _counts(which: list[str], own: list[_Table]) -> bool:
    return len(which) == 1 and which[0].isdecimal() and int(which[0]) < len(own)


def _named(which: list[str], own: list[_Table]) -> list[_Table]:
    if not which:
        return own
    line = re.compile(rf'\s*name\s*=\s*["\']{re.escape(which[0])}["\']')
    return [one for one in own if any(line.match(text) for text in one[2])] or own


def _line(table: _Table, name: str) -> int:
    """The number of the line that gives it a value; 0 where none does."""
    given = re.compile(rf'\s*"?{re.escape(name)}"?\s*[=.]')
    _, begin, lines = table
    return next((begin + n for n, line in enumerate(lines) if given.match(line)), 0)


def of_text(data: bytes, text: str) -> str:
    """` (line N)` of the first line that holds a text, such as the name of a file."""
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        if text and text in line:
            return f" (line {number})"
    return ""
