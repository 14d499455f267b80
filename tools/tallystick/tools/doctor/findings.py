"""One thing that the doctor looked at."""

from collections.abc import Callable
from dataclasses import dataclass

from tallystick.evidence.errors import TallyError

GOOD, RISK, BAD, NOT_CHECKED = "good", "risk", "bad", "not checked"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it stands, what was found, and what to do unless it is good."""

    name: str
    level: str
    found: str
    what_to_do: str = ""


def good(name: str, found: str) -> Finding:
    """As it should be."""
    return Finding(name, GOOD, found)


def risk(name: str, found: str, what_to_do: str) -> Finding:
    """It works, and will fail on some day."""
    return Finding(name, RISK, found, what_to_do)


def bad(name: str, found: str, what_to_do: str) -> Finding:
    """It does not work."""
    return Finding(name, BAD, found, what_to_do)


def not_checked(name: str, found: str, what_to_do: str) -> Finding:
    """Nobody looked, and why."""
    return Finding(name, NOT_CHECKED, found, what_to_do)


def looked(name: str, look: Callable[[], list[Finding]], what_to_do: str) -> list[Finding]:
    """What `look` finds; an error of it is a finding too."""
    try:
        return look()
    except TallyError as error:
        return [bad(name, error.message, what_to_do)]
    except OSError as error:
        found = f"{error.filename or ''} {error.strerror or error}".strip()
        return [bad(name, found, what_to_do)]
