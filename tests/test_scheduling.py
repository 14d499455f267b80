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


def test_they_come_first_and_the_others_by_their_names() -> None:
    items = [Named(name) for name in ("b.py", scheduling.FIRST[1], "a.py", scheduling.FIRST[0])]
    wanted = [items[3], items[1], items[2], items[0]]
    scheduling.pytest_collection_modifyitems(items)  # type: ignore[arg-type]  # as far as is asked
    assert items == wanted


@pytest.mark.parametrize(("cores", "workers"), [(1, 2), (2, 4), (4, 8)])
def test_more_workers_than_cores(monkeypatch: pytest.MonkeyPatch, cores: int, workers: int) -> None:
    monkeypatch.delenv("PYTEST_XDIST_AUTO_NUM_WORKERS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert scheduling.pytest_xdist_auto_num_workers() == workers
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "7")
    assert scheduling.pytest_xdist_auto_num_workers() is None


def test_each_worker_collects_all_and_begins_elsewhere() -> None:
    for workers in (1, 2, 4, 100):
        orders = [scheduling.begins(number, workers) for number in range(workers)]
        assert all(sorted(order) == orders[0] for order in orders)
        places = [orders[0].index(order[0]) for order in orders]
        assert places == sorted(places)
    files = {
        path.relative_to(scheduling.TESTS).parts[0] for path in scheduling.TESTS.rglob("test_*.py")
    }
    assert {path.name for path in orders[0]} == files
