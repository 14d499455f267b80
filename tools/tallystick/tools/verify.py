"""`tally verify`: check an evidence file offline, and say what was checked and what was not."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from tallystick.evidence.claim import Claim
from tallystick.evidence.enrolment import CUSTODIES, SUBJECTS
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import b64u
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX
from tallystick.evidence.number import Dec, to_text
from tallystick.tools._checks import check_lines, check_rows
from tallystick.tools._screen import indented, screen
from tallystick.tools._times import parse_time_s
from tallystick.verify import Policy, Report, check_evidence, load_evidence
from tallystick.verify._text import printable
from tallystick.verify.demands import Misbehaved
from tallystick.verify.policy import POLICY_BYTES_MAX
from tallystick.verify.report import HeldKey, Proven

LINE_CHARS_MAX = 400
HOLDS, PROVEN = "The policy holds.", "Misbehaviour is proven."
FILE = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True)


class Unusable(click.ClickException):
    """What was given cannot be used; exit code 2, as for wrong usage."""

    exit_code = 2


@click.command(
    epilog="""\b
Examples:
  tally verify handover.tally --policy policy.toml
  tally verify handover.tally --policy policy.toml --json | jq .outcome
  tally verify handover.tally --policy policy.toml --at 2026-11-22T12:00:00Z
  tally verify rollback-1f0c22ab.tally --policy policy.toml --proof

Exit code: 0 the policy holds (with --proof: misbehaviour is proven), 1 it does not or the file
does not hold together, 2 used wrongly.
"""
)
@click.argument("file", type=FILE)
@click.option("--policy", "policy_path", type=FILE, required=True, help="What must be shown.")
@click.option(
    "--at", "at", metavar="TIME", help="Time of asking: ISO 8601 or seconds since 1970; else now."
)
@click.option(
    "--proof",
    "as_proof",
    is_flag=True,
    help="Demand that misbehaviour is proven, in place of the policy's demands; its keys count.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def verify(file: Path, policy_path: Path, at: str | None, *, as_proof: bool, as_json: bool) -> None:
    """Check an evidence file offline against a policy.

    What the file proves of anybody's misbehaviour (docs/misbehaviour.md) is always said. A file
    that proves that, and nothing else, fulfils no policy: ask for it with --proof.
    """
    at_s = _time(at)
    policy = _policy(policy_path)
    data = read_limited(file, EVIDENCE_BYTES_MAX)
    report: Report | None = None
    refusal: TallyError | None = None
    try:
        report = check_evidence(load_evidence(data), policy, at_s)
        if as_proof:
            Misbehaved().demand(report)
        else:
            policy.demand(report, at_s)
    except TallyError as error:
        refusal = error
    if as_json:
        # In ASCII: names stay exact, and what is invisible or drives a terminal is spelt out.
        click.echo(json.dumps(_json(report, refusal), indent=2))
    else:
        _print(report, refusal, holds=PROVEN if as_proof else HOLDS)
    if refusal is not None:
        sys.exit(1)


def read_limited(path: Path, bytes_max: int) -> bytes:
    """A file's bytes; one sentence when it is larger than anything that could be meant."""
    with path.open("rb") as opened:
        data = opened.read(bytes_max + 1)
    if len(data) > bytes_max:
        message = f"{path}: larger than {bytes_max:,} bytes, which this cannot be"
        raise Unusable(message)
    return data


def _policy(path: Path) -> Policy:
    try:
        return Policy.parse(read_limited(path, POLICY_BYTES_MAX).decode())
    except Malformed as error:
        message = f"{path}: {error}"
        raise Unusable(message) from None
    except UnicodeDecodeError:
        message = f"{path}: is no text, so it is no policy"
        raise Unusable(message) from None


def _time(text: str | None) -> int:
    if text is None:
        return int(time.time())
    return parse_time_s(text)


def _json(report: Report | None, refusal: TallyError | None) -> dict[str, Any]:
    said: dict[str, Any] = {"policy": "holds" if refusal is None else "refused"}
    if refusal is not None:
        said |= {"reason": refusal.reason, "message": refusal.message}
    if report is None:
        return said
    return said | {
        "outcome": report.outcome,
        "checked": [{"what": what, "detail": detail} for what, detail in report.checked],
        "not_checked": [{"what": what, "why": why} for what, why in report.not_checked],
        "tolerances": report.tolerances,
        "refuted_times": report.refuted_times,
        "doubted_times": report.doubted_times,
        "keys": [_key(one) for one in report.keys],
        "claimed": claimed(report),
        "forks": [
            {
                "device": b64u(proof.device),
                "epoch": b64u(proof.epoch),
                "sizes": [proof.first.size, proof.second.size],
            }
            for proof in report.forks
        ],
        "proven": [proven(one) for one in report.proven],
        "party_sets": [
            {
                "name": one.name,
                "namespace": one.namespace,
                "interaction": b64u(one.interaction),
                "profile": b64u(one.profile),
                "states": one.states,
                "verdicts": [
                    {
                        "validator": said.validator.name,
                        "organisation": said.validator.organisation,
                        "state": said.verdict.finding.state,
                        "logged": said.logged,
                        "recomputed": said.recomputed,
                        "checks": check_rows(report, said.verdict.finding),
                    }
                    for said in one.said
                ],
            }
            for one in report.party_sets
        ],
    }


def proven(one: Proven) -> dict[str, Any]:
    """What a file proves of somebody, for JSON: ids in base64url."""
    return {
        "proof": one.name,
        "who": one.who,
        "accused": [b64u(id_) for id_ in one.accused],
        "says": list(one.says),
        "not_shown": list(one.not_shown),
        "digest": one.digest.hex(),
    }


def proven_lines(report: Report) -> list[str]:
    """What the file proves of somebody: the two statements that cannot both be true."""
    lines = []
    for one in report.proven:
        lines += [f"{one.name}, of {one.who}", *(f"  says: {said}" for said in one.says)]
        lines += [f"  not shown: {what}" for what in one.not_shown]
    return [printable(line, LINE_CHARS_MAX) for line in lines]


def _print(report: Report | None, refusal: TallyError | None, holds: str) -> None:
    console = screen()
    if report is not None:
        _section(console, "Checked", [f"{a}: {b}" for a, b in report.checked], "green")
        _section(console, "Not checked", [f"{a}: {b}" for a, b in report.not_checked], "yellow")
        _section(console, "Checks", check_lines(report), "blue")
        _section(console, "Keys", keys_held(report), "blue")
        _section(console, "Tolerances", report.tolerances, "cyan")
        _section(console, "Refuted times", report.refuted_times, "red")
        _section(console, "Doubted times", report.doubted_times, "yellow")
        _section(console, "Claimed", claimed(report), "magenta")
        _section(console, "Proven", proven_lines(report), "red")
        console.print(Text(report.outcome, style="bold"))
    if refusal is None:
        console.print(Text(holds, style="bold green"))
    else:
        # The last line is the answer, where a person looks first.
        sentence = f"Refused: {refusal.message} ({refusal.reason})."
        if report is not None and report.proven and holds == HOLDS:
            console.print(Text("What it proves of somebody is checked with --proof.", "red"))
        console.print(Text(sentence, style="bold red"))


def _key(one: HeldKey) -> dict[str, Any]:
    held = one.held
    return {
        "key": b64u(one.key),
        "id": one.identity.text,
        "subject": SUBJECTS[one.identity.subject],
        "fleet": one.identity.iss,
        "status": one.status,
        "custody": CUSTODIES[held.level],
        "claimed": CUSTODIES[held.claimed],
        "shown": held.shown,
        "not_proven": held.not_proven,
        "not_checked": [{"type": kind, "why": why} for kind, why in held.not_checked],
    }


def keys_held(report: Report) -> list[str]:
    """How each key is held: what counts, what its evidence shows, and what it does not."""
    lines = []
    for one in report.keys:
        held = one.held
        lines.append(f"{_whose(one)}: {CUSTODIES[held.level]}, {one.status}")
        lines += [f"  shown: {sentence}" for sentence in held.shown]
        lines += [f"  not proven: {sentence}" for sentence in held.not_proven]
        lines += [f"  not checked: {kind}: {why}" for kind, why in held.not_checked]
        if held.level != held.claimed and not held.not_checked:
            lines.append(f"  not shown: {held.why()}")
    return [printable(line, LINE_CHARS_MAX) for line in lines]


def _whose(one: HeldKey) -> str:
    """Who has the key, by the tag that its fleet signed; which key where it is not the first."""
    member = one.identity
    tag = member.enrolment.details.get("asset_tag")
    named = f" {tag}" if isinstance(tag, str) else ""
    which = "" if one.key == member.id else f", key {b64u(one.key)}"
    return f"{SUBJECTS[member.subject]}{named} of {member.iss} ({member.text}){which}"


def claimed(report: Report) -> list[str]:
    """What each disclosed claim says, a line each, its maker by the tag that its fleet signed."""
    lines = []
    for record in report.records:
        claim = record.body
        if not isinstance(claim, Claim):
            continue
        tag = record.identity.enrolment.details.get("asset_tag")
        maker = f"{tag} of {record.identity.iss}" if isinstance(tag, str) else record.identity.iss
        said = ", ".join(f"{name} {_shown(value)}" for name, value in sorted(claim.fields.items()))
        device = b64u(record.device)
        lines.append(
            printable(f"{claim.role} {claim.claim} by {maker} ({device}): {said}", LINE_CHARS_MAX)
        )
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, Dec) or (isinstance(value, int) and not isinstance(value, bool)):
        return to_text(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return value.hex() if isinstance(value, bytes) else str(value)


def _section(console: Console, title: str, lines: list[str], style: str) -> None:
    if lines:
        # What is indented belongs to the line before it.
        count = sum(not line.startswith(" ") for line in lines)
        console.print(Text(f"{title} ({count})", style=f"bold {style}"))
        for line in lines:
            indented(console, line)
