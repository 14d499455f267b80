"""/metrics, the alert rules and the dashboard: checked by promtool, and by what is really told."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.devices import Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from support.watching import tagged
from tallystick.gateway import conditions
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
PROMTOOL = shutil.which("promtool")
NAME = re.compile(r"\b(?:tallystick_gateway|process)_[a-z_]+")
# There only where something was set aside, or where a device has a chip.
SELDOM = {
    "tallystick_gateway_quarantined_segments",
    "tallystick_gateway_counter_left_least",
}
# Labels of ours; whoever adds one says why it can have few values only.
LABELS = {"condition", "direction", "gateway", "reason", "state", "trouble", "validator"}
LABELS |= {"version", "where"}
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")


def promtool(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [PROMTOOL or "", *arguments], input=given, cwd=FOLDER, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # `check metrics` names what it dislikes, and exits well.
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("metrics")
    notary = Notary(folder / "notary", ACME).start()
    site = Site(
        folder / "gw", ACME, mosquitto.port, "metrics", validators=notary.toml,
        limits='[page]\nbind = "127.0.0.1:0"\n',
    )  # fmt: skip
    site.with_prefix("metrics")
    device = tagged(ACME, "truck", "truck-7")
    device.counter = 5
    device.record(3)
    site.enrol(device)
    try:
        with site.running() as gateway, Radio(mosquitto.port, device, "metrics") as radio:
            assert gateway.page is not None
            url = gateway.page.url
            radio.up(*device.segments(), b"\x00\x00", topic=f"metrics/{device.text}/up")
            done = 'tallystick_gateway_validator_batches_total{validator="notary"} 1.0'
            refused = 'tallystick_gateway_refused_total{reason="unknown-kind"} 1.0'

            def seen() -> str:
                text = httpx2.get(url + "/metrics", timeout=60).text
                return text if done in text and refused in text else ""

            text = until(seen, "the batch")
            assert (
                httpx2.get(url + "/metrics", timeout=60)
                .headers["content-type"]
                .startswith("text/plain")
            )
            assert device.text not in text
            yield text
    finally:
        notary.stop()


@needs_promtool
def test_promtool_likes_the_rules() -> None:
    assert "15 rules found" in promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_each_alert_fires_and_none_without_need() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    alerts = re.findall(r"alert: (\w+)", (FOLDER / "alerts.yml").read_text())
    tested = re.findall(r'alertname="(\w+)"', (FOLDER / "alerts_test.yml").read_text())
    assert sorted(alerts) == sorted(tested)


def test_each_alert_says_where_its_steps_stand() -> None:
    rules = (FOLDER / "alerts.yml").read_text()
    heads = re.findall(r"^#+ (.+)$", (FOLDER.parent / "operations.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
    named = re.findall(r"runbook: docs/operations.md#(\S+)$", rules, re.MULTILINE)
    assert set(named) <= anchors and set(conditions.ORDER) <= set(named)
    assert len(named) == rules.count("- alert: ")


@needs_promtool
def test_promtool_likes_the_metrics(told: str) -> None:
    assert promtool("check", "metrics", given=told).strip() == ""


def test_no_label_has_as_many_values_as_there_are_devices(told: str) -> None:
    lines = [line for line in told.splitlines() if line.startswith("tallystick_")]
    labels = {name for line in lines for name in re.findall(r'([a-z_]+)="', line)}
    assert labels <= LABELS
    assert sum(line.startswith("tallystick_gateway_condition{") for line in lines) == 10


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return found


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@needs_promtool
def test_promtool_reads_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [expr for panel in panels() for expr in expressions(panel)]
    # Grafana puts these in.
    plain = [one.replace("$__rate_interval", "5m").replace("$instance", ".+") for one in asked]
    assert not [one for one in plain if "$" in one]
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(plain)]
    path = tmp_path / "rules.json"  # JSON is YAML
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(path))


def test_panels_have_names_and_do_not_overlap() -> None:
    shown = panels()
    assert len({one["id"] for one in shown}) == len({one["title"] for one in shown}) == len(shown)
    taken: set[tuple[int, int]] = set()
    for one in shown:
        grid = one["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not cells & taken, one["title"]
        taken |= cells


def test_rules_and_dashboard_ask_for_what_there_is(told: str) -> None:
    there = set(NAME.findall(told))
    rules = (FOLDER / "alerts.yml").read_text()
    asked = [expr for panel in panels() for expr in expressions(panel)]
    for text in (rules, *asked):
        named = set(NAME.findall(text))
        assert named <= there | SELDOM, named
        assert named or text == rules
    named = set(re.findall(r'condition="([a-z-]+)"', rules))
    assert named <= set(conditions.ORDER)
    troubles = set(re.findall(r'trouble="([a-z-]+)"', told))
    assert set(re.findall(r'trouble="([a-z-]+)"', rules)) <= troubles
    # A condition without an alert of its own name has one by a number of its own.
    assert set(conditions.ORDER) - named == {
        "validator-refusing", "expiring", "validator-lagging", "device-silent",
    }  # fmt: skip
