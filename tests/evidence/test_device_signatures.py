"""The signatures that device tests bring along are those of their keys over what they sign."""

import importlib
from pathlib import Path

import pytest

from support import device_signatures


@pytest.mark.parametrize("path", device_signatures.files(), ids=lambda path: path.stem)
def test_the_tables_are_complete_and_right(path: Path) -> None:
    module = importlib.import_module(path.stem)
    assert device_signatures.tables(path) == (module.KEYS, module.SIGNATURES)
