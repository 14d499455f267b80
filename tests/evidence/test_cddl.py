"""The CDDL and the tables of docs/protocol.md are those of the code (the page is the law)."""

import ast
import re
from pathlib import Path
from random import Random
from typing import Any

import pycddl
import pytest

from support import cddl, examples
from support.examples import Example
from support.mutants import mutant
from tallystick.evidence import cose, keycustody, kinds, limits
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.number import Dec

EVERYTHING = examples.everything()
IDS = [example.name for example in EVERYTHING]
TOP = Path(__file__).parents[2]
DEEP_MUTANTS = 400
# Every byte of them, but for the notes' signatures in base64, is under the root of a note in them.
BOUND = {"missed", "equivocation", "premature"}
# One value of every type that CBOR has here, and some that are nearly right.
STRANGERS: tuple[Any, ...] = (
    *(None, True, -1, 2**63, Dec(5, -1), "", "x", b"", b"x", bytes(8), bytes(16), bytes(32)),
    *([], {}, [1], ["x"], [b""], [[]], [bytes(32)], {"x": 1}, {1: 2}),
)


@pytest.fixture(scope="module")
def schema() -> cddl.Schema:
    return cddl.Schema(cddl.blocks())


def body(example: Example) -> Any:
    """The decoded array that the rule describes."""
    return (
        decode(cose.parse(example.data, 1 << 24).payload or b"")
        if example.signed
        else decode(example.data)
    )


def rebuilt(example: Example, value: Any) -> bytes:
    """The example's bytes with another array in it; parsers do not look at signatures."""
    if not example.signed:
        return encode(value)
    sign1 = cose.parse(example.data, 1 << 24)
    return cose.encode(sign1.protected, encode(value), sign1.signature)


def accepts(example: Example, value: Any) -> bool:
    try:
        example.parse(rebuilt(example, value))
    except TallyError:
        return False
    return True


def mutants(value: Any) -> list[Any]:
    """The array with each element left out, doubled, or replaced; and one level deeper."""
    found: list[Any] = [value[:-1], [*value, None], [*value, 0], value[1:], []]
    for at, item in enumerate(value):
        found += [[*value[:at], stranger, *value[at + 1 :]] for stranger in STRANGERS]
        if isinstance(item, list) and item:
            inner = [item[:-1], [*item, None], *([*item[:-1], other] for other in STRANGERS)]
            found += [[*value[:at], other, *value[at + 1 :]] for other in inner]
        if isinstance(item, dict) and item:
            key = next(iter(item))
            inner_maps = [{**item, key: other} for other in STRANGERS]
            found += [[*value[:at], other, *value[at + 1 :]] for other in inner_maps]
    return found


def changed(example: Example, mutant: Any) -> str:
    """What a failing test shows: where the mutant differs."""
    differing = [at for at, item in enumerate(mutant) if [item] != body(example)[at : at + 1]]
    return ", ".join(f"element {at}: {mutant[at]!r}" for at in differing[:1]) or "length"


def test_every_rule_is_cddl_to_another_implementation() -> None:
    # pycddl takes a member's name for a rule where both have one spelling, hence without names.
    text = re.sub(r"\b[a-z0-9_]+: ", "", cddl.blocks())
    pycddl.Schema(text)


def test_another_implementation_validates_what_it_can(schema: cddl.Schema) -> None:
    # pycddl 0.6 judges a choice inside an array by the array's other members too, so it refuses
    # good examples of most rules; those without such a choice must pass.
    text = re.sub(r"\b[a-z0-9_]+: ", "", cddl.blocks())
    rules = dict(re.findall(r"(?ms)^([a-z0-9-]+) = (.*?)(?=^[a-z0-9-]+ = |\Z)", text))
    checked = 0
    for example in EVERYTHING:
        if example.rule not in {"gateway-leaf", "gateway-head", "time-entry", "logged-claim"} | {
            *("closing", "custody-receipt", "batch-answer", "accepted-half", "notarised"),
        }:
            continue
        first = f"{example.rule} = {rules[example.rule]}\n"
        others = "".join(f"{name} = {rules[name]}\n" for name in rules if name != example.rule)
        judge = pycddl.Schema(first + others)
        judge.validate_cbor(encode(body(example)))
        with pytest.raises(pycddl.ValidationError):
            judge.validate_cbor(encode(body(example)[:-1]))
        with pytest.raises(pycddl.ValidationError):
            judge.validate_cbor(encode([200, *body(example)[1:]]))
        checked += 1
    assert checked == 9


@pytest.mark.parametrize("example", EVERYTHING, ids=IDS)
def test_an_example_is_what_the_cddl_says(example: Example, schema: cddl.Schema) -> None:
    assert example.parse(example.data).encode() == example.data
    assert schema.matches(example.rule, body(example))


@pytest.mark.parametrize("example", EVERYTHING, ids=IDS)
def test_no_parser_takes_what_the_cddl_refuses(example: Example, schema: cddl.Schema) -> None:
    refused = 0
    for wrong in mutants(body(example)):
        if not schema.matches(example.rule, wrong):
            refused += 1
            assert not accepts(example, wrong), changed(example, wrong)
    assert refused > len(STRANGERS)


@pytest.mark.parametrize("example", EVERYTHING, ids=IDS)
def test_nor_deep_inside(example: Example, schema: cddl.Schema) -> None:
    random = Random(example.name)
    data = encode(body(example))
    taken = 0
    for _ in range(DEEP_MUTANTS):
        try:
            changed_inside = decode(mutant(data, random))
        except Malformed:
            continue
        if accepts(example, changed_inside):
            taken += 1
            assert schema.matches(example.rule, changed_inside), changed_inside
    assert taken or example.rule in BOUND, "no mutant is near enough"


def test_receipts_hold_the_proofs_that_the_cddl_says(schema: cddl.Schema) -> None:
    inclusion = cose.parse(examples.inclusion_receipt(4, 8), 4096).unprotected[396]
    assert list(inclusion) == [-1]
    assert schema.matches("inclusion-proof", decode(inclusion[-1][0]))
    consistency = cose.parse(examples.consistency_receipt(3, 8), 4096).unprotected[396]
    assert list(consistency) == [-2]
    assert schema.matches("consistency-proof", decode(consistency[-2][0]))


def test_every_rule_that_is_an_object_has_an_example(schema: cddl.Schema) -> None:
    objects = {
        name
        for name, rule in schema.rules.items()
        if [what for what, _ in rule.choices] == ["array"]
        and rule.choices[0][1][0].type.choices[0][0] == "literal"
    }
    without_kind = {"credential", "finding-inputs"} | set(keycustody.NEEDS.values())
    assert objects == {example.rule for example in EVERYTHING} - without_kind


def table(heading: str) -> list[list[str]]:
    text = cddl.PROTOCOL.read_text().split(f"### {heading}")[1].split("\n### ")[0].split("\n## ")[0]
    rows = [line.strip("| \n").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_kinds_are_those_of_the_page() -> None:
    ours = {name: value for name, value in vars(kinds).items() if name.isupper() and name[0] != "_"}
    page = {row[1].upper().replace(" ", "_"): int(row[0]) for row in table("1.5 Kinds")}
    assert ours == page


def test_limits_are_those_of_the_page() -> None:
    ours = {
        name.lower(): value
        for name, value in vars(limits).items()
        if name.isupper() and name[0] != "_"
    }
    page = {
        row[0].strip("`"): int(re.match(r"[\d,]+", row[1])[0].replace(",", ""))  # type: ignore[index]  # every row has digits
        for row in table("1.6 Limits")
    }
    assert ours == page


# What refuses, by the names of the errors, in the packages whose reasons travel or are counted.
REFUSING = {"Malformed", "Unverified", "CouldNotCheck", "_fail", "Refused", "Problem"}
PACKAGES = ("firmware/tallystick/evidence", "gateway/tallystick", "validator/tallystick")


def raised() -> dict[str, set[str]]:
    """Reasons that the code gives, with the files that give them."""
    found: dict[str, set[str]] = {}
    paths = [path for folder in PACKAGES for path in (TOP / folder).rglob("*.py")]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            reason = node.args[0] if node.func.id in REFUSING and node.args else None
            if isinstance(reason, ast.Constant) and isinstance(reason.value, str):
                found.setdefault(reason.value, set()).add(path.name)
    return found


def reasons() -> set[str]:
    rows = table("1.7 Reasons")
    return {token for row in rows for token in re.findall(r"`([a-z0-9-]+)`", row[0])}


def test_reasons_are_those_of_the_page() -> None:
    assert {reason: files for reason, files in raised().items() if reason not in reasons()} == {}


def test_every_reason_of_the_page_is_given_somewhere() -> None:
    paths = [path for folder in PACKAGES for path in (TOP / folder).rglob("*.py")]
    product = "".join(path.read_text() for path in paths)
    assert {reason for reason in reasons() if f'"{reason}"' not in product} == set()


def test_the_reader_of_cddl_refuses(schema: cddl.Schema) -> None:
    # The judge of the tests above is our own, so it is judged here.
    small = cddl.Schema("a = [1, x: uint, ? y: b / null]\nb = {1 => tstr, ? 2 => bstr .size 2}")
    for good in ([1, 0], [1, 5, None], [1, 5, {1: "x"}], [1, 5, {1: "x", 2: b"ab"}]):
        assert small.matches("a", good)
    for bad in ([], [1], [2, 0], [1, -1], [1, True], [1, 0, 0], [1, 0, None, None]):
        assert not small.matches("a", bad)
    for wrong in ({}, {2: b"ab"}, {1: "x", 2: b"abc"}, {1: "x", 3: 1}, {1: b"x"}):
        assert not small.matches("a", [1, 0, wrong])
    with pytest.raises(ValueError, match="named nothing"):
        cddl.Schema("a = [nothing]")
    with pytest.raises(ValueError, match="twice"):
        cddl.Schema("a = uint\na = tstr")
    with pytest.raises(Malformed):
        EVERYTHING[0].parse(b"")
