"""Examples of profiles: the shipped ones are true, and mistakes in a file are named."""

from collections import Counter

import pytest

from tallystick.evidence.errors import Malformed
from tallystick.verify import profiles
from tallystick.verify.profile_examples import EXAMPLES_MAX, Example, parse_examples, try_example
from verify import naive

HANDOVER = profiles.load("handover")
GOOD = """
[[examples]]
name = "good"
state = "one_sided"
parties = { receiver = ["arm-2"] }

[[examples.claims]]
device = "truck-1"
claim = "giver.released"
fields = { item = "pallet-7", position_m = ["1.5", 2] }
"""


def of(name: str) -> list[Example]:
    return parse_examples(profiles.examples(name), profiles.load(name))


@pytest.mark.parametrize("name", profiles.NAMES)
def test_the_examples_of_shipped_profiles_come_out_as_they_say(name: str) -> None:
    for example in of(name):
        tried = try_example(example)
        assert not tried.faults, example.name
        assert tried.finding.encode() == naive.find(example.inputs)


@pytest.mark.parametrize("name", profiles.NAMES)
def test_every_check_of_a_shipped_profile_passes_and_fails_in_its_examples(name: str) -> None:
    seen = Counter(
        (check.name, check.result)
        for example in of(name)
        for check in try_example(example).finding.checks
    )
    for _, check, _ in map(list, profiles.load(name).checks):
        assert seen[check, "pass"], check
        assert seen[check, "fail"], check


def test_what_is_not_as_expected_is_said() -> None:
    text = GOOD.replace('"one_sided"', '"matched"') + ""
    text = text.replace("parties =", 'checks = { same-item = "pass", once = "fail" }\nparties =')
    (example,) = parse_examples(text, HANDOVER)
    assert try_example(example).faults == [
        "the state is one_sided, not matched",
        "same-item is not_evaluated, not pass: A claim receiver.acquired is missing.",
        "the check once was not made",
    ]


def test_a_set_that_is_not_closed_is_pending() -> None:
    text = GOOD.replace('"one_sided"', '"pending"\nclosed = false')
    (example,) = parse_examples(text, HANDOVER)
    assert try_example(example).faults == []


def test_a_claim_without_a_body_is_known_by_those_who_rely_on_it() -> None:
    text = GOOD.replace('"one_sided"', '"insufficient"').replace("fields", "body = false\nfields")
    text += """
[[examples.claims]]
device = "arm-2"
claim = "receiver.acquired"
relied = ["truck-1/giver.released"]
fields = { item = "pallet-7", position_m = ["1.5", 2] }
"""
    (example,) = parse_examples(text, HANDOVER)
    assert try_example(example).faults == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"one_sided"', '"good"', "line 4: examples.state: must be one of pending"),
        ('"giver.released"', '"giver.acquired"', "'giver.acquired' is no role.claim"),
        ("fields", 'key = "stolen"\nfields', "must be one of active"),
        ("fields", 'relied = ["x/y.z"]\nfields', "is no DEVICE/ROLE.CLAIM of a claim above"),
        ("fields", "interval_ms = [1, 2]\nfields", "must be [begin, end, uncertainty] in ms"),
        ("fields", "interval_ms = [1, 2, true]\nfields", "must be [begin, end, uncertainty]"),
        ("fields", "interval_ms = [3, 2, 0]\nfields", "ends before it begins"),
        ("fields", "stray = 1\nfields", "is not known here"),
        ("parties", 'checks = { same-colour = "pass" }\nparties', "is no check of the profile"),
        ("parties", 'checks = { same-item = "yes" }\nparties', "must be one of pass, fail"),
        ('["1.5", 2]', '["1.5", 2.5]', "must be a whole number or decimal text"),
        ('["1.5", 2]', '["1.5", "x"]', "position_m"),
        ('"pallet-7"', "1979-05-27", "must be text in quotes"),
        ("name", "nome", "name: is missing"),
        ("parties = {", "parties = { giver = [7],", "must be a list of texts"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_examples(GOOD.replace(old, new, 1), HANDOVER)
    assert said in caught.value.message
    assert "line " in caught.value.message


CHAIN = profiles.load("handover-chain")
ELSEWHERE = """
[[examples]]
name = "good"
state = "matched"
checks = { by-its-keeper = "pass" }

[[examples.elsewhere]]
task = "morning"
device = "truck-1"
claim = "receiver.acquired"
parties = { giver = ["depot"] }
fields = { item = "pallet-7", position_m = ["1.5", 2] }

[[examples.claims]]
device = "truck-1"
claim = "giver.released"
relied = ["morning/truck-1/receiver.acquired"]
fields = { item = "pallet-7", position_m = ["1.5", 2] }

[[examples.claims]]
device = "arm-2"
claim = "receiver.acquired"
fields = { item = "pallet-7", position_m = ["1.5", 2] }
"""


def test_claims_of_other_interactions_stand_above() -> None:
    (example,) = parse_examples(ELSEWHERE, CHAIN)
    assert try_example(example).faults == []
    (other,) = example.inputs.others
    assert other.claim is not None
    assert other.claim.interaction == "morning"
    assert sorted(other.claim.parties) == ["giver", "receiver"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('task = "morning"', 'task = "example"', "is the interaction of the claims themselves"),
        ('task = "morning"', "", "task: is missing"),
        ('"morning/truck-1', '"truck-1', "of a claim above"),
        ('device = "arm-2"', 'device = "arm-2"\ntask = "noon"', "is not known here"),
        ('device = "arm-2"', 'device = "arm-2"\nparties = {}', "is not known here"),
    ],
)
def test_a_mistake_about_other_interactions_is_named(old: str, new: str, said: str) -> None:
    with pytest.raises(Malformed, match="line ") as caught:
        parse_examples(ELSEWHERE.replace(old, new, 1), CHAIN)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("constraint", "said"),
    [
        ('speed_m_s = ["<="]', "must be [operator, limit, unit, held]"),
        ('speed_m_s = ["~", "1"]', "speed_m_s"),
        ('speed_m_s = ["<=", "1", "m/s", 1]', "held must be true or false"),
        ('item = ["=", "1"]', "item"),
        ('height_m = ["<=", "1"]', "is no field of this claim"),
    ],
)
def test_a_mistake_in_a_constraint_is_named(constraint: str, said: str) -> None:
    text = GOOD.replace('"pallet-7"', '"pallet-7", speed_m_s = "0.2"')
    with pytest.raises(Malformed, match="line ") as caught:
        parse_examples(f"{text}constraints = {{ {constraint} }}\n", HANDOVER)
    assert said in caught.value.message


def test_names_are_given_once_and_there_is_a_bound() -> None:
    with pytest.raises(Malformed, match="is given twice"):
        parse_examples(GOOD * 2, HANDOVER)
    many = "".join(GOOD.replace('"good"', f'"{at}"') for at in range(EXAMPLES_MAX + 1))
    with pytest.raises(Malformed, match=f"at most {EXAMPLES_MAX} items"):
        parse_examples(many, HANDOVER)
    with pytest.raises(Malformed, match=r"\[\[examples.claims\]\]"):
        parse_examples(GOOD[: GOOD.index("[[examples.claims")] + "claims = []\n", HANDOVER)
