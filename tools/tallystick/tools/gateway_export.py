"""`tally gateway export`: what a store holds, as files that others use without the gateway."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import from_b64u
from tallystick.gateway import config as configs
from tallystick.gateway.exporting import Exported, Wanted, devices_named
from tallystick.gateway.exporting import export as exported
from tallystick.tools._progress import progress
from tallystick.tools._times import parse_time_s
from tallystick.tools.gateway_common import CONFIG, JSON, plain
from tallystick.tools.provision import packaged_profiles
from tallystick.verify import profiles as packaged

INTERACTION_BYTES = 16


@click.command(
    epilog="""\b
Examples:
  tally gateway export --config gateway.toml --to acme-may
  tally gateway export --config gateway.toml --to robot-7 --device R-7 \\
      --from 2026-05-03T08:00Z --until 2026-05-03T09:00Z
  tally gateway export --config gateway.toml --to case --interaction acme/KEvJ2mO2rxGvR3pP0n8yVQ
  tally gateway import acme-may --config other.toml
  tally verify acme-may/interactions/000001.tally --policy policy.toml
""",
    short_help="Write what the store holds into files.",
)
@CONFIG
@JSON
@click.option(
    "--to",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write; one that is there is never overwritten.",
)
@click.option("--device", "names", multiple=True, help="An id or asset tag, repeatable; all.")
@click.option("--from", "since", help="Taken by the gateway from this time on.")
@click.option("--until", "before", help="Taken by the gateway before this time.")
@click.option("--interaction", "interactions", multiple=True, help="NAMESPACE/ID, repeatable; all.")
@click.option(
    "--profile",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="A TOML file of a profile that is not packaged, for evidence files; repeatable.",
)
def export(
    path: Path,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
    to: Path,
    names: tuple[str, ...],
    since: str | None,
    before: str | None,
    interactions: tuple[str, ...],
    files: tuple[str, ...],
) -> None:
    """Write segments, receipts, credentials and evidence files into a new folder; it may run.

    `tally gateway import FOLDER` takes the segments into another gateway, `tally verify` checks the
    evidence. What is missing is said, and stands in export.json. Exit code 1 when stored segments
    are damaged and were left out, or an interaction that was asked for is not there.
    """
    config = configs.load(path)
    wanted = Wanted(
        devices=devices_named(config, names) if names else (),
        from_ms=0 if since is None else parse_time_s(since) * 1000,
        until_ms=1 << 62 if before is None else parse_time_s(before) * 1000,
        interactions=tuple(_interaction(text) for text in interactions),
    )
    known = packaged_profiles([*packaged.NAMES, *files])
    profiles = {item.profile.digest: item.profile.encode() for item in known}
    with progress(f"segments for {to}") as told:
        done = exported(config, to, wanted, profiles, told)
    if as_json:
        click.echo(json.dumps({"to": str(to), **asdict(done)}))
    else:
        click.echo(
            f"{to}: {done.segments:,} segments of {done.devices:,} devices, "
            f"{done.evidence_files:,} files of receipts, {done.interactions:,} interactions"
        )
        for line in _missing(done):
            click.echo(plain(line))
    if done.damaged_segments or done.interactions_without:
        raise click.exceptions.Exit(1)


def _interaction(text: str) -> tuple[str, bytes]:
    namespace, _, rest = text.rpartition("/")
    message = f"--interaction {text!r}: write it NAMESPACE/ID, the id in 22 characters"
    try:
        found = from_b64u(rest, INTERACTION_BYTES)
    except Malformed:
        raise click.UsageError(message) from None
    if not namespace:
        raise click.UsageError(message)
    return namespace, found


def _missing(done: Exported) -> list[str]:
    # A sentence for each thing that a reader might believe to be there.
    lines = [
        f"{count:,} segments without the bodies of {kind}: pruned"
        for kind, count in done.pruned.items()
    ]
    lines += [
        f"{count:,} segments not receipted by {name}" for name, count in done.not_receipted.items()
    ]
    for count, says in (
        (done.damaged_segments, "damaged segments were left out: tally gateway quarantine list"),
        (done.parked, "segments wait for those before them and were left out"),
        (done.edges_added, "segments got the tree's edge before them, as what is before is not in"),
        (done.begin_late, "segments begin where nothing before them is in, and no edge is known"),
        (done.receipts_pruned, "validators' receipts are known by their digest only: pruned"),
        (done.interactions_unjudged, "interactions have claims and no verdict: no evidence file"),
        (
            done.unvouched_segments,
            "segments' claims are in no evidence file: no root vouches for the key that signed",
        ),
        (done.interactions_cut, "evidence files lack some claims or verdicts: 16 MiB is the most"),
        (
            done.interactions_too_long,
            "interactions have no evidence file: credentials alone are longer than one may be",
        ),
        (done.heads_left_out, "checkpoints are in no evidence file, as credentials are too long"),
        (done.claims_lacking, "claims that verdicts name are not in evidence files"),
        (done.profiles_lacking, "evidence files lack a profile: give it with --profile"),
    ):
        if count:
            lines.append(f"{count:,} {says}")
    lines += [
        f"no evidence of the interaction {name} is here" for name in done.interactions_without
    ]
    if done.holds:
        lines.append(f"on hold here: {', '.join(done.holds)}; nothing is pruned")
    return lines
