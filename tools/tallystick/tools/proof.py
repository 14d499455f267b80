"""`tally proof`: what can be proven of anybody's misbehaviour, one evidence file for each."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from tallystick.evidence import note as notes
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX, LOG_CHECKPOINT_BYTES_MAX
from tallystick.tools import logsource
from tallystick.tools._files import read_bytes, read_text
from tallystick.tools._screen import indented, screen
from tallystick.tools.verify import FILE, proven, proven_lines
from tallystick.verify import Policy, Report, check_evidence, load_evidence
from tallystick.verify.policy import POLICY_BYTES_MAX
from tallystick.verify.proving import Prosecution
from tallystick.verify.stories import Told, contradiction

EXIT_PROVEN = 1


@click.command(
    epilog="""\b
Examples:
  tally proof http://127.0.0.1:8470 http://127.0.0.1:8471 --policy policy.toml --out proofs
  tally proof logs/insurer logs/city --evidence handover.tally --policy policy.toml --out proofs
  tally proof insurer.tally --note checkpoint-of-monday --policy policy.toml --out proofs

Exit code: 0 nothing is proven, 1 something is, 2 used wrongly.
"""
)
@click.argument("logs", nargs=-1, required=True, metavar="LOG...")
@click.option("--policy", "policy_path", type=FILE, required=True, help="Whose keys count.")
@click.option(
    "--evidence", "evidence", multiple=True, type=FILE, help="Claims and receipts; repeatable."
)
@click.option(
    "--note", "note_files", multiple=True, type=FILE, help="An earlier log checkpoint; repeatable."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A folder."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.pass_context
def proof(
    context: click.Context,
    logs: tuple[str, ...],
    policy_path: Path,
    evidence: tuple[Path, ...],
    note_files: tuple[Path, ...],
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Find what validators' logs prove, and write it down.

    A LOG is a validator's address, a folder of tiles, or a file that `tally score --save` made.
    Whole logs are read. Each proof becomes one file, which `tally verify --proof` checks offline;
    it is checked like that before it is written. docs/misbehaviour.md says what can be proven.
    """
    policy = Policy.parse(read_text(policy_path, POLICY_BYTES_MAX))
    files = [load_evidence(read_bytes(path, EVIDENCE_BYTES_MAX)) for path in evidence]
    known = [notes.parse(read_text(path, LOG_CHECKPOINT_BYTES_MAX)) for path in note_files]
    prosecution = Prosecution([logsource.read_log(where) for where in logs], files, known)
    handed = prosecution.handed(*_handed(logs))
    done: dict[str, tuple[Path, Report]] = {}
    left: list[str] = []
    for name, file in [*prosecution.all(), *handed]:
        path, report, why = _judged(name, file, policy, out)
        if report is None:
            left.append(f"{name}: {why}")
        elif path.name not in done:
            out.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.encode())
            done[path.name] = path, report
    if as_json:
        said = [{"file": str(path), **_first(report)} for path, report in done.values()]
        click.echo(json.dumps({"proven": said, "not_proven": left}, indent=2))
    else:
        _print(list(done.values()), left, len(logs))
    context.exit(EXIT_PROVEN if done else 0)


def _handed(logs: tuple[str, ...]) -> tuple[list[bytes], list[bytes]]:
    """Proofs that validators serve (device forks, stories), and stories that differ among them."""
    forks: list[bytes] = []
    found: list[bytes] = []
    addresses = [where for where in logs if where.startswith(logsource.SCHEMES)]
    if not addresses:
        return forks, found
    from tallystick.tools.logapi import LogApi  # noqa: PLC0415  # as in logsource.py

    told: dict[str, list[list[Told]]] = {}
    for where in addresses:
        with LogApi(where) as api:
            forks += api.fork_proofs()
            found += [*api.stories(), *api.splits()]
            for id_ in api.gateways():
                told.setdefault(id_, []).append(api.told(id_))
    for heard in told.values():
        pairs = [contradiction(one, other) for one, other in combinations(heard, 2)]
        found += [one.encode() for one in pairs if one is not None]
    return list(dict.fromkeys(forks)), list(dict.fromkeys(found))


def _judged(
    name: str, file: EvidenceFile, policy: Policy, out: Path
) -> tuple[Path, Report | None, str]:
    """Where a proof goes, what checking its file came to, or why it proves nothing."""
    try:
        data = file.encode()
        report = check_evidence(load_evidence(data), policy)
    except TallyError as error:
        return out, None, error.message
    if not report.proven:
        why = [why for what, why in report.not_checked if "proof" in what or "fork" in what]
        return out, None, "; ".join(why) or "it could not be checked"
    found = report.proven[0]
    slug = found.name.replace(" ", "-")
    return out / f"{slug}-{found.digest.hex()[:8]}.tally", report, name


def _first(report: Report) -> dict[str, Any]:
    return proven(report.proven[0])


def _print(done: list[tuple[Path, Report]], left: list[str], logs: int) -> None:
    console = screen()
    for path, report in done:
        console.print(Text(str(path), style="bold red"))
        for line in proven_lines(report):
            indented(console, line)
    for line in left:
        console.print(Text(f"Not proven: {line}", style="yellow"))
    console.print(Text(f"{len(done)} proven, from {logs} logs.", style="bold"))
