"""`tally bench validate | reconcile | audit`: what a validator does, and who audits it."""

from pathlib import Path

import click

from tallystick.tools.bench import _options
from tallystick.tools.bench import audit as audit_bench
from tallystick.tools.bench import reconcile as reconcile_bench
from tallystick.tools.bench import validate as validate_bench
from tallystick.tools.bench.showing import progress

WORKERS_MAX = 64


@click.command(
    epilog="""\b
Examples:
  tally bench validate
  tally bench validate --store sqlite --picture validator-time.svg
  tally bench validate --store postgresql --workers 2
"""
)
@_options.number(
    "--records",
    1_024,
    10_000_000,
    validate_bench.RECORDS,
    "Records that our devices send in one run.",
)
@_options.number(
    "--devices",
    4,
    1_000,
    validate_bench.DEVICES,
    "Devices that send them, in pairs, behind two gateways.",
)
@_options.number(
    "--rounds",
    1,
    20,
    validate_bench.ROUNDS,
    "How often all is measured, in turn; the best counts.",
)
@_options.seconds(validate_bench.SECONDS)
@_options.number(
    "--workers",
    0,
    WORKERS_MAX,
    0,
    "Worker processes of our validator, on PostgreSQL.",
)
@click.option(
    "--claim-every",
    type=click.IntRange(1, 65_536),
    default=validate_bench.CLAIM_EVERY,
    show_default=True,
    metavar="N",
    help="One of N records is a claim; the others are decisions.",
)
@_options.STORE
@_options.picture()
@_options.JSON
def validate(
    *,
    records: int,
    devices: int,
    rounds: int,
    seconds: float,
    workers: int,
    claim_every: int,
    stores: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """Records a second from a gateway's batch, over HTTP, to the validator's receipts.

    The clock runs from the first request to the last answer: verified, claims decoded, logged,
    committed, a signed checkpoint, a receipt for every segment; findings are made in between, and
    every receipt is verified afterwards. Segments have 64 and 256 records. Peers take the same way
    with one signature on each record and the same COMMIT for each batch.

    Then the validator's writer runs alone and is sampled every millisecond: `shares` says what its
    time goes to.
    """
    settings = validate_bench.Settings(
        records, devices, seconds, rounds, stores, workers, claim_every
    )
    with progress(validate_bench.steps(settings)) as advance:
        result = validate_bench.run(settings, advance)
    if picture is not None:
        result.draw(picture)
    result.show(as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  tally bench reconcile
  tally bench reconcile --open 1000000 --picture claim-cost.svg
  tally bench reconcile --store postgresql --workers 0 --workers 4
"""
)
@click.option(
    "--open",
    "most",
    type=click.IntRange(reconcile_bench.OPEN_MIN, 10_000_000),
    default=reconcile_bench.OPEN,
    show_default=True,
    help="Open interactions at the end; there are ten times as many at each step.",
)
@_options.seconds(reconcile_bench.SECONDS, "How long the engine alone is measured.")
@click.option(
    "--workers",
    type=click.IntRange(0, WORKERS_MAX),
    multiple=True,
    default=reconcile_bench.WORKERS,
    show_default=True,
    help="Worker processes on PostgreSQL; may be given more than once.",
)
@_options.number(
    "--backlog",
    16,
    1_000_000,
    reconcile_bench.BACKLOG,
    "Interactions that the workers find.",
)
@_options.STORE
@_options.picture()
@_options.JSON
def reconcile(
    *,
    most: int,
    seconds: float,
    workers: tuple[int, ...],
    backlog: int,
    stores: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """Claims a second and core, and what a claim costs by how many interactions are open.

    ours_per_s is the engine alone (verify.reconcile.find): claims in memory in, a finding out.
    tick_per_s is the validator's own work on them: read from the store, parsed, found, encoded, a
    signed verdict, logged, committed. A claim's ingest and its tick are measured with 1,000 open
    interactions, 10,000 and so on, answering some all over them; resident_bytes is the process
    that does so. On PostgreSQL a backlog is then worked off with `workers` processes.
    """
    settings = reconcile_bench.Settings(most, seconds, stores, workers, backlog)
    with progress(reconcile_bench.steps(settings)) as advance:
        result = reconcile_bench.run(settings, advance)
    if picture is not None:
        result.draw(picture)
    result.show(as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  tally bench audit
  tally bench audit --entries 1000000 --shards 8
"""
)
@_options.number(
    "--entries",
    audit_bench.ENTRIES_MIN,
    10_000_000,
    audit_bench.ENTRIES,
    "Entries of the log, about.",
)
@_options.number(
    "--shards",
    1,
    64,
    audit_bench.SHARDS,
    "Into how many it is cut, one after another with one process each.",
)
@_options.seconds(audit_bench.SECONDS, "How long one core is measured.")
@_options.picture()
@_options.JSON
def audit(
    *, entries: int, shards: int, seconds: float, picture: Path | None, as_json: bool
) -> None:
    """Entries a second of `tally audit`: one core, all cores, and by --shard.

    The log is a validator's own, of claims, checkpoints and verdicts. ours_per_s is verification
    in one thread; the command's rates have its start in them. The bound is hashing alone: a leaf
    and a node for each entry.
    """
    settings = audit_bench.Settings(entries, seconds, shards)
    with progress(audit_bench.steps(settings)) as advance:
        result = audit_bench.run(settings, advance)
    if picture is not None:
        result.draw(picture)
    result.show(as_json=as_json)
