"""`tally demo`: builds the scene, plays it, shows what came of it."""

import json
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tallystick.evidence.errors import TallyError
from tallystick.gateway import config as gateway_config
from tallystick.gateway import service as gateway_service
from tallystick.tools import provision
from tallystick.tools._screen import screen
from tallystick.tools.api import ValidatorApi
from tallystick.tools.demo import judge, play
from tallystick.tools.demo.scene import NAMESPACE, Scene, build
from tallystick.tools.embedded_broker import EmbeddedBroker
from tallystick.tools.export import fetch_interaction
from tallystick.tools.running import Service, Services
from tallystick.validator import config as validator_config
from tallystick.validator import service as validator_service
from tallystick.verify import Policy, check, check_evidence, load_evidence

# Far above what they take, for a busy machine.
START_S_MAX = 60.0
VERDICTS_S_MAX = 150.0
COSIGNED_S_MAX = 60.0
POLL_S = 0.25
VALIDATORS_NEEDED = 3


@click.command(
    epilog="""\b
Examples:
  tally demo
  tally demo --out evidence    the evidence files go there
"""
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("tally-demo"),
    show_default=True,
    help="Where the evidence files and the policy go.",
)
@click.option("--json", "as_json", is_flag=True, help="One object on the last line, for scripts.")
def demo(out: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Six robots of two companies, 40 handovers, three of them with a lie; three validators judge.

    All of it runs here, on loopback, with an embedded broker; the robots keep their keys in virtual
    secure elements, at the speed of real ones. Nothing is left running. Exit code 1 if anything is
    not as the script expects.
    """
    # Services say what they do to operators; here the progress bars and the table do.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    console = screen(stderr=as_json)
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tally-demo-")))
        broker = stack.enter_context(EmbeddedBroker())
        scene = build(folder, broker.url)
        judgement = _perform(scene, console, stack)
        console.print(judgement.table())
        apis = _apis(scene, stack)
        proven = _evidence(scene, judgement, apis, out, console)
        cosigned = _cosigned(apis, console)
    seconds = time.monotonic() - began
    right = judgement.right and proven and cosigned
    console.print(
        f"{'as expected' if right else 'NOT as expected'}, in {seconds:.0f} s", highlight=False
    )
    if as_json:
        click.echo(json.dumps(_result(judgement, right=right, seconds=seconds)))
    if not right:
        sys.exit(1)


def _services(scene: Scene) -> list[Service]:
    found = []
    for validator in scene.validators:
        settings = validator_config.load(validator.config)
        found.append(
            Service(f"validator {validator.name}", _bound(validator_service.run, settings))
        )
    for name, path in scene.gateways.items():
        gateway = gateway_config.load(path)
        found.append(Service(f"gateway {name}", _bound(gateway_service.run, gateway)))
    return found


def _bound(run: Any, settings: Any) -> Any:
    return lambda stop: run(settings, stop)


def _apis(scene: Scene, stack: ExitStack) -> dict[str, ValidatorApi]:
    return {v.name: stack.enter_context(ValidatorApi(v.url)) for v in scene.validators}


def _perform(scene: Scene, console: Console, stack: ExitStack) -> judge.Judgement:
    """Start the services and play; they run on until the stack is unwound."""
    services = stack.enter_context(Services(_services(scene)))
    apis = _apis(scene, stack)
    _until_ready(services, apis)
    handovers = play.script()
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress,
        play.Cast(scene) as cast,
    ):
        handed = progress.add_task("handovers", total=len(handovers))
        bars = {
            name: progress.add_task(f"verdicts of {name}", total=len(handovers)) for name in apis
        }

        def look() -> judge.Judgement:
            services.check()
            judgement = judge.ask(scene, handovers, apis)
            for name, bar in bars.items():
                progress.update(bar, completed=judgement.agreeing(name))
            return judgement

        def switch_off(fleet: str, before: int) -> None:
            # What was handed over earlier must have been delivered: the script tells of one lie.
            end = time.monotonic() + VERDICTS_S_MAX
            while not look().heard_of(before) and time.monotonic() < end:
                time.sleep(POLL_S)
            services.stop(f"gateway {fleet}")

        for handover in cast.play(handovers, switch_off):
            progress.update(handed, completed=handover.number)
            look()
        # The robots stay switched on: an idle device still checkpoints, and so the silent party
        # is seen to be silent and not merely unheard.
        end = time.monotonic() + VERDICTS_S_MAX
        while not (judgement := look()).right and time.monotonic() < end:
            time.sleep(POLL_S)
        return judgement


def _until_ready(services: Services, apis: dict[str, ValidatorApi]) -> None:
    end = time.monotonic() + START_S_MAX
    while not all(api.ready() for api in apis.values()):
        services.check()
        if time.monotonic() > end:
            raise TallyError("demo-failed", f"the validators did not start in {START_S_MAX:.0f} s")
        time.sleep(POLL_S)


def _cosigned(apis: dict[str, ValidatorApi], console: Console) -> bool:
    """Each log must have the cosignatures of the other two validators."""
    end = time.monotonic() + COSIGNED_S_MAX
    while True:
        witnesses = {name: api.cosigners() for name, api in apis.items()}
        missing = [name for name, found in witnesses.items() if not all(found.values())]
        if not missing or time.monotonic() > end:
            break
        time.sleep(POLL_S)
    told = "; ".join(
        f"{name} by {', '.join(sorted(who for who, size in found.items() if size)) or 'nobody'}"
        for name, found in witnesses.items()
    )
    console.print(f"logs cosigned: {told}", highlight=False)
    return not missing and all(len(found) == len(apis) - 1 for found in witnesses.values())


def _evidence(
    scene: Scene,
    judgement: judge.Judgement,
    apis: dict[str, ValidatorApi],
    out: Path,
    console: Console,
) -> bool:
    """Write evidence files, verify one of them, and see it refused with one byte changed."""
    out.mkdir(parents=True, exist_ok=True)
    policy = provision.policy(
        scene.root_lines,
        scene.root_lines,
        [scene.profile],
        at_least=VALIDATORS_NEEDED,
        custody="secure-element",
    )
    (out / "policy.toml").write_text(policy)
    told = [handover for handover in judgement.handovers if handover.lie]
    honest = next(handover for handover in judgement.handovers if not handover.lie)
    for handover in [honest, *told]:
        interaction = judge.interaction_of(scene, handover)
        data = fetch_interaction(list(apis.values()), NAMESPACE, interaction)
        (out / f"{handover.task}.tally").write_bytes(data)
        console.print(
            f"evidence: {out / handover.task}.tally  {len(data):,} bytes", highlight=False
        )
    shown = told[-1]
    data = (out / f"{shown.task}.tally").read_bytes()
    report = check(load_evidence(data), Policy.parse(policy), int(time.time()))
    console.print(
        f"tally verify {out / shown.task}.tally: {report.outcome} "
        f"({len(report.checked)} things checked, {len(report.not_checked)} not)",
        highlight=False,
    )
    return _silent(out, policy, console) and _refused(data, shown.task, policy, console)


def _silent(out: Path, policy: str, console: Console) -> bool:
    """The party that stays silent must be found silent, and not merely unheard."""
    task = play.script()[play.SILENT_PARTY - 1].task
    evidence = load_evidence((out / f"{task}.tally").read_bytes())
    report = check_evidence(evidence, Policy.parse(policy), int(time.time()))
    absences = [
        missing[3]
        for party_set in report.party_sets
        for said in party_set.said
        for missing in said.verdict.finding.missing
    ]
    console.print(f"{task}: the receiver was {', '.join(sorted(set(absences)))}", highlight=False)
    return absences == ["silent"] * VALIDATORS_NEEDED


def _refused(data: bytes, task: str, policy: str, console: Console) -> bool:
    changed = bytearray(data)
    # In what a robot signed. Elsewhere may lie what this policy does without: then a changed byte
    # is one thing less that was checked.
    changed[data.index(task.encode())] ^= 1
    try:
        check(load_evidence(bytes(changed)), Policy.parse(policy), int(time.time()))
    except TallyError as refusal:
        console.print(f"with one byte changed: refused, {refusal} ({refusal.reason})")
        return True
    console.print("with one byte changed: ACCEPTED, and that is wrong")
    return False


def _result(judgement: judge.Judgement, *, right: bool, seconds: float) -> dict[str, Any]:
    validators = []
    for name, said in judgement.states.items():
        states = list(said.values())
        validators.append({"name": name, **{s: states.count(s) for s in sorted(set(states))}})
    return {"as_expected": right, "seconds": round(seconds, 1), "validators": validators}
