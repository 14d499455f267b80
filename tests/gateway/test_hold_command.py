"""`tally hold`: an operator stops pruning and lets it go on."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.devices import Fleet
from support.site import Site
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.gateway.store import Store
from tallystick.tools.gateway import gateway
from tallystick.tools.hold import hold


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path, Fleet("acme"), 1)
    Store(tmp_path / "gateway.sqlite").close()
    return made


def run(site: Site, *arguments: str) -> Result:
    shown = CliRunner().invoke(hold, [*arguments, "--config", str(site.path)])
    if shown.exception is not None and not isinstance(shown.exception, SystemExit):
        raise shown.exception
    return shown


def listed(site: Site) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run(site, "--list", "--json").output)["holds"]
    return found


def test_a_hold_begins_is_shown_and_ends(site: Site) -> None:
    assert run(site, "--list").output == "no holds\n"
    assert "in force" in run(site, "case-7", "--why", "claim [7]").output
    assert "in force" in run(site, "case-8").output
    assert [(row["name"], row["why"]) for row in listed(site)] == [
        ("case-7", "claim [7]"),
        ("case-8", ""),
    ]
    shown = run(site, "--list").output
    assert "claim [7]" in shown
    # "0 have not said yet" alone would be read as if all knew.
    assert "no device was told yet" in shown
    status = CliRunner().invoke(gateway, ["status", "--config", str(site.path)]).output
    assert "on hold: case-7 (claim [7]), case-8" in status
    assert "1 others" in run(site, "case-7", "--end").output
    assert "pruning goes on" in run(site, "case-8", "--end").output
    assert all(row["ended_ms"] for row in listed(site))
    assert "told yet" not in run(site, "--list").output
    run(site, "case-9", "--gateway-only")
    assert "told yet" not in run(site, "--list").output
    run(site, "case-9", "--end")
    assert (
        "on hold" not in CliRunner().invoke(gateway, ["status", "--config", str(site.path)]).output
    )


def test_what_is_wrong_is_said(site: Site, tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="no hold case-7"):
        run(site, "case-7", "--end")
    with pytest.raises(Malformed, match="a hold's name"):
        run(site, "a b")
    # What `tally validator hold` has, and this has not.
    with pytest.raises(Malformed, match="--list"):
        run(site, "list")
    with pytest.raises(Malformed, match="one line"):
        run(site, "a", "--why", "x\ny")
    assert run(site).exit_code == 2
    assert run(site, "a", "--list").exit_code == 2
    other = Site(tmp_path / "other", Fleet("acme"), 1)
    with pytest.raises(CouldNotCheck, match="no store"):
        run(other, "case-7")
    assert not (tmp_path / "other" / "gateway.sqlite").exists()


def test_a_hold_is_made_beside_a_running_gateway(site: Site, tmp_path: Path) -> None:
    running = Store(tmp_path / "gateway.sqlite")
    run(site, "case-7")
    with running.write() as connection:
        assert connection.execute("SELECT name FROM holds").fetchall() == [("case-7",)]
    running.close()
