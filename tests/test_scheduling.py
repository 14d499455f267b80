"""What the workers of a test run begin with."""

from pathlib import Path

import pytest

from support import scheduling


def test_the_files_that_take_longest_are_there() -> None:
    assert [name for name in scheduling.FIRST if not (scheduling.TESTS / name).is_file()] == []


class Named:
    """As much of a collected test as is looked at."""

    def __init__(self, name: str) -> None:
        self.path = scheduling.TESTS / Path(name)


def test_they_come_first_and_the_others_stay_in_their_order() -> None:
    items = [Named(name) for name in ("b.py", scheduling.FIRST[1], "a.py", scheduling.FIRST[0])]
    wanted = [items[3], items[1], items[0], items[2]]
    scheduling.pytest_collection_modifyitems(items)  # type: ignore[arg-type]  # as far as is asked
    assert items == wanted


@pytest.mark.parametrize(("cores", "workers"), [(1, 2), (2, 3), (4, 6)])
def test_more_workers_than_cores(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert scheduling.pytest_xdist_auto_num_workers() == workers
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "7")
    assert scheduling.pytest_xdist_auto_num_workers() is None
