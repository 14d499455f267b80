"""The published vectors: each comes out as it says, and the program that writes them still does."""

import json
from pathlib import Path
from typing import Any

import pytest

from support import vectors
from vectors import make

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = sorted(VECTORS.glob("*/*.json"))


def read(path: Path) -> dict[str, Any]:
    vector: dict[str, Any] = json.loads(path.read_text())
    return vector


@pytest.mark.parametrize("path", FILES, ids=[f"{path.parent.name}/{path.stem}" for path in FILES])
def test_a_vector_comes_out_as_it_says(path: Path) -> None:
    vector = read(path)
    assert vector["operation"] == path.parent.name
    got, gives = vectors.run(vector["operation"], vector["given"])
    assert got == vector["expect"]
    assert gives == vector.get("gives", {})


def test_the_program_writes_the_same_bytes() -> None:
    on_disk = {str(path.relative_to(VECTORS)): path.read_text() for path in FILES}
    assert make.build() == on_disk


def test_every_operation_has_vectors_and_a_line_in_the_readme() -> None:
    readme = (VECTORS / "README.md").read_text()
    folders = {path.parent.name for path in FILES}
    assert folders == set(vectors.OPERATIONS)
    assert not {name for name in folders if f"| `{name}` |" not in readme}


def test_what_can_be_refused_is_refused_somewhere() -> None:
    # Operations whose input cannot be wrong in a way that they would see.
    harmless = {"salted-leaf", "tree-root", "claim-reference"}
    for name in set(vectors.OPERATIONS) - harmless:
        expected = {read(path)["expect"] for path in FILES if path.parent.name == name}
        assert "ok" in expected
        assert len(expected) > 1, name
