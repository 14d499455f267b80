"""docs/faults.md stays true: every fault and attack once, and what a row names is there."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

REPOSITORY = Path(__file__).parent.parent
PAGE = REPOSITORY / "docs" / "faults.md"
IDS = [*(f"F{n:02}" for n in range(1, 26)), *(f"A{n:02}" for n in range(1, 28))]
ROW = re.compile(r"^\| ([FA]\d\d) \|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[^`:]+)::([^`]+)`")
CODE = re.compile(r"`((?:gateway|validator|verify|evidence|recorder|hw|tools)/[^`]+)`")
ROOMS = {"verify": "validator", "evidence": "firmware", "recorder": "firmware"}
GUARDS: list[dict[str, Any]] = msgspec.toml.decode(
    (REPOSITORY / "tests" / "guards.toml").read_bytes()
)["guard"]


def rows() -> list[tuple[str, list[str]]]:
    """Each row: its id, and its cells after the id."""
    return [
        (one[1], [cell.strip() for cell in one[2].split("|")])
        for one in ROW.finditer(PAGE.read_text())
    ]


@cache
def functions(path: str) -> frozenset[str]:
    """What a test file defines."""
    tree = ast.parse((REPOSITORY / path).read_text())
    return frozenset(one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef))


def test_every_fault_and_every_attack_stands_there_once() -> None:
    assert [name for name, _ in rows()] == IDS


@pytest.mark.parametrize(("name", "cells"), rows(), ids=lambda one: one if type(one) is str else "")
def test_what_a_row_names_is_there(name: str, cells: list[str]) -> None:
    what, guards, shown, taken = cells[:4]
    assert what
    tests = TEST.findall(shown)
    missing = [f"{path}::{test}" for path, test in tests if test not in functions(path)]
    assert missing == [], f"{name} names tests that are not there"
    for one in CODE.findall(guards):
        package = one.split("/")[0]
        path = REPOSITORY / ROOMS.get(package, package) / "tallystick" / one
        assert path.exists(), f"{name} names {one}, which is not there"
    assert tests, f"{name} names no test"
    assert guards and taken, f"{name} names no guard, or none that was taken out"


@pytest.mark.parametrize("guard", GUARDS, ids=lambda one: f"{one['row']} {one['what']}")
def test_a_guard_that_is_taken_out_is_missed_by_tests_of_its_row(guard: dict[str, Any]) -> None:
    """That they fail without it is what `make guards` sees; here, that all of it is there."""
    (cells,) = [cells for name, cells in rows() if name == guard["row"]]
    named = {f"{path}::{test}" for path, test in TEST.findall(cells[2])}
    assert set(guard["tests"]) <= named
    for edit in guard["edits"]:
        assert (REPOSITORY / edit["file"]).is_file()
        assert edit["old"] != edit["new"]
