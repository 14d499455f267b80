"""What an operator does about each of the ten conditions: web/guide.md, as data.

The page shows it without internet, at `#/guide/NAME`. docs/operations.md has the same text
(tested). Commands stand between backticks.
"""

import re
from importlib import resources

from msgspec import Struct

_STEP = re.compile(r"[1-9]\. ")
HOLDS, COSTS = "**Holds when:** ", "**Costs:** "


class Guide(Struct, frozen=True, kw_only=True):
    """One condition: when it holds, what it costs meanwhile, what to do, in this order."""

    name: str
    holds: str
    costs: str
    steps: list[str]


class Guides(Struct, frozen=True, kw_only=True):
    """All ten, as conditions.ORDER has them."""

    guides: list[Guide]


def text() -> str:
    """The file, Markdown."""
    return (resources.files("tallystick.gateway") / "web" / "guide.md").read_text("utf-8")


def _read(part: str) -> Guide:
    name, *lines = [line for line in part.splitlines() if line]
    holds, costs, *steps = lines
    return Guide(
        name=name,
        holds=holds.removeprefix(HOLDS),
        costs=costs.removeprefix(COSTS),
        steps=[_STEP.sub("", step, count=1) for step in steps],
    )


GUIDES = Guides(guides=[_read(part) for part in text().split("### ")[1:]])
BY_NAME = {one.name: one for one in GUIDES.guides}
