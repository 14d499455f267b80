"""The details of our own events are those of docs/protocol.md, section 2.1, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from support import cddl
from tallystick.evidence import event
from tallystick.evidence.cbor import encode
from tallystick.evidence.errors import Malformed
from tallystick.evidence.eventdetails import DETAILS
from tallystick.evidence.eventwriter import NAMES
from tallystick.evidence.number import Dec

HASH = bytes(range(32))
PROTOCOL = (Path(__file__).parents[2] / "docs/protocol.md").read_text()
# Of each event: one with everything, and one with as little as there may be.
EXAMPLES: list[tuple[str, dict[str, Any]]] = [
    ("epoch", {"previous": None, "reason": "new"}),
    ("epoch", {"previous": [bytes(8), 7, HASH], "reason": "rollback"}),
    ("boot", {"boot": 1, "cause": "start", "firmware": None, "config": None}),
    (
        "boot",
        {
            "boot": 7,
            "cause": "watchdog",
            "firmware": HASH,
            "config": HASH,
            "runtime": ["micropython", "1.25.0", "Raspberry Pi Pico W with RP2040"],
            "key": ["atecc608", "secure-element"],
        },
    ),
    ("gap", {"dropped": 3, "reason": "flash"}),
    ("gap", {"dropped": 3, "reason": "memory", "first": 12}),
    ("gap", {"dropped": 5, "reason": "full", "first": 1, "to": 9, "decisions": 5}),
    ("clock", {"before_ms": -1, "after_ms": 1_790_000_000_000}),
    ("clock", {"before_ms": None, "after_ms": 1_790_000_000_000, "source": "gateway"}),
    ("counter", {"value": 2_097_151}),
    ("key", {"thumbprint": HASH}),
    ("key", {"thumbprint": HASH, "driver": "tpm2", "custody": "tpm"}),
    ("config", {"digest": HASH}),
    ("config", {"digest": HASH, "previous": HASH, "gripper": "long", "limits": [Dec(5, -1)]}),
    ("uplink", {"state": "up"}),
    ("uplink", {"state": "down"}),
    ("space", {"state": "low", "percent": 80, "used_bytes": 80, "limit_bytes": 100}),
    ("space", {"state": "relieved", "percent": 4, "used_bytes": 4, "limit_bytes": 100}),
    ("fault", {"part": "flash", "reason": "sync"}),
    ("hold", {"state": "broken", "gateway": b"g" * 8, "serial": 3, "to": 70}),
]
IDS = [f"{name}-{at}" for at, (name, _) in enumerate(EXAMPLES)]
# No empty names, which the CDDL cannot refuse (section 1.8).
STRANGERS: tuple[Any, ...] = (
    *(None, True, -1, 0, 9, Dec(5, -1), "x", "up", "low", b"", bytes(8), HASH, HASH + b"x"),
    *([], {}, ["x"], [None, None], ["x", None], ["x", "x", "x"], ["x", 1]),
    *([bytes(8), 1], [bytes(8), -1, HASH], [bytes(7), 1, HASH], [bytes(8), 1, HASH, 1]),
)


def accepts(name: str, details: Any) -> bool:
    try:
        event.parse(encode([2, 7, name, details]))
    except Malformed:
        return False
    return True


def mutants(details: dict[str, Any]) -> list[dict[str, Any]]:
    found = [{key: value for key, value in details.items() if key != left} for left in details]
    found += [{**details, key: other} for key in details for other in STRANGERS]
    found += [{**details, "extra": other} for other in STRANGERS]
    return found


@pytest.fixture(scope="module")
def schema() -> cddl.Schema:
    return cddl.Schema(cddl.blocks())


def test_every_event_of_ours_has_its_rule_its_row_and_its_examples() -> None:
    assert set(NAMES) == set(DETAILS) == {name for name, _ in EXAMPLES}
    rules = {
        line.split("-details = ")[0] for line in cddl.blocks().split("\n") if "-details =" in line
    }
    assert rules == set(NAMES)
    table = PROTOCOL.split("| event | when |")[1].split("\n\n")[0]
    assert all(f"| `{name}` |" in table for name in NAMES)


@pytest.mark.parametrize(("name", "details"), EXAMPLES, ids=IDS)
def test_the_parser_takes_what_the_rule_takes(
    name: str, details: dict[str, Any], schema: cddl.Schema
) -> None:
    assert accepts(name, details) and schema.matches(f"{name}-details", details)
    refused = 0
    for mutant in mutants(details):
        taken = accepts(name, mutant)
        # The rule's last line, the engineer's own details, takes any `previous` too.
        wider = name == "config" and mutant.get("previous", HASH) != HASH
        assert taken == schema.matches(f"{name}-details", mutant) or wider, mutant
        refused += not taken
    assert refused >= len(details)


def test_events_of_others_hold_anything() -> None:
    assert accepts("arm.docked", {}) and accepts("arm.docked", {"boot": [None, {"x": HASH}]})
    assert not accepts("docked", {})
