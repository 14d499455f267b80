"""Modules that a board loads together become one, and do the same."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.tools import device_bundles
from tallystick.tools.device_bundles import bundle
from tallystick.tools.device_library import sources
from tallystick.tools.device_source import slim_all

CORE = """
from tallystick.recorder.errors import Bad
LIMIT = 3
def hidden():
    return ""
def parse(text):
    return "core " + text
def __getattr__(name):
    if name == "late":
        from tallystick.recorder import lazily
        return getattr(lazily, name)
    raise AttributeError(name)
class Base:
    def name(self):
        return "base"
"""
TOP = """
import sys
from tallystick.recorder import core, outside
from tallystick.recorder.core import LIMIT, Base, late
from tallystick.recorder.core import parse as core_parse
LOADED_BY_NAME = ("recorder.forgotten",)
KEPT_OF_DRIVERS = {"x": ("recorder.top",)}
def parse(text, limit=LIMIT):
    return "top " + core_parse(text) + str(limit)
def shadow(core):
    return core + 1
def nested():
    from tallystick.recorder.core import parse
    try:
        raise ValueError
    except ValueError as core_parse:
        pass
    return parse("n")
def dotted():
    hidden = core.hidden()
    return hidden + core.parse("d") + core.LIMIT * "!"
class Child(Base):
    pass
def lately():
    return late() + outside.use()
"""
OUTSIDE = """
def use():
    from tallystick.recorder import top
    from tallystick.recorder.top import parse as other
    return top.parse("o") + other("p", limit=0)
"""
PROGRAM = """
from tallystick.recorder import top
from tallystick.recorder.top import Child, dotted
def main():
    return [top.parse("x"), top.shadow(1), top.nested(), dotted(), Child().name(), top.lately()]
"""
WHOLE = {
    "core": CORE,
    "top": TOP,
    "outside": OUTSIDE,
    "program": PROGRAM,
    "lazily": "def late():\n    return 'late '\n",
    "errors": "class Bad(Exception):\n    pass\n",
    "forgotten": "def parse():\n    return 1\n",
}
SAID = [
    "top core x3",
    2,
    "core n",
    "core d!!!",
    "base",
    "late top core o3top core p0",
]


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """A board's library, before it is compiled."""
    return slim_all({place: path.read_bytes() for place, path in sources().items()}, board=True)


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> dict[str, ast.Module]:
    group = ("recorder/core", "recorder/top", "recorder/forgotten", "recorder/nowhere")
    monkeypatch.setattr(device_bundles, "BUNDLES", (group,))
    return {f"tallystick/recorder/{name}.py": ast.parse(text) for name, text in WHOLE.items()}


def ran(trees: dict[str, ast.Module], folder: Path) -> str:
    for place, tree in trees.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(ast.unparse(ast.fix_missing_locations(tree)))
    script = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from tallystick.recorder.program import main\nprint(main())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or done.stderr


def test_one_module_does_the_same(trees: dict[str, ast.Module], tmp_path: Path) -> None:
    assert ran(trees, tmp_path / "before") == str(SAID)
    bundle(trees, set())
    names = {place.rpartition("/")[2] for place in trees}
    # What is forgotten by its name stays alone.
    assert names == {
        "core.py",
        "outside.py",
        "program.py",
        "lazily.py",
        "errors.py",
        "forgotten.py",
    }
    assert ran(trees, tmp_path / "after") == str(SAID)


def test_tables_of_what_is_loaded_name_the_one_module(trees: dict[str, ast.Module]) -> None:
    bundle(trees, set())
    text = ast.unparse(trees["tallystick/recorder/core.py"])
    assert "('recorder.core',)" in text and "recorder.top" not in text


def test_who_must_keep_a_name_that_another_has_too_stays_alone(
    trees: dict[str, ast.Module], tmp_path: Path
) -> None:
    bundle(trees, {"parse"})
    assert "tallystick/recorder/top.py" in trees
    assert ran(trees, tmp_path) == str(SAID)


def test_every_bundle_names_modules_that_there_are() -> None:
    places = {place.removesuffix(".py") for place in sources()}
    for group in device_bundles.BUNDLES:
        for name in group:
            assert f"tallystick/{name}" in places


def test_no_module_of_a_board_needs_itself_to_be_made(made: dict[str, bytes]) -> None:
    """A program may import any of them first."""
    needs: dict[str, set[str]] = {}
    for place, text in made.items():
        name = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        needs[name] = set(device_bundles._needs(ast.parse(text)))
    for names in needs.values():
        names &= set(needs)
    done: set[str] = set()
    while ready := {name for name, others in needs.items() if others <= done} - done:
        done |= ready
    assert set(needs) - done == set()


def test_no_function_of_a_board_hides_a_neighbour_from_itself(
    made: dict[str, bytes], tmp_path: Path
) -> None:
    """By a name of its own that was a name of the neighbour's module."""
    for place, text in made.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(text)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F823"]
    done = subprocess.run(
        [*command, "--output-format=concise", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
