"""Which line of a TOML file an error is about, where its reader names the setting alone."""

import re

_UNKNOWN = re.compile(r"unknown field `([^`]+)`")
# msgspec: "... - at `$.validators[0].url`"; ours: "limits.retry_s_max: ...".
_PATH = re.compile(r"at `(?:key in )?\$\.([A-Za-z0-9_.\[\]]+)`")
_OURS = re.compile(r"\s*([a-z_]+(?:\.[A-Za-z0-9_-]+)*):")


def hint(data: bytes, message: str) -> str:
    """` (line N)` for an error's message; empty where it names a line, or no setting is found."""
    if "line " in message:
        return ""
    for pattern in (_UNKNOWN, _PATH, _OURS):
        match = pattern.search(message) if pattern is not _OURS else pattern.match(message)
        if match is not None:
            return of_setting(data, re.sub(r"\[[^\]]*\]", "", match[1]))
    return ""


def of_setting(data: bytes, setting: str) -> str:
    """` (line N)` of a setting such as `limits.retry_s_max`; of its table where it has no line."""
    parts = setting.split(".")
    table, name = parts[:-1], parts[-1]
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        return ""
    within = not table
    found = 0
    for number, line in enumerate(lines, 1):
        head = re.match(r"\s*\[+\s*([A-Za-z0-9_.\"-]+)", line)
        if head is not None:
            within = bool(table) and head[1].split(".")[0] == table[0]
            if within or head[1] == name:
                found = found or number
        elif re.match(rf'\s*"?{re.escape(name)}"?\s*[=.]', line) and (within or not table):
            return f" (line {number})"
    return f" (line {found})" if found else ""


def of_text(data: bytes, text: str) -> str:
    """` (line N)` of the first line that holds a text, such as the name of a file."""
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        if text and text in line:
            return f" (line {number})"
    return ""
