"""What design.md promises of the house itself: its namespace, its arrows, its wheel."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython

TOP = Path(__file__).parent.parent
PORTIONS = ("firmware", "gateway", "hw", "validator", "tools")
# Package to the packages that it may import (design.md, section 6).
ARROWS = {
    "evidence": set(),
    "hw": {"evidence"},
    "recorder": {"evidence", "hw"},
    "gateway": {"evidence", "hw"},
    "verify": {"evidence"},
    "validator": {"evidence", "hw", "verify"},
    "tools": {"evidence", "hw", "recorder", "gateway", "verify", "validator"},
    "testing": {"evidence", "hw", "recorder", "verify"},
}
PURE = ("evidence", "verify")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
# Clocks, chance, files, links, databases, processes: what the pure packages get as arguments.
IMPURE_MODULES = {
    *("asyncio", "fcntl", "glob", "http", "httpx2", "importlib", "logging", "machine", "mmap"),
    *("multiprocessing", "network", "os", "paho", "pathlib", "psycopg", "random", "secrets"),
    *("select", "selectors", "serial", "shelve", "shutil", "signal", "socket", "sqlalchemy"),
    *("sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "tls", "urllib", "uuid"),
    *("_thread", "concurrent", "ctypes", "queue", "sched", "starlette", "uvicorn"),
}
# Data that the distribution ships is as constant as its code; one module reads it.
READS_PACKAGE_DATA = "validator/tallystick/verify/profiles/__init__.py"
IMPURE_CALLS = {"open", "input", "print", "exec", "eval", "__import__"}
IMPURE_METHODS = {"now", "utcnow", "today", "read_text", "read_bytes", "write_text", "write_bytes"}
# What a board's MicroPython (or Debian's) brings, and umqtt, which is installed beside us.
ON_DEVICE = {
    *("_thread", "array", "asyncio", "binascii", "builtins", "collections", "cryptolib"),
    *("deflate", "errno", "gc", "hashlib", "io", "json", "machine", "math", "micropython"),
    *("network", "os", "random", "re", "select", "socket", "struct", "sys", "time", "tls"),
    *("uctypes", "umqtt", "vfs"),
}
# The counterpart of device_library.CPYTHON_ONLY.
MICROPYTHON_ONLY = "# MicroPython only"
# In the first lines of a module behind a driver, which says what to install where it is missing.
NEEDS_AN_EXTRA = {"# Needs an extra: tpm", "# Needs an extra: gateway or validator"}
INTERPRETER_WORDS = ("implementation", "MICROPYTHON", "CPYTHON", "TYPE_CHECKING")


def package_of(path: Path) -> str:
    return path.relative_to(TOP).parts[2]


def product_files() -> list[Path]:
    return sorted(path for top in PORTIONS for path in (TOP / top / "tallystick").rglob("*.py"))


def own_imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every package of ours that the file imports, wherever in the file, with its line."""
    for name, node in all_imports(tree):
        parts = name.split(".")
        if parts[0] == "tallystick" and len(parts) > 1:
            yield parts[1], node.lineno


def all_imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node


def wrong_arrows(package: str, source: str) -> list[str]:
    allowed = ARROWS[package] | {package}
    found = own_imports(ast.parse(source))
    return [f"line {line}: {package} -> {name}" for name, line in found if name not in allowed]


def impurities(source: str) -> list[str]:
    tree = ast.parse(source)
    found = [
        f"line {node.lineno}: imports {name}"
        for name, node in all_imports(tree)
        if name.split(".")[0] in IMPURE_MODULES
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                found.append(f"line {node.lineno}: calls {called.id}")
            if isinstance(called, ast.Attribute) and called.attr in IMPURE_METHODS:
                found.append(f"line {node.lineno}: calls .{called.attr}")
    return found


def unguarded_imports(source: str) -> list[str]:
    """Imports that MicroPython lacks, outside `try: ... except ImportError` and interpreter ifs."""
    tree = ast.parse(source)
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            caught = {ast.unparse(one.type) for one in node.handlers if one.type}
            if caught & {"ImportError", "ModuleNotFoundError"}:
                guarded |= {inner for part in node.body for inner in ast.walk(part)}
        elif isinstance(node, ast.If) and any(
            word in ast.unparse(node.test) for word in INTERPRETER_WORDS
        ):
            guarded |= set(ast.walk(node))
    return [
        f"line {node.lineno}: imports {name}"
        for name, node in all_imports(tree)
        if name.split(".")[0] not in ON_DEVICE | {"tallystick"} and node not in guarded
    ]


def test_no_portion_closes_the_namespace() -> None:
    assert [str(path) for path in TOP.glob("*/tallystick/__init__.py")] == []


def test_every_package_is_one_of_the_house() -> None:
    found = {path.name for top in PORTIONS for path in (TOP / top / "tallystick").iterdir()}
    assert found - {"__pycache__"} == set(ARROWS)


def test_arrows() -> None:
    wrong = [
        f"{path.relative_to(TOP)} {arrow}"
        for path in product_files()
        for arrow in wrong_arrows(package_of(path), path.read_text())
    ]
    assert wrong == []


def test_pure_packages_touch_nothing_outside() -> None:
    wrong = [
        f"{path.relative_to(TOP)} {impurity}"
        for path in product_files()
        if package_of(path) in PURE and path != TOP / READS_PACKAGE_DATA
        for impurity in impurities(path.read_text())
    ]
    assert wrong == []


def test_device_code_imports_what_devices_have() -> None:
    wrong = [
        f"{place} {found}"
        for place, path in library.sources().items()
        for found in unguarded_imports(path.read_text())
    ]
    assert wrong == []


def test_the_guards_see_what_they_forbid() -> None:
    assert wrong_arrows("evidence", "def f():\n    from tallystick.hw import key\n")
    assert wrong_arrows("gateway", "import tallystick.verify.policy\n")
    assert not wrong_arrows("tools", "from tallystick.validator import app\n")
    assert impurities("import os.path\n")
    assert impurities("open('x')\n")
    assert impurities("datetime.now()\n")
    assert not impurities("import struct\n")
    assert unguarded_imports("import nacl.signing\n")
    assert unguarded_imports("def f():\n    import typing\n")
    assert not unguarded_imports("try:\n    import nacl\nexcept ImportError:\n    nacl = None\n")
    assert not unguarded_imports("import hashlib\n")


def test_every_device_module_imports_on_micropython(
    micropython64: MicroPython, device_library: Path
) -> None:
    failed = []
    path = [device_library, library.micropython_lib()]
    for place in library.sources():
        module = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        done = micropython64.run("-c", f"import {module}", path=path)
        if done.returncode:
            failed.append(f"{module}: {(done.stderr or done.stdout).strip()}")
    assert failed == []


def long_functions(text: str) -> list[str]:
    """Functions that fit on no screen."""
    return [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]


def test_functions_and_files_of_the_product_are_short() -> None:
    assert long_functions("def f():\n" + "    x = 1\n" * (FUNCTION_LINES_MAX - 1)) == []
    assert long_functions("def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX) == ["f"]
    texts = {path: path.read_text() for path in product_files()}
    assert {path: names for path, text in texts.items() if (names := long_functions(text))} == {}
    assert [path for path, text in texts.items() if text.count("\n") > FILE_LINES_MAX] == []


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=TOP,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [TOP / name for name in listed.split("\0") if name and (TOP / name).is_file()]


# Written in parts, so that this file does not name what it forbids.
HOSTS = [
    "py" + r"pi\.org",
    "python" + r"hosted\.org",
    "npm" + r"js\.(org|com)",
    "deb" + r"ian\.(org|net)",
    "ubuntu" + r"\.com",
    "crates" + r"\.io",
    "docker" + r"\.(io|com)",
    "quay" + r"\.io",
    "ghcr" + r"\.io",
    "anaconda" + r"\.(org|com)",
    "golang" + r"\.org",
    "index" + "-url",
    "find" + "-links",
    "trusted" + "-host",
]


def test_no_file_names_a_package_host() -> None:
    pattern = re.compile("|".join(HOSTS), re.IGNORECASE)
    named = [
        f"{path.relative_to(TOP)}: {match[0]}"
        for path in tracked_files()
        for match in [pattern.search(path.read_text(errors="replace"))]
        if match
    ]
    assert named == []


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--wheel", "--no-isolation", "--outdir", str(folder)]
    run(sys.executable, "-m", "build", *options, TOP, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_all_portions_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tallystick"}
    for path in product_files():
        inside = path.relative_to(TOP / path.relative_to(TOP).parts[0]).as_posix()
        assert inside in names
    for package in ARROWS:
        assert f"tallystick/{package}/py.typed" in names
    boards = {path.name for path in (TOP / "hw/tallystick/hw/boards").glob("*.toml")}
    assert boards and {f"tallystick/hw/boards/{name}" for name in boards} <= set(names)
    pages = [path for top in ("gateway", "validator") for path in (TOP / top).rglob("web/*")]
    assert len(pages) >= 9
    for path in pages:
        assert path.relative_to(TOP / path.relative_to(TOP).parts[0]).as_posix() in names
    assert "tallystick/__init__.py" not in names
    assert any(name.endswith("uPlot.LICENSE") for name in names if ".dist-info/" in name)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.fixture(scope="module")
def clean_tally(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `tally` of the wheel in a clean environment without extras."""
    folder = tmp_path_factory.mktemp("clean")
    environment = folder / "environment"
    # Without pip in it: Debian's Python may have no ensurepip, and our own pip can install there.
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "pip", "-q", "--python", python, "install", wheel, cwd=folder)
    return environment / "bin" / "tally"


def test_wheel_without_extras_runs_tally(clean_tally: Path, tmp_path: Path) -> None:
    assert "Usage: tally" in run(clean_tally, "--help", cwd=tmp_path)
    assert run(clean_tally, "--version", cwd=tmp_path).strip() == "tally, version 0.1.0"


def test_wheel_without_extras_imports_recorder_keys_and_verify(
    clean_tally: Path, tmp_path: Path
) -> None:
    """What the base install promises imports; a missing library of an extra would show here."""
    python = clean_tally.parent / "python"
    for package in ("evidence", "hw", "recorder", "verify"):
        folders = [path for path in product_files() if package_of(path) == package]
        modules = [
            "tallystick." + ".".join(path.relative_to(TOP).with_suffix("").parts[2:])
            for path in folders
            if not ({MICROPYTHON_ONLY} | NEEDS_AN_EXTRA) & set(path.read_text().split("\n", 3)[:3])
        ]
        code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
        run(python, "-c", code, *modules, cwd=tmp_path)


RECORD = """
import sys
from tallystick.recorder import Recorder
tally = Recorder.open(sys.argv[1])
tally.decision("m@1", {"n": 1}, {"n": (1, "<", 2)}, {"action": "go"})
assert tally.flush()
tally.close()
print(tally.health.as_dict()["faults"], len(tally.device), tally.health.records)
"""


def test_wheel_without_extras_is_all_that_a_robot_needs(clean_tally: Path, tmp_path: Path) -> None:
    """A fleet, a robot of it, its decisions, and the program that records them, from the wheel."""
    fleet = tmp_path / "acme"
    run(clean_tally, "fleet", "init", fleet, "--name", "acme", cwd=tmp_path)
    run(clean_tally, "fleet", "enroll", fleet, "robot-1", cwd=tmp_path)
    config = fleet / "devices/robot-1/tallystick.json"
    # No broker runs in this test.
    settings = {**json.loads(config.read_text()), "uplink": None}
    config.write_text(json.dumps(settings))
    for boots in (1, 2):
        said = run(clean_tally.parent / "python", "-c", RECORD, config, cwd=tmp_path)
        assert said.strip() == f"{{}} 32 {3 - (boots > 1)}"
    # What it wrote opens in the same environment, in words.
    credential = fleet / "devices/robot-1/credential.cbor"
    assert "enrolment" in run(clean_tally, "inspect", credential, cwd=tmp_path)


OPEN_TPM_KEY = """
from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.signer import Signer
try:
    Signer.from_uri("tpm2:handle=0x81020001")
except KeyDriverError as error:
    print(error.reason, error)
"""


def test_wheel_without_extras_says_what_a_tpm_key_needs(clean_tally: Path, tmp_path: Path) -> None:
    said = run(clean_tally.parent / "python", "-c", OPEN_TPM_KEY, cwd=tmp_path)
    assert said.startswith("no-library ") and "tallystick[tpm]" in said
