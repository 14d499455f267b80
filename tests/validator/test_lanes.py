"""A19: who floods has a line of its own, and the lines take turns."""

import queue

import pytest

from tallystick.validator.lanes import Lanes


def served(lanes: Lanes[str], count: int) -> list[str]:
    return [lanes.get_nowait() for _ in range(count)]


def test_each_lane_keeps_its_order() -> None:
    lanes: Lanes[str] = Lanes(9, 99)
    for item in ("a1", "a2", "a3", "b1", "b2"):
        lanes.put_nowait(item, item[0])
    found = served(lanes, 5)
    assert [one for one in found if one[0] == "a"] == ["a1", "a2", "a3"]
    assert [one for one in found if one[0] == "b"] == ["b1", "b2"]


def test_a_flood_delays_another_fleet_by_one() -> None:
    """However many wait of one fleet, the first of another is served second."""
    lanes: Lanes[str] = Lanes(1000, 1000)
    for n in range(900):
        lanes.put_nowait(f"flood {n}", "flood")
    for n in range(5):
        lanes.put_nowait(f"good {n}", "good")
    turns = served(lanes, 10)
    assert [turns.index(f"good {n}") for n in range(5)] == [1, 3, 5, 7, 9]


def test_a_full_lane_is_its_own_affair() -> None:
    lanes: Lanes[str] = Lanes(2, 99)
    lanes.put_nowait("a1", "a")
    lanes.put_nowait("a2", "a")
    with pytest.raises(queue.Full):
        lanes.put_nowait("a3", "a")
    assert lanes.put_nowait("b1", "b") is None
    assert lanes.qsize() == 3


def test_where_all_is_full_the_longest_lane_gives_way() -> None:
    """Its newest item: what waits longest keeps its place."""
    lanes: Lanes[str] = Lanes(9, 4)
    for item in ("a1", "a2", "a3", "b1"):
        lanes.put_nowait(item, item[0])
    assert lanes.put_nowait("c1", "c") == "a3"
    assert sorted(served(lanes, 4)) == ["a1", "a2", "b1", "c1"]
    for item in ("a1", "a2", "b1", "b2"):
        lanes.put_nowait(item, item[0])
    with pytest.raises(queue.Full):
        lanes.put_nowait("a3", "a")  # nobody has more than it would have


def test_nothing_is_waited_for_in_vain() -> None:
    lanes: Lanes[str] = Lanes(2, 2)
    with pytest.raises(queue.Empty):
        lanes.get(0.001)
    assert lanes.empty()
    lanes.put_nowait("a", "a")
    assert (lanes.empty(), lanes.get(1), lanes.empty()) == (False, "a", True)
