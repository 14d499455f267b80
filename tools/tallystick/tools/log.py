"""`tally log`: check validators' logs, from a URL or from a folder of tiles."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import click

from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError, TransportError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.keys import from_b64u
from tallystick.evidence.note import NoteKey, parse_key
from tallystick.tools import log_state
from tallystick.tools._files import read_text
from tallystick.tools._masked import masked
from tallystick.tools._screen import indented, screen
from tallystick.tools.log_monitor import Monitor, Round
from tallystick.tools.log_source import LogSource
from tallystick.tools.log_state import Found, State
from tallystick.tools.log_verify import show, verify_log
from tallystick.verify import Policy
from tallystick.verify._text import printable
from tallystick.verify.policy import POLICY_BYTES_MAX

LOGS_MAX = 64
EVERY_S = 10.0
EVERY_S_MIN = 0.1
EVERY_S_MAX = 86_400.0
NO = 1
NOT_CHECKED = 3

POLICY = click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Whose logs these are, and how many must have cosigned (docs/policy.md).",
)
JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")


class Unusable(click.ClickException):
    """What was given cannot be used; exit code 2, as for wrong usage."""

    exit_code = 2


@click.group(
    epilog="""\b
Examples:
  tally log verify https://validator.insurer.example
  tally log monitor https://a.example https://b.example --state logs.json --once
"""
)
def log() -> None:
    """Check the logs of validators: one history each, and all the same."""


@log.command(
    epilog="""\b
Examples:
  tally log verify http://127.0.0.1:8470
  tally log verify https://validator.insurer.example --key validator.insurer.example/log+1a2b...
  tally log verify /srv/tiles --policy policy.toml --json

Exit code: 0 it holds together, and enough have cosigned it; 1 it does not; 2 used wrongly;
3 it could not be read.
"""
)
@click.argument("where", metavar="URL_OR_FOLDER")
@click.option("--key", "key_text", help="Its note key, name+hash+key; else its own entry 0 says.")
@POLICY
@JSON
def verify(where: str, key_text: str | None, policy_path: Path | None, *, as_json: bool) -> None:
    """Read a whole log and check every entry against its signed checkpoint.

    The tree of all entries and every tile of it, the checkpoint's signature and cosignatures, that
    times never fall, that each claim's path leads to a device checkpoint logged before, that no
    deadline was closed early, and the signatures of verdicts.
    """
    policy = _policy(policy_path)
    with LogSource(where) as source:
        try:
            pinned = _key(key_text) or _pinned(policy, source)
            done = verify_log(source, pinned, policy.witnesses)
        except TallyError as error:
            _refused(where, error, as_json=as_json)
            sys.exit(NOT_CHECKED if isinstance(error, TransportError) else NO)
    show(where, done, as_json_=as_json)


def _refused(where: str, error: TallyError, *, as_json: bool) -> None:
    if as_json:
        said = {"log": where, "reason": error.reason, "message": error.message}
        click.echo(masked(json.dumps(said, indent=2)))
    else:
        line = printable(masked(f"{where}: {error} ({error.reason})"), 2_000)
        click.echo(f"Error: {line}", err=True)


def _key(text: str | None) -> NoteKey | None:
    if text is None:
        return None
    try:
        return parse_key(text)
    except Malformed as error:
        raise Unusable(f"--key: {error}") from None


def _policy(path: Path | None) -> Policy:
    if path is None:
        return Policy.nothing()
    try:
        return Policy.parse(read_text(path, POLICY_BYTES_MAX))
    except Malformed as error:
        raise Unusable(f"{path}: {error}") from None


def _pinned(policy: Policy, source: LogSource) -> NoteKey | None:
    origin = source.checkpoint().origin
    keys = _keys(policy)
    if keys and origin not in {key.name for key in keys}:
        raise CouldNotCheck("wrong-key", f"the policy has no note key of the log {origin}")
    return next((key for key in keys if key.name == origin), None)


def _keys(policy: Policy) -> list[NoteKey]:
    found = (one.note_key for one in policy.trust.validators)
    return [key for key in found if key is not None]


@log.command(
    epilog="""\b
Examples:
  tally log monitor https://a.example https://b.example --state logs.json
  tally log monitor https://a.example https://b.example --state logs.json --once --json
  tally log monitor https://a.example /srv/b-tiles --state logs.json --proofs found

Exit code with --once: 0 nothing contradicts; 1 something does, now or ever before; 2 used wrongly;
3 nothing was found, and a log could not be followed. Without --once it goes on until interrupted.
"""
)
@click.argument("where", metavar="URL_OR_FOLDER...", nargs=-1, required=True)
@click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What was seen so far; made when it is not there.",
)
@click.option("--key", "key_texts", multiple=True, help="A note key, name+hash+key; repeatable.")
@POLICY
@click.option(
    "--proofs",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder for what proves that a log has two histories, for `tally verify`.",
)
@click.option(
    "--every",
    type=click.FloatRange(EVERY_S_MIN, EVERY_S_MAX),
    default=EVERY_S,
    show_default=True,
    help="Seconds between rounds.",
)
@click.option("--once", is_flag=True, help="One round.")
@JSON
def monitor(
    where: tuple[str, ...],
    state_path: Path,
    key_texts: tuple[str, ...],
    policy_path: Path | None,
    proofs: Path | None,
    every: float,
    *,
    once: bool,
    as_json: bool,
) -> None:
    """Follow several logs: each must extend what was seen of it, and all must agree.

    Each round reads the new entries, folds them into the tree that was verified before, and
    compares what the logs say of each device and of each interaction.
    """
    if len(set(where)) != len(where) or len(where) > LOGS_MAX:
        raise click.UsageError(f"give each log once, and at most {LOGS_MAX}")
    policy = _policy(policy_path)
    keys = [*_keys(policy), *(key for text in key_texts if (key := _key(text)) is not None)]
    try:
        state = log_state.load(state_path)
    except Malformed as error:
        raise Unusable(str(error)) from None
    with ExitStack() as stack:
        sources = [stack.enter_context(LogSource(one)) for one in where]
        watching = Monitor(sources, state, keys, policy.witnesses)
        while True:
            done = watching.round()
            log_state.save(state_path, state)
            if proofs is not None:
                _write(proofs, done.new)
            _tell(done, state, as_json=as_json)
            if once:
                break
            threading.Event().wait(every)
    if state.found:
        sys.exit(NO)
    if done.failed:
        sys.exit(NOT_CHECKED)


def _write(folder: Path, new: list[Found]) -> None:
    for one in new:
        if not one.proof:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        proof = from_b64u(one.proof, len(one.proof) * 3 // 4)
        file = EvidenceFile([], [], [], [], [], [], None, [], (), [proof])
        name = f"two-histories-{int(time.time() * 1000)}.tally"
        (folder / name).write_bytes(file.encode())


def _tell(done: Round, state: State, *, as_json: bool) -> None:
    if as_json:
        said = {
            "logs": done.logs,
            "failed": done.failed,
            "found": [
                {"kind": one.kind, "logs": one.logs, "says": one.says, "since_s": one.since_s}
                for one in state.found
            ],
            "differences": [
                {"kind": one.kind, "logs": one.logs, "says": one.says}
                for one in done.differences
                if not one.contradiction
            ],
            "not_asked": done.not_asked,
        }
        click.echo(json.dumps(said))
        return
    console = screen()
    for where, says in done.logs.items():
        console.print(f"{printable(where)}: {says}")
    for where, why in done.failed.items():
        console.print(f"{printable(where)}: NOT FOLLOWED: {printable(why)}")
    for one in state.found:
        console.print(f"CONTRADICTION ({one.kind}): {printable(one.says)}")
        indented(console, "at " + ", ".join(printable(where) for where in one.logs))
    for difference in done.differences:
        if not difference.contradiction:
            console.print(f"differs: {printable(difference.says)}")
    if done.not_asked:
        console.print(f"not compared: {done.not_asked:,} devices' heads of different sizes")
