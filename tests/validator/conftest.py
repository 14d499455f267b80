"""A validator in a temporary folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.validating import Room


@pytest.fixture
def fleet() -> Fleet:
    return Fleet("acme")


@pytest.fixture
def room(tmp_path: Path, fleet: Fleet) -> Iterator[Room]:
    """A validator that accepts two fleets' roots."""
    made = Room(tmp_path / "validator", [fleet, Fleet("borealis")])
    yield made
    made.close()
