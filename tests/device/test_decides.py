"""A function whose call is a decision, as far as every interpreter has it."""

from tallystick.evidence.errors import Malformed
from tallystick.evidence.record import parse
from tallystick.recorder.deciding import decides
from tallystick.recorder.health import Health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Ledger:
    def __init__(self) -> None:
        self.faults: list[str] = []

    def fault(self, part: str, reason: str) -> None:
        self.faults.append(part + ":" + reason)


class Kept:
    """What a recorder's decision() does, without a journal."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self._ledger = Ledger()
        self.health = Health()

    def decision(
        self, model: "Any", inputs: "Any", constraints: "Any", output: "Any", context: "Any"
    ) -> None:
        from tallystick.evidence.decisionwriter import encode_decision

        self.records.append(
            encode_decision(7, model, inputs or {}, constraints or {}, context or {}, output)
        )

    @property
    def newest(self) -> "Any":
        return parse(self.records[-1])


def decorated(kept: Kept, function: "Any", **how: "Any") -> "Any":
    tally: "Any" = kept
    return decides(tally, "m@1", **how)(function)


def grip(frame: "Any", speed: float, note: "Any" = None) -> "Any":
    if note == "raise":
        raise KeyError("secret")
    return "grip" if speed <= 0.5 else "wait"


def test_arguments_constraints_and_output() -> None:
    kept = Kept()
    rule = {"speed": ("<=", "0.5", "m/s")}
    decide = decorated(kept, grip, inputs=("frame", ("speed", 2)), constraints=rule)
    assert decide(b"x" * 1000, 0.401) == "grip"
    found = kept.newest
    assert found.output == "grip" and found.model == ["m", "1", None]
    assert len(found.inputs["frame"]) == 32 and repr(found.inputs["speed"]) == "Dec(4, -1)"
    assert found.constraints["speed"][1:] == ["<=", parse_half(), "m/s", True]
    assert decide(b"x", speed=0.75) == "wait"
    assert kept.newest.constraints["speed"][4] is False
    assert kept._ledger.faults == []


def parse_half() -> "Any":
    from tallystick.evidence.number import of

    return of("0.5")


def test_an_exception_is_recorded_and_raised() -> None:
    kept = Kept()
    decide = decorated(kept, grip, inputs=("frame", "speed"))
    try:
        decide(b"", 1, "raise")
    except KeyError as error:
        assert error.args == ("secret",)
    else:
        raise AssertionError
    assert kept.newest.output == {"raised": "KeyError"}
    assert b"secret" not in kept.records[-1]


def test_what_cannot_be_recorded_is_named() -> None:
    kept = Kept()
    decide = decorated(
        kept, grip, inputs=("frame", "speed"), constraints={"speed": ("<=", 1)}, context={"a": 1}
    )
    assert decide(object(), float("nan")) == "wait"
    found = kept.newest
    assert found.inputs == {} and found.constraints == {} and found.output == "wait"
    assert found.context == {
        "a": 1,
        "unrecorded": {
            "inputs": {"frame": "bad-type", "speed": "bad-number"},
            "constraints": {"speed": "bad-number"},
        },
    }
    assert kept._ledger.faults in (["decides:bad-number"], ["decides:bad-type"])
    # Each part fits, and all of them do not.

    def many(a: "Any", b: "Any", c: "Any", d: "Any", e: "Any", f: "Any", g: "Any") -> "Any":
        return a, b, c, d, e, f, g

    decide = decorated(kept, many, inputs=tuple("abcdefg"), output=len)
    decide(*[["0" * 14] * 60] * 7)
    assert kept.newest.context == {"unrecorded": {"record": "too-large"}}
    assert kept._ledger.faults[1:] == ["decides:too-large"]


def test_values_are_those_before_the_call() -> None:
    kept = Kept()

    def change(poses: "list[Any]") -> None:
        poses.append(9)

    decorated(kept, change, inputs=("poses",))([1, (2, "x")])
    assert kept.newest.inputs == {"poses": [1, [2, "x"]]}


def test_functions_take_values() -> None:
    kept = Kept()

    def bad(value: "Any") -> "Any":
        raise ValueError(value)

    decide = decorated(kept, grip, inputs=(("frame", len), ("speed", bad)), output=len)
    decide(b"four", 0.5)
    found = kept.newest
    assert found.inputs == {"frame": 4} and found.output == 4
    assert found.context == {"unrecorded": {"inputs": {"speed": "raised"}}}
    decide = decorated(
        kept, grip, inputs=("frame",), constraints=lambda given, out: {"n": (len(out), "<", 3)}
    )
    decide(1, 0.5)
    assert kept.newest.constraints == {"n": [4, "<", 3, None, False]}


def test_large_lists_and_chosen_values_are_digests() -> None:
    kept = Kept()
    decide = decorated(kept, grip, inputs=("frame", "speed", ("note", "digest")))
    decide(list(range(65)), 1, "n")
    assert len(kept.newest.inputs["frame"]) == 32 and len(kept.newest.inputs["note"]) == 32
    decide(bytearray(range(64)), 1, "n")
    assert kept.newest.inputs["frame"] == bytes(range(64))
    decide("\u00e4" * 129, 1, "n")
    assert len(kept.newest.inputs["frame"]) == 32


def test_mistakes_show_at_the_definition() -> None:
    kept = Kept()
    wrong = (
        {"inputs": "frame"},
        {"inputs": (7,)},
        {"inputs": (("frame", 16),)},
        {"inputs": (("frame", "hash"),)},
        {"constraints": {"speed": ("<=", 1)}},
        {"inputs": ("speed",), "constraints": {"speed": ("=<", 1)}},
        {"inputs": ("speed",), "constraints": {"speed": ("<=", float("nan"))}},
        {"constraints": 3},
        {"output": "digits"},
        {"context": {"a": object()}},
    )
    for how in wrong:
        refused = False
        try:
            decorated(kept, grip, **how)
        except Malformed:
            refused = True
        assert refused, how
