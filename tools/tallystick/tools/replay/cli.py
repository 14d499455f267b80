"""`tally replay mrclam`: five robots' real camera decisions, the whole way, on real parts."""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tallystick.evidence.errors import TallyError
from tallystick.evidence.number import Dec, differs_by_at_most, from_text
from tallystick.tools import mosquitto
from tallystick.tools.api import Counts
from tallystick.tools.export import Exported, export_all
from tallystick.tools.fleetdir import Member
from tallystick.tools.postgres import Postgres
from tallystick.tools.replay import mrclam_robot, stage
from tallystick.tools.replay.crew import Crew
from tallystick.tools.replay.held import Hardware
from tallystick.tools.replay.killing import KilledGateway, Kills
from tallystick.tools.replay.processes import Processes
from tallystick.tools.replay.scene import MRCLAM, Scene, build, robot_count
from tallystick.tools.replay.sonar import recompute, sonar

WAIT_S_MAX = 900
POLL_S = 0.5
# The robot that runs on MicroPython; the others run on CPython.
MICROPYTHON_ROBOT = 1
WORKERS_MAX = 8
GATEWAY_KILLS_MAX = 100
SHOWN = ("matched", "conflicting", "one_sided")
# Of the profile `sighting`, in metres.
TOLERANCE = from_text("0.25")


@dataclass(frozen=True)
class Expected:
    """What the files hold, counted here before anything is recorded."""

    decisions: int
    claims: int
    interactions: int
    states: dict[str, int]


def count(data: Path, robots: int) -> Expected:
    """Count lines, claims and interactions, and what the profile makes of each pair of ranges."""
    decisions = claims = 0
    ranges: dict[str, list[int | Dec]] = {}
    for number in range(1, robots + 1):
        for line in mrclam_robot.lines(str(data), number, robots):
            decisions += 1
            if line.claims:
                claims += 1
                task = mrclam_robot.task(number, line.claims, line.bucket)
                ranges.setdefault(task, []).append(from_text(line.range))
    states = dict.fromkeys(SHOWN, 0)
    for seen in ranges.values():
        if len(seen) == 1:
            states["one_sided"] += 1
        elif differs_by_at_most(seen[0], seen[1], TOLERANCE):
            states["matched"] += 1
        else:
            states["conflicting"] += 1
    return Expected(decisions, claims, len(ranges), states)


@click.group(
    epilog="""\b
Examples:
  tally replay mrclam ../shared/data/mrclam1
  tally replay sonar ../shared/data/wall-following-24.csv
"""
)
def replay() -> None:
    """Send recorded robot data the whole way: robots, broker, gateway, validators."""


replay.add_command(sonar)
replay.add_command(recompute)


@replay.command(
    epilog="""\b
Examples:
  tally replay mrclam ../shared/data/mrclam1
  tally replay mrclam ../shared/data/mrclam1 --export conflicts   all conflicts as evidence files
  tally replay mrclam ../shared/data/mrclam1 --keys hardware
  tally replay mrclam ../shared/data/mrclam1 --workers 2 --kill   on PostgreSQL
  tally replay mrclam ../shared/data/mrclam1 --kill-gateway 10
  tally replay mrclam ../shared/data/mrclam1 --json | tail -1
"""
)
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--export",
    "export_to",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each conflicting pair's evidence here and verify it offline.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep keys, journals, stores and logs here; a temporary folder unless given.",
)
@click.option(
    "--keys",
    type=click.Choice(["software", "hardware"]),
    default="software",
    show_default=True,
    help="hardware: robot 1 has an ATECC608, robot 2 a TPM, robot 3 a PKCS#11 token, the others "
    "an ATECC608 each; all of them virtual, on this machine.",
)
@click.option(
    "--workers",
    type=click.IntRange(0, WORKERS_MAX),
    help="Run each validator on a PostgreSQL of this machine, with one process that sequences, one "
    "that stands by, and so many workers.",
)
@click.option(
    "--kill",
    is_flag=True,
    help="With --workers: kill one validator's sequencer and a worker of another in the middle.",
)
@click.option(
    "--kill-gateway",
    type=click.IntRange(0, GATEWAY_KILLS_MAX),
    default=0,
    metavar="TIMES",
    help="Kill the gateway so many times, spread over the replay, and start it again each time.",
)
@click.option("--json", "as_json", is_flag=True, help="One object on the last line, for scripts.")
def mrclam(
    data: Path,
    export_to: Path | None,
    work: Path | None,
    keys: str,
    workers: int | None,
    kill: bool,  # noqa: FBT001 - click passes flags by name
    kill_gateway: int,
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Replay a set of the UTIAS MRCLAM dataset from DATA (Barcodes.dat, RobotN_Measurement.dat).

    Robot 1 is recorded by a real MicroPython process and the others by CPython, through a real
    Mosquitto, a gateway and three validators. It ends when every deadline has closed.
    """
    robots = robot_count(data)
    if robots < 2 or not (data / "Barcodes.dat").is_file():
        message = f"{data} holds no MRCLAM set: Barcodes.dat and Robot1_Measurement.dat, ..."
        raise click.UsageError(message)
    if kill and not workers:
        raise click.UsageError("--kill ends a worker too: give --workers 1 or more")
    console = Console(stderr=True)
    with ExitStack() as stack:
        folder = work
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tally-replay-")))
        run = _Run(data, folder, robots, console, hardware=keys == "hardware")
        counts = run.play(stack, workers, Kills(validators=kill, gateway=kill_gateway))
        exported = run.export(export_to) if export_to is not None else []
    _show(run.expected, counts, exported, as_json=as_json)
    for item in exported:
        if item.refused:
            click.echo(f"{item.path}: {item.refused}", err=True)
    wrong = any(
        c.decisions != run.expected.decisions
        or {state: c.states.get(state, 0) for state in SHOWN} != run.expected.states
        for c in counts.values()
    )
    if wrong:
        click.echo(f"the files say {run.expected.states}, not every validator does", err=True)
    if wrong or any(item.refused for item in exported):
        sys.exit(1)


class _Run:
    """One replay in one folder."""

    def __init__(
        self, data: Path, folder: Path, robots: int, console: Console, *, hardware: bool
    ) -> None:
        self._data = data.resolve()
        self._folder = folder.resolve()
        self._robots = robots
        self._console = console
        self._hardware = hardware
        self.expected = count(self._data, robots)
        self._scene: Scene | None = None
        self._crew: Crew | None = None

    def play(self, stack: ExitStack, workers: int | None, kills: Kills) -> dict[str, Counts]:
        """Start everything, wait for the last deadline, return what each validator counts.

        workers: as for `Crew`.
        """
        broker = stack.enter_context(mosquitto.Mosquitto(self._made("mosquitto")))
        url = f"mqtt://{broker.host}:{broker.port}"
        # Ended after those who use it.
        server = None if workers is None else stack.enter_context(Postgres())
        processes = stack.enter_context(Processes(self._made("logs")))
        hardware = Hardware(self._made("keys"), processes, stack) if self._hardware else None
        scene = self._scene = build(self._folder, url, self._robots, hardware)
        crew = self._crew = Crew(processes, scene, stack)
        crew.start(server, workers or 0)
        gateway = KilledGateway(processes, scene.gateway, kills.gateway, self.expected.decisions)
        gateway.start()
        stage.until_ready(processes, crew.apis.values(), ["gateway", *crew.services])
        if server is not None:
            crew.stand_by()
        robots = [self._start_robot(processes, scene, member) for member in scene.robots]
        counts = self._until_closed(processes, crew, robots, gateway, kill=kills.validators)
        if gateway.missed:
            message = f"all was logged before the gateway's last {gateway.missed} kills"
            raise TallyError("replay-failed", message)
        return counts

    def export(self, folder: Path) -> list[Exported]:
        """Export and verify every conflicting pair; the validators still run."""
        if self._scene is None or self._crew is None:
            raise TallyError("replay-failed", "nothing was replayed")
        return export_all(
            list(self._crew.apis.values()),
            MRCLAM.namespace,
            "conflicting",
            folder,
            self._scene.policy,
        )

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _start_robot(self, processes: Processes, scene: Scene, member: Member) -> str:
        number = int(member.label.removeprefix("robot-"))
        arguments = [
            str(member.path / "tallystick.json"),
            str(self._data),
            str(number),
            ",".join(robot.id_text for robot in scene.robots),
        ]
        environment = scene.environments.get(member.label, {})
        if number == MICROPYTHON_ROBOT:
            program = Path(mrclam_robot.__file__)
            stage.start_micropython(processes, member.label, 64, program, arguments, environment)
        else:
            module = [sys.executable, "-m", "tallystick.tools.replay.mrclam_robot"]
            processes.start(member.label, [*module, *arguments], **environment)
        return member.label

    def _until_closed(
        self,
        processes: Processes,
        crew: Crew,
        robots: Sequence[str],
        gateway: KilledGateway,
        *,
        kill: bool,
    ) -> dict[str, Counts]:
        end = time.monotonic() + WAIT_S_MAX
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        ) as progress:
            bars = {
                name: (
                    progress.add_task(f"{name}: decisions", total=self.expected.decisions),
                    progress.add_task(f"{name}: verdicts", total=self.expected.interactions),
                )
                for name in crew.apis
            }
            while time.monotonic() < end:
                processes.check(["gateway", *crew.services])
                done = [processes.ended(name) for name in robots]
                counts = crew.counts()
                if kill and not crew.killed and self._half_way(counts):
                    killed = ", ".join(crew.kill())
                    progress.console.print(f"killed: {killed}")
                if gateway.look(min(c.decisions for c in counts.values())):
                    progress.console.print(f"killed the gateway: {gateway.killed}")
                for name, (decisions, verdicts) in bars.items():
                    progress.update(decisions, completed=counts[name].decisions)
                    progress.update(verdicts, completed=counts[name].closed)
                if all(done) and all(self._complete(c) for c in counts.values()):
                    return counts
                time.sleep(POLL_S)
        raise TallyError("replay-failed", f"not every deadline had closed after {WAIT_S_MAX} s")

    def _half_way(self, counts: dict[str, Counts]) -> bool:
        return all(2 * c.decisions >= self.expected.decisions for c in counts.values())

    def _complete(self, counts: Counts) -> bool:
        return (
            counts.decisions >= self.expected.decisions
            and counts.claims >= self.expected.claims
            and counts.closed >= self.expected.interactions
            and counts.pending == 0
        )


def _show(
    expected: Expected, counts: dict[str, Counts], exported: list[Exported], *, as_json: bool
) -> None:
    rows = [
        {"name": name, **{state: c.states.get(state, 0) for state in SHOWN}}
        for name, c in counts.items()
    ]
    result = {"decisions": min(c.decisions for c in counts.values()), "validators": rows}
    if not as_json:
        table = Table(title="the newest verdict of each interaction", title_justify="left")
        for column in ("validator", "decisions", *SHOWN):
            table.add_column(column, justify="left" if column == "validator" else "right")
        for row in rows:
            decisions = str(counts[str(row["name"])].decisions)
            table.add_row(str(row["name"]), decisions, *(str(row[s]) for s in SHOWN))
        console = Console()
        console.print(table)
        console.print(
            f"from the files: {expected.decisions} decisions, {expected.claims} claims, "
            f"{expected.interactions} interactions"
        )
        if exported:
            refused = [item for item in exported if item.refused]
            console.print(
                f"{len(exported)} conflicting pairs exported and verified offline, "
                f"{len(refused)} refused"
            )
    click.echo(json.dumps(result))
