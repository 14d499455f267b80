"""A validator in a temporary folder, on SQLite and, where a test is marked so, on PostgreSQL."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.validating import Room
from tallystick.tools._cache import ToolMissing
from tallystick.tools.postgres import Postgres


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`@pytest.mark.databases`: once on each."""
    if "store" in metafunc.fixturenames and metafunc.definition.get_closest_marker("databases"):
        metafunc.parametrize("store", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Postgres]:
    try:
        made = Postgres()
    except ToolMissing as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture
def postgres(cluster: Postgres) -> Iterator[Postgres]:
    """A real PostgreSQL, one for the session, without fsync; its databases are the test's own."""
    yield cluster
    cluster.take_back()


@pytest.fixture
def store(request: pytest.FixtureRequest) -> str:
    """What a configuration's `store` says."""
    # TALLY_TESTS_STORE=postgresql: every test that takes what it is given, on a server.
    usual = os.environ.get("TALLY_TESTS_STORE", "sqlite")
    if getattr(request, "param", usual) == "sqlite":
        return "validator.sqlite"
    made: Postgres = request.getfixturevalue("postgres")
    return made.database()


@pytest.fixture
def fleet() -> Fleet:
    return Fleet("acme")


@pytest.fixture
def room(tmp_path: Path, fleet: Fleet, store: str) -> Iterator[Room]:
    """A validator that accepts two fleets' roots."""
    made = Room(tmp_path / "validator", [fleet, Fleet("borealis")], store=store)
    yield made
    made.close()
