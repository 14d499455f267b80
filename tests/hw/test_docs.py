"""Whatever drivers and the recorder say has its row in the pages that their users read."""

import ast
import re
from pathlib import Path

import pytest

from tallystick.evidence import errors

TOP = Path(__file__).parents[2]
RAISING = {
    name
    for name, one in vars(errors).items()
    if isinstance(one, type) and issubclass(one, errors.TallyError)
} | {"_refused"}
# The protocol's own reasons are held to its page by tests/evidence/test_cddl.py.
PROTOCOL = (TOP / "docs/protocol.md").read_text().split("### 1.7")[1].split("### 1.8")[0]
# What nobody meets who does not write a driver or an uplink.
INTERNAL = {"no-uplink", "cannot-sign"}


def named(page: str) -> set[str]:
    """What a page names in code's type; of `part:reason` the reason."""
    text = (TOP / page).read_text()
    return {word.rpartition(":")[2] for word in re.findall(r"`([a-z0-9:-]+)`", text)}


def said(folder: str) -> dict[str, str]:
    """Reason to the file that gives it: of errors, and of tables of answers."""
    found = {}
    for path in sorted((TOP / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            reason: ast.expr | None = None
            if isinstance(node, ast.Call) and node.args:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
                name = name.id if isinstance(name, ast.Name) else name
                reason = node.args[0] if name in RAISING else None
                if name == "fault" and len(node.args) > 1:
                    reason = node.args[1]
            elif isinstance(node, ast.Dict):
                tables = [one for one in node.values if isinstance(one, ast.Tuple)]
                for table in tables:
                    if len(table.elts) == 2 and isinstance(table.elts[0], ast.Constant):
                        found[str(table.elts[0].value)] = path.name
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                pair = node.value.elts
                if ast.unparse(node.targets[0]) == "(reason, says)":
                    reason = pair[0]
            if isinstance(reason, ast.Constant) and isinstance(reason.value, str):
                found[reason.value] = path.name
    return {
        reason: file for reason, file in found.items() if re.fullmatch(r"[a-z][a-z0-9-]*", reason)
    }


def test_the_reader_finds_reasons_of_every_form() -> None:
    hw = said("hw/tallystick/hw")
    assert {"no-chip", "pin-locked", "token-busy", "closed", "not-signing"} <= set(hw)
    assert {"rollback", "worn-out", "no-journal"} <= set(said("firmware/tallystick/recorder"))
    assert {"no-chip", "wrong-serial", "no-token"} <= named("docs/hardware.md")


@pytest.mark.parametrize(
    ("folder", "page"),
    [
        ("hw/tallystick/hw", "docs/hardware.md"),
        ("firmware/tallystick/recorder", "docs/recorder.md"),
    ],
)
def test_whatever_is_said_is_explained(folder: str, page: str) -> None:
    ours = named(page) | INTERNAL
    missing = {
        reason: file
        for reason, file in said(folder).items()
        if reason not in ours and f"`{reason}`" not in PROTOCOL
    }
    assert missing == {}


def test_no_row_is_left_of_what_is_not_said_any_more() -> None:
    paths = [path for room in ("hw", "firmware", "tools") for path in (TOP / room).rglob("*.py")]
    product = "".join(path.read_text() for path in paths)
    text = (TOP / "docs/hardware.md").read_text()
    tables = re.findall(r"\| it says \| do \|\n\|---\|---\|\n((?:\|.*\n)+)", text)
    assert len(tables) > 4
    rows = [line.split("|")[1] for table in tables for line in table.splitlines()]
    reasons = {reason for row in rows for reason in re.findall(r"`([a-z0-9-]+)`", row)}
    assert {reason for reason in reasons if f'"{reason}"' not in product} == set()
