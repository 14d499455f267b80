"""`tally replay sonar`: a model decides on two boards' MicroPythons, and is checked upstream."""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import b64u
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX
from tallystick.tools import mosquitto
from tallystick.tools._files import read_bytes, read_text
from tallystick.tools.api import ValidatorApi
from tallystick.tools.fleetdir import Member
from tallystick.tools.replay import stage
from tallystick.tools.replay.processes import Processes
from tallystick.tools.replay.scene import SONAR, Scene, build
from tallystick.tools.replay.sonar_model import WEIGHTS_BYTES_MAX, Model, shipped
from tallystick.verify import Policy, check, load_evidence
from tallystick.verify.policy import POLICY_BYTES_MAX

PROGRAM = "wall_follower.py"
WEIGHTS = "wall_follower.bin"
WAIT_S_MAX = 300
POLL_S = 0.2
DATA_BYTES_MAX = 67_108_864
# Evidence files that are asked for at once, and that are held at most.
FETCHING_MAX = 2
CHUNK_RECORDS = 512
# Robot N runs on words of so many bits.
BITS = (64, 32)
# Of 32 bits: a Pico W has more.
HEAP_32 = "160k"
TRAINED_QUARTERS = 3
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True)
class Row:
    """One line of the data: ranges in millimetres, and what the real robot did."""

    ranges: list[int]
    action: str


@dataclass
class Robot:
    """What was disclosed of one robot's log."""

    name: str
    bits: int
    records: int = 0
    decisions: int = 0
    recomputed: int = 0
    limits_missed: int = 0
    # Decisions that equal what the real robot did: of all rows, and of those not trained on.
    as_recorded: int = 0
    held_out: int = 0
    held_out_as_recorded: int = 0
    # Step to action.
    answers: dict[int, str] = field(default_factory=dict)

    def differs_from(self, other: "Robot") -> list[int]:
        """The steps that were disclosed of both, and decided otherwise by the other."""
        both = self.answers.keys() & other.answers.keys()
        return sorted(step for step in both if self.answers[step] != other.answers[step])


def rows(data: Path, sonars: int) -> list[Row]:
    """The data's rows; Malformed with the line where it is none."""
    found = []
    for number, line in enumerate(read_text(data, DATA_BYTES_MAX).split(), 1):
        *ranges, action = line.split(",")
        if number == 1 and line[0].isalpha():
            continue
        row = None
        with suppress(ValueError):
            row = Row([_millimetres(text) for text in ranges], action)
        if row is None or len(row.ranges) != sonars or not action:
            message = f"{data}, line {number}: not {sonars} ranges in metres and an action"
            raise Malformed("bad-value", message)
        found.append(row)
    if not found:
        raise Malformed("bad-value", f"{data} has no rows")
    return found


def _millimetres(text: str) -> int:
    whole, point, part = text.partition(".")
    if not text.isascii() or not whole.isdecimal() or (point and len(part) != 3):
        raise ValueError
    return int(whole) * 1000 + (int(part) if point and part.isdecimal() else 0)


@click.command(
    epilog="""\b
Examples:
  tally replay sonar ../shared/data/wall-following-24.csv
  tally replay sonar ../shared/data/wall-following-24.csv --every 100 --export decisions
  tally replay sonar ../shared/data/wall-following-24.csv --json | tail -1
"""
)
@click.argument("data", type=FILE)
@click.option(
    "--every",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Disclose and recompute every so-many-th record; the validator verifies all of them.",
)
@click.option(
    "--export",
    "export_to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each disclosed decision's evidence file here, with the policy.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep keys, journals, stores and logs here; a temporary folder unless given.",
)
@click.option("--json", "as_json", is_flag=True, help="One object on the last line, for scripts.")
def sonar(
    data: Path, every: int, export_to: Path | None, work: Path | None, *, as_json: bool
) -> None:
    """Let a trained model decide on the sonar readings in DATA, and check it upstream.

    DATA has 24 ranges in metres and an action a line (UCI, Wall-Following Robot Navigation). The
    program of firmware/examples decides on two real MicroPythons, of 64 and 32 bits, through a real
    Mosquitto, a gateway and a validator. Then records are fetched as evidence files, one by one,
    verified offline, and the model's answer is computed again from the disclosed inputs.
    """
    model = Model(shipped(WEIGHTS).read_bytes())
    given = rows(data, model.sonars)
    console = Console(stderr=True)
    with ExitStack() as stack:
        folder = work
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tally-replay-")))
        run = _Run(data.resolve(), folder.resolve(), given, model, console)
        decisions = run.play(stack)
        robots = run.disclose(every, export_to)
    _show(model, given, decisions, robots, as_json=as_json)
    differing = robots[0].differs_from(robots[1])
    if differing:
        click.echo(f"the robots did not decide alike, first at step {differing[0]}", err=True)
        sys.exit(1)


class _Run:
    """One replay in one folder."""

    def __init__(
        self, data: Path, folder: Path, given: Sequence[Row], model: Model, console: Console
    ) -> None:
        self._data = data
        self._folder = folder
        self._rows = given
        self._model = model
        self._console = console
        self._scene: Scene | None = None
        self._api: ValidatorApi | None = None

    def play(self, stack: ExitStack) -> int:
        """Start everything, wait for every decision; the number that the validator verified."""
        broker = stack.enter_context(mosquitto.Mosquitto(self._made("mosquitto")))
        url = f"mqtt://{broker.host}:{broker.port}"
        processes = stack.enter_context(Processes(self._made("logs")))
        scene = self._scene = build(self._folder, url, len(BITS), cast=SONAR)
        validator = scene.validators[0]
        processes.tally("validator", "validator", "run", "--config", str(validator.config))
        api = self._api = stack.enter_context(ValidatorApi(validator.url))
        processes.tally("gateway", "gateway", "run", "--config", str(scene.gateway))
        services = ["gateway", "validator"]
        stage.until_ready(processes, [api], services)
        for member, bits in zip(scene.robots, BITS, strict=True):
            config = str(member.path / "tallystick.json")
            arguments = [str(self._data), str(shipped(WEIGHTS)), config]
            program = shipped(PROGRAM)
            heap = HEAP_32 if bits == 32 else None
            stage.start_micropython(processes, member.label, bits, program, arguments, {}, heap)
        return self._until_verified(processes, services, [m.label for m in scene.robots], api)

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def _bar(self, what: str, total: int) -> Iterator[tuple[Progress, TaskID]]:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=self._console) as progress:
            yield progress, progress.add_task(what, total=total)

    def _until_verified(
        self,
        processes: Processes,
        services: Sequence[str],
        robots: Sequence[str],
        api: ValidatorApi,
    ) -> int:
        total = len(robots) * len(self._rows)
        end = time.monotonic() + WAIT_S_MAX
        with self._bar("decisions verified", total) as (progress, task):
            while time.monotonic() < end:
                processes.check(services)
                done = [processes.ended(name) for name in robots]
                decisions = api.counts().decisions
                progress.update(task, completed=decisions)
                if decisions > total:
                    raise TallyError("replay-failed", f"{decisions} decisions, and not {total}")
                if all(done) and decisions == total:
                    return decisions
                time.sleep(POLL_S)
        raise TallyError("replay-failed", f"not every decision had arrived after {WAIT_S_MAX} s")

    def disclose(self, every: int, export_to: Path | None) -> list[Robot]:
        """Fetch records one by one, verify each offline, recompute its decision."""
        if self._scene is None or self._api is None:
            raise TallyError("replay-failed", "nothing was replayed")
        text = self._scene.policy.read_text()
        policy = Policy.parse(text)
        if export_to is not None:
            export_to.mkdir(parents=True, exist_ok=True)
            (export_to / "policy.toml").write_text(text)
        robots = []
        for member, bits in zip(self._scene.robots, BITS, strict=True):
            robot = Robot(member.label, bits)
            ((epoch, size),) = self._api.current_logs(member.identity.id).items()
            steps = []
            with self._bar(f"{member.label}: records disclosed", len(range(0, size, every))) as bar:
                for index, data in self._fetched(self._api, member, epoch, range(0, size, every)):
                    body = _one_record(data, policy, member, index)
                    robot.records += 1
                    if isinstance(body, Decision):
                        steps.append(self._recompute(robot, body))
                        if export_to is not None:
                            (export_to / f"{member.label}-{index}.tally").write_bytes(data)
                    bar[0].update(bar[1], advance=1)
            if every == 1:
                all_in_order(member.label, steps, len(self._rows))
            robots.append(robot)
        return robots

    def _fetched(
        self, api: ValidatorApi, member: Member, epoch: bytes, indexes: range
    ) -> Iterator[tuple[int, bytes]]:
        # The validator builds the next files while the last are checked here.
        fetch = partial(api.record_evidence, member.identity.id, epoch)
        with ThreadPoolExecutor(FETCHING_MAX) as pool:
            for at in range(0, len(indexes), CHUNK_RECORDS):
                chunk = indexes[at : at + CHUNK_RECORDS]
                yield from zip(chunk, pool.map(fetch, chunk), strict=True)

    def _recompute(self, robot: Robot, decision: Decision) -> int:
        answer = self._model.recompute(decision)
        robot.recomputed += 1
        robot.decisions += 1
        step = decision.context.get("step")
        if type(step) is not int or not 0 <= step < len(self._rows):
            raise TallyError("replay-failed", f"{robot.name}: step {step} is no row of the data")
        row = self._rows[step]
        if decision.inputs != {"sonar_mm": row.ranges}:
            message = f"{robot.name}: step {step} has other inputs than the data"
            raise TallyError("replay-failed", message)
        robot.answers[step] = answer.action
        robot.limits_missed += any(not limit[4] for limit in decision.constraints.values())
        robot.as_recorded += answer.action == row.action
        if step >= len(self._rows) * TRAINED_QUARTERS // 4:
            robot.held_out += 1
            robot.held_out_as_recorded += answer.action == row.action
        return step


def all_in_order(name: str, steps: Sequence[int], count: int) -> None:
    """Raise unless each row of the data was decided once, in order."""
    if list(steps) != list(range(count)):
        message = f"{name}: not each of {count} rows was decided once, in order"
        raise TallyError("replay-failed", message)


def _one_record(data: bytes, policy: Policy, member: Member, index: int) -> object:
    """The body of the record that the file discloses, once all of it was verified."""
    report = check(load_evidence(data), policy)
    asked = [
        one for one in report.records if (one.device, one.index) == (member.identity.id, index)
    ]
    if len(asked) != 1:
        message = f"the evidence file of record {index} of {member.label} does not show it"
        raise TallyError("replay-failed", message)
    return asked[0].body


def _show(
    model: Model, given: Sequence[Row], decisions: int, robots: Sequence[Robot], *, as_json: bool
) -> None:
    result = {
        "rows": len(given),
        "decisions": decisions,
        "model": b64u(model.digest),
        "robots": [
            {name: of for name, of in vars(robot).items() if name != "answers"}
            | {"actions": dict(Counter(robot.answers.values()))}
            for robot in robots
        ],
    }
    if not as_json:
        table = Table(title=f"{decisions} decisions verified upstream", title_justify="left")
        columns = ("robot", "bits", "disclosed", "recomputed", "as in the data", "held-out rows")
        for column in columns:
            table.add_column(column, justify="left" if column == "robot" else "right")
        for one in robots:
            table.add_row(
                one.name,
                str(one.bits),
                str(one.decisions),
                str(one.recomputed),
                _share(one.as_recorded, one.decisions),
                _share(one.held_out_as_recorded, one.held_out),
            )
        Console().print(table)
    click.echo(json.dumps(result))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else ""


@click.command(
    epilog="""\b
Examples:
  tally export --validator URL --record DEVICE/EPOCH/17 --out decision.tally
  tally replay recompute decision.tally --policy policy.toml
"""
)
@click.argument("file", type=FILE)
@click.option("--policy", "policy_path", type=FILE, required=True, help="What must be shown.")
@click.option("--model", "weights", type=FILE, help="Weights; those of firmware/examples if none.")
def recompute(file: Path, policy_path: Path, weights: Path | None) -> None:
    """Verify the evidence FILE of a wall follower's decision, and compute its output again."""
    model = Model(read_bytes(weights or shipped(WEIGHTS), WEIGHTS_BYTES_MAX))
    policy = Policy.parse(read_text(policy_path, POLICY_BYTES_MAX))
    report = check(load_evidence(read_bytes(file, EVIDENCE_BYTES_MAX)), policy, int(time.time()))
    found = [one for one in report.records if isinstance(one.body, Decision)]
    for record in found:
        if isinstance(record.body, Decision):
            answer = model.recompute(record.body)
            click.echo(
                f"{record.name}: {answer.action}, as the model {b64u(model.digest)} gives for the "
                f"recorded ranges (leaf {answer.leaf}, {answer.support} rows of its training)"
            )
    if not found:
        raise TallyError("not-recomputed", f"{file} discloses no decision")
