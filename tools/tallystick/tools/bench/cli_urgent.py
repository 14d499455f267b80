"""`tally bench urgent`: how long an urgent decision takes to three validators' verdicts."""

from pathlib import Path

import click

from tallystick.tools.bench import _options
from tallystick.tools.bench import urgent as urgent_bench
from tallystick.tools.bench.showing import progress

WORKERS_MAX = 64


@click.command(
    epilog="""\b
Examples:
  tally bench urgent
  tally bench urgent --store sqlite --picture urgent.svg
  tally bench urgent --store postgresql --workers 2
"""
)
@_options.number(
    "--interactions", 1, 100_000, urgent_bench.INTERACTIONS, "Interactions of a round that count."
)
@_options.number(
    "--rounds", 1, 20, urgent_bench.ROUNDS, "How often all is started anew and measured."
)
@_options.number(
    "--workers", 0, WORKERS_MAX, 0, "Worker processes of each of our validators, on PostgreSQL."
)
@_options.STORE
@_options.picture()
@_options.JSON
def urgent(
    *,
    interactions: int,
    rounds: int,
    workers: int,
    stores: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """Milliseconds from a robot's urgent claim to the verdicts of three validators.

    Two robots hand something over; Mosquitto, a gateway and three validators are processes of their
    own, on loopback. The clock runs from the second robot's decision and claim, which waits for its
    signature, to the moment at which who listens at all three validators (server-sent events) has
    read their verdicts. In turn with it: a bare path with as many hops, syncs and signatures, and
    nothing of ours. `legs` are mean milliseconds between points that gateway and validators keep.
    """
    settings = urgent_bench.Settings(interactions, rounds, stores, workers)
    with progress(urgent_bench.steps(settings)) as advance:
        result = urgent_bench.run(settings, advance)
    if picture is not None:
        result.draw(picture)
    result.show(as_json=as_json)
