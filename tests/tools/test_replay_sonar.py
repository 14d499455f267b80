"""A model that decides on the device: trained anew, equal everywhere, verified and recomputed."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rich.console import Console

from tallystick.evidence import decision
from tallystick.evidence.decision import Decision
from tallystick.evidence.decisionwriter import encode_decision
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.tools import device_library
from tallystick.tools.micropython import MicroPython
from tallystick.tools.replay import sonar
from tallystick.tools.replay.sonar_model import Model, Question, shipped

TOP = Path(__file__).parents[2]
TALLY = [sys.executable, "-c", "from tallystick.tools.main import main; main()"]
TRAIN = TOP / "scripts" / "train-wall-follower"
PROGRAM = TOP / "firmware" / "examples" / "wall_follower.py"
WEIGHTS = TOP / "firmware" / "examples" / "wall_follower.bin"
DATA = Path(os.environ.get("TALLYSTICK_DATA", TOP.parent / "shared" / "data"))
REAL = DATA / "wall-following-24.csv"
REAL_ROWS = 5_456
needs_data = pytest.mark.skipif(
    not REAL.is_file(), reason="the real data are not beside the project"
)
SONARS = 24
# Prints what the device's program answers for each line of a file: action, leaf, support.
ASK = """
import sys
from wall_follower import Tree, readings
with open(sys.argv[2], "rb") as file:
    tree = Tree(file.read())
for ranges in readings(sys.argv[1], tree.sonars):
    print(tree.decide(ranges))
"""


def run(*command: "str | Path", code: int = 0, cwd: Path = TOP) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=500, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def made_rows(count: int, seed: int = 4711) -> list[tuple[list[int], str]]:
    """Rows with a rule to learn, and ranges at the edges: of what is stored, and of the tree's."""
    random = Random(seed)
    nodes = Model(WEIGHTS.read_bytes()).nodes
    questions = [node for node in nodes if isinstance(node, Question)]
    rows = []
    for number in range(count):
        edges = [0, 1, 340, 9999, 65_535]
        ranges = [random.choice([*edges, random.randrange(6000)]) for _ in range(SONARS)]
        for node in (questions[0], questions[number % len(questions)]):
            ranges[node.sonar] = node.limit_mm + random.choice([0, 0, 1])
        front, right = ranges[12], ranges[6]
        action = "Sharp-Right-Turn" if front < 900 else "Move-Forward"
        if right < 400 and front >= 900:
            action = "Slight-Left-Turn"
        rows.append((ranges, action))
    return rows


def written(path: Path, rows: Sequence[tuple[list[int], str]]) -> Path:
    heading = ",".join([*(f"S{n}" for n in range(1, SONARS + 1)), "OUTPUT"])
    lines = [
        ",".join([*(f"{one // 1000}.{one % 1000:03d}" for one in ranges), action])
        for ranges, action in rows
    ]
    path.write_text("\n".join([heading, *lines]) + "\n")
    return path


def changed(path: Path) -> bytes:
    """The file with another action at its last leaf."""
    data = path.read_bytes()
    return data[:-1] + bytes([data[-1] ^ 1])


def answers_upstream(path: Path) -> list[str]:
    model = Model(WEIGHTS.read_bytes())
    found = []
    for line in path.read_text().splitlines()[1:]:
        answer = model.answer([int(text.replace(".", "")) for text in line.split(",")[:SONARS]])
        found.append(str((answer.action, answer.leaf, answer.support)))
    return found


def answers_on_cpython(path: Path) -> list[str]:
    code = f"import sys\nsys.path.insert(0, {str(PROGRAM.parent)!r})\n" + ASK
    return run(sys.executable, "-c", code, path, WEIGHTS).stdout.splitlines()


def answers_on(found: MicroPython, path: Path, folder: Path) -> list[str]:
    (folder / "ask.py").write_text(ASK)
    program = device_library.compiled("wall-follower", {PROGRAM.name: PROGRAM})
    library = device_library.device_library()
    done = found.run("ask.py", str(path), str(WEIGHTS), path=[library, program], cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_interpreter_decides_alike(
    tmp_path: Path, micropython64: MicroPython, micropython32: MicroPython
) -> None:
    path = written(tmp_path / "made.csv", made_rows(400))
    expected = answers_upstream(path)
    assert len(expected) == 400 and len(set(expected)) > 8
    assert answers_on_cpython(path) == expected
    for found in (micropython64, micropython32):
        assert answers_on(found, path, tmp_path) == expected


@needs_data
def test_the_stored_weights_are_what_the_data_give_and_as_accurate_as_stated() -> None:
    said = run(TRAIN, REAL, "--check").stdout
    assert said.strip() in (TOP / "docs" / "recorder.md").read_text()
    assert "1,364 rows, of which 1,347 are decided as recorded, 98.75%" in said


@pytest.mark.slow
@needs_data
def test_every_interpreter_is_as_accurate_as_stated(
    tmp_path: Path, micropython64: MicroPython, micropython32: MicroPython
) -> None:
    actions = [line.split(",")[SONARS] for line in REAL.read_text().splitlines()[1:]]
    held_out = len(actions) * 3 // 4
    expected = answers_upstream(REAL)
    assert answers_on_cpython(REAL) == expected
    for found in (micropython64, micropython32):
        answers = answers_on(found, REAL, tmp_path)
        assert answers == expected and len(answers) == REAL_ROWS
        pairs = list(zip(answers, actions, strict=True))[held_out:]
        assert sum(given.startswith(f"('{action}',") for given, action in pairs) == 1_347


def test_training_learns_a_rule_and_gives_the_same_bytes_again(tmp_path: Path) -> None:
    data = written(tmp_path / "made.csv", made_rows(600))
    first, second = tmp_path / "first.bin", tmp_path / "second.bin"
    said = run(TRAIN, data, "--out", first).stdout
    run(TRAIN, data, "--out", second)
    assert first.read_bytes() == second.read_bytes()
    assert "Trained on 450 rows" in said and "Held out: 150 rows" in said
    model = Model(first.read_bytes())
    rows = made_rows(600)
    assert all(model.answer(ranges).action == action for ranges, action in rows[:450])
    right = sum(model.answer(ranges).action == action for ranges, action in rows[450:])
    assert f"of which {right} are decided as recorded" in said and right > 140
    first.write_bytes(changed(first))
    assert (
        "is not what these data give" in run(TRAIN, data, "--out", first, "--check", code=1).stderr
    )


def test_both_readers_refuse_damaged_weights_or_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROGRAM.parent)
    from wall_follower import Tree  # type: ignore[import-not-found, unused-ignore]

    good = WEIGHTS.read_bytes()
    rows = [ranges for ranges, _ in made_rows(20)]
    random = Random(7)
    damaged = [good[:size] for size in range(len(good))]
    for at in range(len(good)):
        damaged += [
            good[:at] + bytes([one]) + good[at + 1 :] for one in (0, 255, random.randrange(256))
        ]
    refused = 0
    for data in damaged:
        try:
            model = Model(data)
        except Malformed:
            refused += 1
            with pytest.raises(ValueError):  # noqa: PT011 - the device's program has no other
                Tree(data)
            continue
        tree = Tree(data)
        for ranges in rows:
            answer = model.answer(ranges[:24] + [0] * (tree.sonars - 24))
            given = tree.decide(ranges[:24] + [0] * (tree.sonars - 24))
            assert given == (answer.action, answer.leaf, answer.support)
    assert 400 < refused < len(damaged)


def recorded(**changes: Any) -> Decision:
    model = Model(WEIGHTS.read_bytes())
    ranges = made_rows(1)[0][0]
    answer = model.answer(ranges)
    fields: dict[str, Any] = {
        "model": ("wall-follower", "1", model.digest),
        "inputs": {"sonar_mm": ranges},
        "constraints": {
            "nearest": (min(ranges), ">=", "400", "mm"),
            "support": (answer.support, ">=", "10", "rows"),
        },
        "context": {"step": 0},
        "output": {"action": answer.action, "leaf": answer.leaf},
    }
    return decision.parse(encode_decision(1000, **(fields | changes)))


def test_a_record_that_follows_from_its_inputs_is_recomputed() -> None:
    model = Model(WEIGHTS.read_bytes())
    answer = model.recompute(recorded())
    assert answer == model.answer(made_rows(1)[0][0])


RANGES = made_rows(1)[0][0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output": {"action": "Stop", "leaf": 3}}, "the model gives"),
        ({"output": None}, "the model gives"),
        ({"model": ("wall-follower", "1", bytes(32))}, "recorded by the model"),
        ({"model": "wall-follower@1"}, "without a digest"),
        ({"inputs": {"sonar_mm": RANGES[:23]}}, "not 24 ranges"),
        ({"inputs": {"sonar_mm": [*RANGES[:23], "1"]}}, "not 24 ranges"),
        ({"inputs": {}}, "not 24 ranges"),
        ({"constraints": {"nearest": (min(RANGES) + 1, ">=", "400")}}, "does not follow"),
        ({"constraints": {"battery": (1, ">=", "0")}}, "does not follow"),
    ],
)
def test_a_record_that_does_not_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Unverified, match=said):
        Model(WEIGHTS.read_bytes()).recompute(recorded(**changes))


def test_a_limit_whose_result_is_wrong_is_refused() -> None:
    lying = recorded()
    lying.constraints["nearest"][4] = not lying.constraints["nearest"][4]
    with pytest.raises(Unverified, match="does not follow"):
        Model(WEIGHTS.read_bytes()).recompute(lying)


def test_a_record_of_other_inputs_than_the_data_is_refused(tmp_path: Path) -> None:
    model = Model(WEIGHTS.read_bytes())
    answer = model.recompute(recorded())

    def found(given: list[sonar.Row]) -> sonar.Robot:
        run_ = sonar._Run(tmp_path, tmp_path, given, model, Console())
        robot = sonar.Robot("robot-1", 64)
        assert run_._recompute(robot, recorded()) == 0
        return robot

    robot = found([sonar.Row(RANGES, answer.action)])
    assert (robot.recomputed, robot.as_recorded) == (1, 1)
    assert found([sonar.Row(RANGES, "another")]).as_recorded == 0
    with pytest.raises(TallyError, match="other inputs than the data"):
        found([sonar.Row([*RANGES[:23], RANGES[23] + 1], answer.action)])
    with pytest.raises(TallyError, match="no row of the data"):
        found([])


@pytest.mark.parametrize("steps", [[0, 1], [0, 1, 1], [0, 2, 1], [0, 1, 2, 3]])
def test_rows_left_out_or_decided_twice_are_found(steps: list[int]) -> None:
    sonar.all_in_order("robot-1", [0, 1, 2], 3)
    with pytest.raises(TallyError, match="decided once, in order"):
        sonar.all_in_order("robot-1", steps, 3)


def test_robots_that_do_not_decide_alike_are_found() -> None:
    first, second = sonar.Robot("robot-1", 64), sonar.Robot("robot-2", 32)
    first.answers = {0: "left", 1: "right", 3: "right"}
    second.answers = {0: "left", 2: "left", 3: "right"}
    assert first.differs_from(second) == []
    second.answers[1] = "left"
    assert first.differs_from(second) == [1]


def replayed(data: Path, folder: Path, *options: str) -> dict[str, Any]:
    done = run(*TALLY, "replay", "sonar", data, "--json", *options, cwd=folder)
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto", "micropython64", "micropython32")
def test_a_made_set_is_decided_verified_and_recomputed(tmp_path: Path) -> None:
    rows = made_rows(100)
    data = written(tmp_path / "made.csv", rows)
    model = Model(WEIGHTS.read_bytes())
    given = [model.answer(ranges) for ranges, _ in rows]
    equal = [one.action == action for one, (_, action) in zip(given, rows, strict=True)]
    missed = sum(
        min(ranges) < 400 or one.support < 10 for one, (ranges, _) in zip(given, rows, strict=True)
    )
    assert missed > 0
    found = replayed(data, tmp_path, "--export", "decisions")
    assert (found["rows"], found["decisions"]) == (100, 200)
    for robot, bits in zip(found["robots"], (64, 32), strict=True):
        assert robot["bits"] == bits
        assert robot["decisions"] == robot["recomputed"] == 100 < robot["records"]
        assert robot["as_recorded"] == sum(equal)
        assert (robot["held_out"], robot["held_out_as_recorded"]) == (25, sum(equal[75:]))
        assert robot["limits_missed"] == missed
    files = sorted((tmp_path / "decisions").glob("*.tally"))
    assert len(files) == 200
    policy = files[0].parent / "policy.toml"
    command = [*TALLY, "replay", "recompute", str(files[0]), "--policy", str(policy)]
    assert "as the model" in run(*command).stdout
    other = tmp_path / "other.bin"
    other.write_bytes(changed(WEIGHTS))
    assert "recorded by the model" in run(*command, "--model", other, code=1).stderr
    flipped = bytearray(files[0].read_bytes())
    flipped[flipped.index(b"sonar_mm") + 12] ^= 1
    files[0].write_bytes(flipped)
    assert "Error" in run(*command, code=1).stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto", "micropython64", "micropython32")
@needs_data
def test_the_real_set_is_decided_and_verified_exactly(tmp_path: Path) -> None:
    found = replayed(REAL, tmp_path, "--every", "10")
    assert (found["rows"], found["decisions"]) == (REAL_ROWS, 2 * REAL_ROWS)
    for robot in found["robots"]:
        assert robot["decisions"] == robot["recomputed"] > 540


def test_data_of_another_form_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("S1,S2\n0.438,Move-Forward\n")
    done = run(*TALLY, "replay", "sonar", path, code=1)
    assert "line 2: not 24 ranges in metres and an action" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_weights_that_are_shipped_are_those_of_the_example() -> None:
    assert shipped("wall_follower.bin").read_bytes() == WEIGHTS.read_bytes()
