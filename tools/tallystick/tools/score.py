"""`tally score`: what validators' logs show of validators and gateways over a period."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from tallystick.evidence import score as scores
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.keys import b64u
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX, STATEMENT_BYTES_MAX
from tallystick.evidence.score import Score
from tallystick.tools import logsource
from tallystick.tools._files import read_bytes, read_text
from tallystick.tools._screen import screen
from tallystick.tools._times import parse_time_s
from tallystick.tools.fleet_keys import open_signer
from tallystick.tools.verify import FILE
from tallystick.verify import Policy, check_evidence, load_evidence
from tallystick.verify._text import utc
from tallystick.verify.logcopy import LogCopy
from tallystick.verify.policy import POLICY_BYTES_MAX
from tallystick.verify.report import Proven
from tallystick.verify.scorecheck import check_score, scored_again
from tallystick.verify.scoring import score as compute


@click.command(
    epilog="""\b
Examples:
  tally score URL1 URL2 URL3 --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z
  tally score logs/insurer logs/city --from 1793491200 --to 1796083200 --policy policy.toml \\
      --proof proofs/ignored-claim-1f0c22ab.tally --json
  tally score URL1 URL2 --from T --to T --policy policy.toml --sign file:acme/root.key \\
      --name acme --out november.score
  tally score URL1 URL2 --check november.score --policy policy.toml
  tally score URL1 --save insurer.tally

Exit code: 0 done, 1 the score given to --check is not what the logs give, 2 used wrongly.
"""
)
@click.argument("logs", nargs=-1, required=True, metavar="LOG...")
@click.option("--from", "from_", metavar="TIME", help="Its begin: ISO 8601 or seconds since 1970.")
@click.option("--to", "to", metavar="TIME", help="Its end, which is not in it.")
@click.option("--policy", "policy_path", type=FILE, help="Whose keys count.")
@click.option("--proof", "proof_files", multiple=True, type=FILE, help="Counts; repeatable.")
@click.option("--sign", "key", metavar="KEY", help="Sign it with this key; needs --name, --out.")
@click.option("--name", help="Whose key that is, as `iss`: the fleet's or organisation's name.")
@click.option("--pin-file", type=FILE, help="The PIN of a key in hardware.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The signed score.")
@click.option("--check", "check_path", type=FILE, help="A signed score, to be computed again.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Keep the one log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def score(
    logs: tuple[str, ...],
    from_: str | None,
    to: str | None,
    policy_path: Path | None,
    proof_files: tuple[Path, ...],
    check_path: Path | None,
    save: Path | None,
    *,
    as_json: bool,
    **signing: Any,
) -> None:
    """Compute what validators' logs show of validators and gateways.

    A LOG is a validator's address, a folder of tiles, or a file that --save made; whole logs are
    read. Anyone gets the same numbers from the same logs, period and proofs. With a policy the
    logs' checkpoints are checked with its keys, and so are the proofs.
    """
    copies = [logsource.read_log(where) for where in logs]
    if save is not None:
        _save(copies, save)
        return
    policy = None
    if policy_path is not None:
        policy = Policy.parse(read_text(policy_path, POLICY_BYTES_MAX))
        _check_notes(copies, policy)
    proofs = _proofs(proof_files, policy)
    if check_path is not None:
        made = scores.parse(read_bytes(check_path, STATEMENT_BYTES_MAX))
        scored_again(made, copies, proofs)
        signed = "not checked, for want of a policy"
        if policy is not None:
            signed = check_score(made, policy)
        said = f"The numbers are what these logs give; the signature: {signed}."
    else:
        if from_ is None or to is None:
            message = "give --from and --to, or a score to --check"
            raise click.UsageError(message)
        made = compute(copies, parse_time_s(from_) * 1000, parse_time_s(to) * 1000, proofs)
        said = _sign(made, **signing)
    if as_json:
        click.echo(json.dumps(as_object(made), indent=2))
    else:
        _print(made, said, checked=policy is not None)


def _save(copies: Sequence[LogCopy], path: Path) -> None:
    if len(copies) != 1:
        message = "--save keeps one log: give one LOG"
        raise click.UsageError(message)
    logsource.save(copies[0], path)
    click.echo(f"{path}: {copies[0].size:,} entries of {copies[0].origin}")


def _check_notes(copies: Sequence[LogCopy], policy: Policy) -> None:
    """Unverified unless every checkpoint is signed by the note key of a validator that counts."""
    for copy in copies:
        genesis = [] if copy.genesis is None else [(copy.genesis, list[bytes]())]
        credentials = list(copy.credentials.values())
        file = EvidenceFile(credentials, [], [], genesis, [], [copy.note.text()], None, [])
        report = check_evidence(load_evidence(file.encode()), policy)
        if not any(what.startswith("log checkpoint of") for what, _ in report.checked):
            raise Unverified(
                "wrong-key",
                f"no accepted validator's note key signed the checkpoint of the log {copy.origin}",
            )


def _proofs(paths: Sequence[Path], policy: Policy | None) -> list[Proven]:
    if paths and policy is None:
        message = "--proof needs --policy: a proof counts by the keys that it accepts"
        raise click.UsageError(message)
    found: list[Proven] = []
    for path in paths:
        file = load_evidence(read_bytes(path, EVIDENCE_BYTES_MAX))
        report = check_evidence(file, policy or Policy.parse(""))
        if not report.proven:
            raise Malformed("no-contradiction", f"{path}: proves no misbehaviour")
        found += report.proven
    return found


def _sign(
    made: Score, key: str | None, name: str | None, pin_file: Path | None, out: Path | None
) -> str:
    if (key is None) != (out is None) or (key is None) != (name is None):
        message = "--sign, --name and --out belong together"
        raise click.UsageError(message)
    if key is None or out is None or name is None:
        return ""
    data = made.sign(open_signer(key, pin_file), name, scores.SUBJECT)
    out.write_bytes(data)
    return f"{out}: {len(data):,} bytes, signed as {name}."


def as_object(made: Score) -> dict[str, Any]:
    """The score for JSON: ids and hashes as people type them."""
    return {
        "from_ms": made.from_ms,
        "to_ms": made.to_ms,
        "logs": [
            {"origin": one.origin, "size": one.size, "root": one.root.hex()} for one in made.logs
        ],
        "validators": [one._asdict() for one in made.validators],
        "gateways": [{**one._asdict(), "gateway": b64u(one.gateway)} for one in made.gateways],
        "proofs": [one.hex() for one in made.proofs],
    }


def _print(made: Score, said: str, *, checked: bool) -> None:
    console = screen()
    period = f"{utc(made.from_ms)} to {utc(made.to_ms)}"
    console.print(_table(f"Validators, {period}", "log", "verdicts", made.validators))
    console.print(_table(f"Gateways, {period}", "gateway", "heads", made.gateways))
    for log in made.logs:
        console.print(Text(f"{log.origin} at {log.size}, root {log.root.hex()}"))
    if not checked:
        console.print(Text("Not checked: who signed the checkpoints; give --policy.", "yellow"))
    if said:
        console.print(Text(said, style="bold"))


def _table(title: str, who: str, what: str, rows: Sequence[Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(who, overflow="fold")
    columns = (what, "agree", "missed", "delay p50", "p95", "most", "proofs against")
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        name = row[0] if isinstance(row[0], str) else b64u(row[0])
        delay = ["", "", ""] if row.delay is None else [f"{one:,} ms" for one in row.delay]
        agree = f"{row.agreed} of {row.compared}"
        table.add_row(name, str(row[1]), agree, str(row.missed), *delay, str(row.against))
    return table
