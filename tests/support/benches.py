"""What the tests of `tally bench` share: a run, and the object that every bench prints."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from click.testing import CliRunner

from tallystick.tools.bench.cli import bench

KEYS = {"ours_per_s", "peers", "bound_per_s", "ratio_to_best_peer", "ratio_to_bound", "machine"}


def printed(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_object(found: dict[str, Any], peers: Iterable[str]) -> None:
    assert set(found) >= KEYS
    assert set(found["peers"]) == set(peers)
    assert found["ours_per_s"] > 0
    best = max(found["peers"].values())
    assert found["ratio_to_best_peer"] == pytest.approx(found["ours_per_s"] / best, abs=0.01)
    assert found["ratio_to_bound"] == pytest.approx(
        found["ours_per_s"] / found["bound_per_s"], abs=0.0001
    )
