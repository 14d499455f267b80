"""Profiles from TOML: one encoding, and errors that name the line and the key."""

import pytest

from tallystick.evidence import number, profile
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import PROFILE_BYTES_MAX
from tallystick.verify import profiles
from tallystick.verify.checks import CHECKS
from tallystick.verify.plan import plan_of
from tallystick.verify.profile_toml import parse_profile

HANDOVER = profiles.text("handover")
ALL_CHECKS = (
    HANDOVER
    + """
[[checks]]
check = "order"
name = "first-given"
first = "giver.released"
then = "receiver.acquired"
[[checks]]
check = "within"
name = "soon"
claims = ["giver.released", "receiver.acquired"]
duration = "30 s"
[[checks]]
check = "limit"
name = "slow"
fields = ["giver.released.speed_m_s"]
[[checks]]
check = "quorum"
name = "some"
fields = ["giver.released.speed_m_s", "receiver.acquired.speed_m_s"]
at_least = 2
within_rel = "0.1"
[[checks]]
check = "custody"
name = "chain"
release = "giver.released"
acquire = "receiver.acquired"
item = "item"
[[checks]]
check = "exclusive"
name = "once"
grant = "giver.released"
resource = "item"
longest = "1 h"
"""
)


@pytest.mark.parametrize("name", profiles.NAMES)
def test_shipped_profiles_are_profiles(name: str) -> None:
    made = profiles.load(name)
    assert profile.parse(made.encode()) == made
    assert made.name == name
    for kind, _, parameters in plan_of(made).checks:
        assert CHECKS[kind].readable(parameters, plan_of(made))


def test_a_profile_of_no_known_name_is_refused() -> None:
    with pytest.raises(Malformed, match="handover, handover-chain, sighting"):
        profiles.load("../handover")


def test_tolerances_are_exact_and_have_one_form() -> None:
    made = parse_profile(HANDOVER)
    assert made.checks[1][2]["within"] == number.from_text("0.25")
    assert parse_profile(HANDOVER.replace('"0.25"', '"0.250"')).digest == made.digest
    assert parse_profile(HANDOVER.replace('"0.25"', '"0.26"')).digest != made.digest


def test_comments_and_the_order_of_tables_do_not_count() -> None:
    giver = HANDOVER[HANDOVER.index("[roles.giver]") : HANDOVER.index("[roles.receiver]")]
    moved = HANDOVER.replace(giver, "") + "\n# moved\n" + giver
    assert parse_profile(moved).digest == parse_profile(HANDOVER).digest


def test_all_seven_checks_can_be_written() -> None:
    made = parse_profile(ALL_CHECKS)
    assert [check[0] for check in made.checks] == [
        "agree",
        "agree",
        "order",
        "within",
        "limit",
        "quorum",
        "custody",
        "exclusive",
    ]
    assert made.checks[3][2] == {
        "claims": ["giver.released", "receiver.acquired"],
        "duration_ms": 30_000,
    }
    assert made.checks[6][2]["origin"] is False
    assert made.checks[7][2]["longest_ms"] == 3_600_000
    assert made.checks[7][2]["by"] == "anyone"
    assert profile.parse(made.encode()) == made


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("version = 1", "version = 0", 3, "version: must be 1 to"),
        ("version = 1", "version = true", 3, "must be a whole number"),
        ('name = "handover"', 'name = "Hand over"', 2, "is no name"),
        ('publisher = "tallystick"', 'publisher = "Tally Stick"', 4, "publisher"),
        ('deadline = "60 s"', "deadline = 60", 5, "in quotes"),
        ('deadline = "60 s"', 'deadline = "60s"', 5, "like"),
        ('deadline = "60 s"', 'deadline = "9000 h"', 5, "366 days"),
        ('deadline = "60 s"', "", 1, "deadline: is missing"),
        ("min = 1", "min = 33", 8, "must be 0 to 32"),
        ("max = 1", "max = 0", 9, "must be 1 to 32"),
        ("max = 1", "max = 1\nmost = 2", 10, "roles.giver.most: is not known"),
        ("[claims.giver.released]", "[claims.thief.released]", 15, "no role of this profile"),
        ('item = { type = "text" }', 'item = { type = "string" }', 16, "one of number"),
        ('item = { type = "text" }', 'item = { type = "text", unit = "m" }', 16, "numbers only"),
        ('item = { type = "text" }', 'Item = { type = "text" }', 16, "is no name"),
        ('check = "agree"', 'check = "agrees"', 26, "one of agree"),
        ('within = "0.25"', "within = 0.25", 35, "decimal text"),
        ('within = "0.25"', 'within = "-0.25"', 35, "negative"),
        ('within = "0.25"', 'within = "1e3"', 35, "plain decimal"),
        ('within = "0.25"', 'within = "0.25"\nwithin_rel = "0.1"', 36, "together"),
        ('within = "0.25"', 'tolerance = "0.25"', 35, "is not known here"),
        (', "receiver.acquired.item"', ', "receiver.acquired.position_m"', 28, "one type"),
        (', "receiver.acquired.item"', ', "giver.released.item"', 28, "given twice"),
        (', "receiver.acquired.item"', ', "receiver.acquired"', 28, "no role.claim.field"),
        ('name = "same-place"', 'name = "same-item"', 33, "given twice"),
    ],
)
def test_an_error_names_the_line_and_the_key(old: str, new: str, line: int, words: str) -> None:
    assert old in HANDOVER
    with pytest.raises(Malformed) as caught:
        parse_profile(HANDOVER.replace(old, new, 1))
    assert f"line {line}: " in caught.value.message
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('then = "receiver.acquired"', 'then = "giver.released"'),
        ('claims = ["giver.released", "receiver.acquired"]', "claims = []"),
        ('fields = ["giver.released.speed_m_s"]', 'fields = ["giver.released.item"]'),
        ("at_least = 2", "at_least = 0"),
        ('item = "item"', 'item = "position_m"'),
        ('resource = "item"', 'resource = "nothing"'),
        ('grant = "giver.released"', 'grant = "giver"'),
        ('resource = "item"', 'resource = "position_m"'),
        ('longest = "1 h"', 'longest = "0 s"'),
        ('longest = "1 h"', ""),
        ('longest = "1 h"', 'longest = "1 h"\nby = "nobody"'),
        ('acquire = "receiver.acquired"', 'acquire = "giver.released"'),
        ('acquire = "receiver.acquired"', 'acquire = "receiver.lost"'),
        ('item = "item"', 'item = "item"\norigin = "yes"'),
        ("[roles.giver]\nmin = 1\nmax = 1", "[roles.giver]\nmin = 1\nmax = 5"),
        ('item = { type = "text" }', 'item = { type = "text", required = false }'),
        ('item = { type = "text" }', 'item = { type = "bytes" }'),
    ],
)
def test_parameters_of_later_checks_are_checked_too(old: str, new: str) -> None:
    assert old in ALL_CHECKS
    with pytest.raises(Malformed, match="line"):
        parse_profile(ALL_CHECKS.replace(old, new, 1))


def test_a_fifth_check_that_reads_elsewhere_is_refused() -> None:
    again = """[[checks]]
check = "exclusive"
name = "once-%d"
grant = "giver.released"
resource = "item"
longest = "1 h"
"""
    made = ALL_CHECKS + "".join(again % n for n in range(2))
    assert len(parse_profile(made).checks) == 10
    with pytest.raises(Malformed, match="is one more than 4"):
        parse_profile(made + again % 3)


@pytest.mark.parametrize(
    "text", ["", "= 1", "a = [" + "[" * 5000, "x" * (PROFILE_BYTES_MAX + 1), "name = '\ud800'"]
)
def test_what_is_no_profile_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        parse_profile(text)
