"""Decoders of msgspec are made before there are threads.

At a type's first use msgspec builds what decodes it, in place and unguarded: two threads that come
at once end the process by SIGSEGV (0.22; a chaos run's gateway did so at a start). What has threads
makes its decoders when it is imported, or under a lock.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("gateway", "validator", "hw")
# Read once at the start, by the main thread, and again by the one that reloads.
ALONE = {
    "gateway/tallystick/gateway/config.py",
    "validator/tallystick/validator/config.py",
    "hw/tallystick/hw/boards/__init__.py",
}


def calls(tree: ast.AST) -> Iterator[int]:
    """Lines within functions where a type is decoded, or converted to, without a decoder."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("msgspec."):
                    typed = any(keyword.arg == "type" for keyword in node.keywords)
                    if typed or node.func.attr == "convert":  # type: ignore[attr-defined]
                        yield node.lineno


@pytest.mark.parametrize("room", ROOMS)
def test_no_thread_makes_a_decoder(room: str) -> None:
    files = sorted((ROOT / room / "tallystick").rglob("*.py"))
    assert files
    found = [
        f"{name}:{line}"
        for file in files
        if (name := file.relative_to(ROOT).as_posix()) not in ALONE
        for line in calls(ast.parse(file.read_text()))
    ]
    assert found == []


def test_a_call_is_found() -> None:
    assert list(calls(ast.parse("def f(d):\n  return msgspec.json.decode(d, type=T)"))) == [2]
    assert list(calls(ast.parse("def f(d):\n  return msgspec.convert(d, T)"))) == [2]
    assert list(calls(ast.parse("def f(d):\n  return msgspec.json.decode(d)"))) == []
