"""`tally bench urgent`: what is measured is what is said. No times."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from support.benches import printed
from tallystick.tools.bench import urgent, urgent_legs, urgent_result, urgent_site
from tallystick.tools.bench.cli import bench
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.urgent_legs import LEGS, Passed
from tallystick.tools.bench.urgent_result import Ran, UrgentResult, quantiles

SVG = "{http://www.w3.org/2000/svg}"
WAYS = ("ours", "bare")


def test_urgent_measures_both_ways_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urgent, "WARM", 1)
    monkeypatch.setattr(urgent, "REST_S", (0.0, 0.01))
    picture = tmp_path / "urgent.svg"
    asked = ("--store", "sqlite", "--interactions", "3", "--rounds", "1")
    found = printed("urgent", *asked, "--picture", str(picture), "--json")
    assert found["bench"] == "urgent"
    assert (found["interactions"], found["rounds"], found["workers"]) == (3, 1, 0)
    assert found["goal_times_p99"] == 3.0
    (store,) = found["stores"]
    assert store["store"] == "sqlite"
    for way in WAYS:
        assert 0 < store[way]["p50_ms"] <= store[way]["p99_ms"] <= store[way]["max_ms"]
    for share in ("p50", "p99"):
        times = store["ours"][f"{share}_ms"] / store["bare"][f"{share}_ms"]
        assert store[f"ratio_{share}"] == pytest.approx(times, abs=0.01)
        assert found[f"ratio_{share}"] == store[f"ratio_{share}"]
    for legs, way in zip(("legs", "bare_legs"), WAYS, strict=True):
        assert list(store[legs]) == list(LEGS)
        # Points between are known to a millisecond, on a busy machine to much less, but the sum of
        # means is the mean of sums.
        assert store[way]["p50_ms"] / 4 < sum(store[legs].values()) < 4 * store[way]["max_ms"]
    drawn = " ".join("".join(one.itertext()) for one in ET.parse(picture).iter(f"{SVG}text"))
    assert all(leg in drawn for leg in LEGS)


def test_the_worst_of_a_hundred_is_not_its_p99() -> None:
    found = quantiles([n / 1000 for n in range(100, 0, -1)])
    assert found == {"p50_ms": 50.0, "p99_ms": 99.0, "max_ms": 100.0}
    assert quantiles([0.002]) == {"p50_ms": 2.0, "p99_ms": 2.0, "max_ms": 2.0}


def passed(*points: float) -> Passed:
    began, signed, committed, logged, judged, told = points
    return Passed(began, signed, told, committed, logged, judged)


def test_legs_lie_between_points_and_add_up() -> None:
    found = [
        passed(0.0, 0.001, 0.003, 0.006, 0.010, 0.015),
        passed(1.0, 1.003, 1.003, 1.006, 1.01, 1.02),
    ]
    means = urgent_legs.mean(found)
    assert list(means) == list(LEGS)
    assert list(means.values()) == pytest.approx([2.0, 1.0, 3.0, 4.0, 7.5])


def test_a_store_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    result = UrgentResult({}, {"postgresql": "PostgreSQL is not installed"}, {"workers": 0})
    result.show(as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["not_measured"] == {"postgresql": "PostgreSQL is not installed"}
    assert found["stores"] == []


def test_tables_name_both_ways() -> None:
    points = [passed(0.0, 0.001, 0.003, 0.006, 0.010, 0.015)]
    ran = Ran([0.015], [0.005], points, points)
    result = UrgentResult({"sqlite": ran}, {}, {"workers": 0})
    (store,) = result.stores
    assert (store["ratio_p50"], store["ratio_p99"]) == (3.0, 3.0)
    assert urgent_result.GOAL_TIMES == 3.0
    done = CliRunner().invoke(bench, ["urgent", "--help"])
    assert "bare path" in done.output


def test_a_robot_that_waits_in_vain_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urgent_site, "START_S_MAX", 0.0)
    robot = urgent_site.Robot.__new__(urgent_site.Robot)
    with pytest.raises(BenchFailed, match="its gateway in vain"):
        robot.until(lambda: False, "its gateway")
