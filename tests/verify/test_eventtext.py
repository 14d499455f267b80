"""Events of a device in words: each of them, in one harmless line, with its figures."""

import pytest

from evidence.test_events import EXAMPLES, HASH
from tallystick.evidence import event
from tallystick.evidence.event import Event
from tallystick.evidence.eventwriter import NAMES
from tallystick.verify.describe import describe
from tallystick.verify.eventtext import told

SAID = {
    "boot": "boot 7, watchdog; micropython 1.25.0 on Raspberry Pi Pico W with RP2040;"
    " key by atecc608 (secure-element); firmware 000102030405…; configuration 000102030405…",
    "clock": "the clock was set forward by 1,790,000,000.0 s, to 2026-09-21T14:13:20.000Z",
    "counter": "the hardware counter stands at 2097151",
    "key": "another key: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8, by tpm2 (tpm)",
    "uplink": "the uplink is lost",
    "space": "the journal has room again: 4 % of 100 bytes",
    "fault": "fault flash:sync",
    "epoch": "a log begins: rollback; the one before was AAAAAAAAAAA with 7 records",
    "config": "configuration 000102030405… in place of 000102030405…, with gripper, limits",
    "hold": "the journal is full: what is below 70 goes in spite of hold 3 of gateway key "
    "6767676767676767",
}


@pytest.mark.parametrize(("name", "details"), EXAMPLES)
def test_each_event_is_one_line(name: str, details: dict[str, object]) -> None:
    said = told(Event(1, name, details))
    assert said and said.isprintable() and not said.endswith(".")


def test_what_is_said() -> None:
    newest = dict(EXAMPLES)
    newest["clock"] = {"before_ms": 0, "after_ms": 1_790_000_000_000}
    found = {name: told(Event(1, name, newest[name])) for name in SAID}
    assert found == SAID
    assert set(NAMES) == {*SAID, "gap"}


def test_a_gateway_s_time_is_said_to_be_one() -> None:
    hinted = {"before_ms": None, "after_ms": 1_790_000_000_000, "source": "gateway"}
    said = told(Event(1, "clock", hinted))
    assert said == "the clock is not set; a gateway says that it is 2026-09-21T14:13:20.000Z"


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"dropped": 1, "reason": "flash"}, "1 record was not kept: flash"),
        ({"dropped": 0, "reason": "torn"}, "records were not kept: torn"),
        (
            {"dropped": 9, "reason": "full", "first": 1, "to": 10, "decisions": 8, "claims": 1},
            "9 records were not kept: full, from index 1 to 9 (8 decisions, 1 claims)",
        ),
    ],
)
def test_what_a_gap_says(details: dict[str, object], said: str) -> None:
    assert told(Event(1, "gap", details)) == said


def test_a_stranger_s_words_drive_no_terminal() -> None:
    for name, details in (
        ("epoch", {"previous": None, "reason": "\x1b[2J"}),
        ("boot", {"boot": 1, "cause": "\x1b[2J\n", "firmware": None, "config": None}),
        ("fault", {"part": "\x07", "reason": "\u202e"}),
        ("config", {"digest": HASH, "\x1b]0;": 1}),
    ):
        said = told(event.parse(Event(1, name, details).encode()))
        assert said and said.isprintable()


def test_inspect_says_it_and_the_engineer_s_own_stay_as_they_are() -> None:
    shown = describe(Event(1, "uplink", {"state": "up"}).encode())
    assert shown["fields"]["says"] == "the uplink is there"
    assert shown["fields"]["event"] == "uplink"
    mine = describe(Event(1, "arm.docked", {"bay": 3}).encode())
    assert "says" not in mine["fields"] and mine["fields"]["details"] == {"bay": 3}
