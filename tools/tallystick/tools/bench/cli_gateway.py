"""`tally bench forward | fleet`: what a gateway sends on, and a thousand devices behind it."""

from pathlib import Path

import click

from tallystick.gateway.validatorconfig import Send
from tallystick.tools.bench import _options
from tallystick.tools.bench import fleet as fleet_bench
from tallystick.tools.bench import forward as forward_bench
from tallystick.tools.bench.showing import progress


@click.command(
    epilog="""\b
Examples:
  tally bench forward
  tally bench forward --content full --validators 1 --records 1000000
  tally bench forward --picture docs/pictures/gateway-forward.svg
  tally bench forward --json | jq '.drains[] | [.content, .validators, .records_per_s]'
"""
)
@_options.number(
    "--records",
    forward_bench.RECORDS_MIN,
    10_000_000,
    forward_bench.RECORDS,
    "Records of the backlog, in segments of 64.",
)
@_options.number(
    "--devices", 2, 1_000, forward_bench.DEVICES, "Devices that made them, two by two."
)
@click.option(
    "--content",
    "contents",
    type=click.Choice(forward_bench.CONTENTS),
    multiple=True,
    default=forward_bench.CONTENTS,
    show_default=True,
    help="What the validators get; may be given more than once.",
)
@click.option(
    "--validators",
    type=click.IntRange(1, forward_bench.VALIDATORS_MAX),
    multiple=True,
    default=forward_bench.VALIDATORS,
    show_default=True,
    help="How many of them; may be given more than once.",
)
@_options.number(
    "--live",
    1,
    10_000_000,
    forward_bench.LIVE_PER_S,
    "Records a second that a fleet makes: what `ratio_to_live` is held against.",
)
@_options.seconds(forward_bench.SECONDS)
@_options.picture("Draw what the gateways' processor time goes to into this SVG.")
@_options.JSON
def forward(
    *,
    records: int,
    devices: int,
    contents: tuple[Send, ...],
    validators: tuple[int, ...],
    live: int,
    seconds: float,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Records a second of a gateway's backlog to its validators, beside its intake.

    A real gateway takes the backlog in over a real Mosquitto, as fast as it goes: that rate is
    intake_per_s. Then it sends everything to one and to three real validators over HTTP, for each
    content; the clock runs from the first answer to the last, and the slowest validator counts.
    One of 256 records is a claim.

    Beside it: the same batches as bare requests that are appended, synced and signed for
    (bare_per_s), and peers that forward one signature a record, to one validator.

    ratio_to_live is to --live, what a fleet of 1,000 devices makes that decide ten times a second;
    ratio_to_intake is to the most that the gateway could take in. goal_up_to_live_per_s is the
    live rate up to which the backlog drains ten times faster than it grows.

    With --picture `shares` says what the gateway's processor time goes to for each content, to one
    validator, and the best peer's; in runs of their own, since sampling costs some per cent.
    """
    settings = forward_bench.Settings(
        records, devices, seconds, validators, contents, live, picture is not None
    )
    with progress(forward_bench.steps(settings)) as advance:
        result = forward_bench.run(settings, advance)
    if picture is not None:
        result.draw(picture)
    result.show(as_json=as_json)


@click.command(
    epilog="""\b
Examples:
  tally bench fleet
  tally bench fleet --devices 5000 --rate 2
  tally bench fleet --picture docs/pictures/gateway-fleet.svg
"""
)
@_options.number(
    "--devices",
    1,
    fleet_bench.DEVICES_MAX,
    fleet_bench.DEVICES,
    "Devices, each with a key and an MQTT connection of its own.",
)
@_options.seconds(fleet_bench.SECONDS, "How long they go on at their pace.")
@click.option(
    "--rate",
    type=click.FloatRange(0.01, fleet_bench.RATE_MAX),
    default=fleet_bench.RATE,
    show_default=True,
    help="Records a second of each device at its pace, in segments of 64.",
)
@_options.picture("Draw what the gateways' time goes to into this SVG.")
@_options.JSON
def fleet(
    *, devices: int, seconds: float, rate: float, picture: Path | None, as_json: bool
) -> None:
    """A gateway behind a thousand connected devices, and one that checks each record.

    Real connections to a real Mosquitto; each device is enrolled, signs its own log and takes its
    own custody receipts. First at the pace of --rate: latency from publish to receipt, the
    gateway's processor time and memory. Then as fast as receipts come: ours_per_s. The bench fails
    where a device's last receipt does not verify or does not cover everything that it sent.

    Peers take the same way over as many connections with one signature on each record; the best
    one then at the same pace. `shares` says what both gateways' time goes to at that pace, ours
    without processes that verify ahead.

    Each connection is an open file: RLIMIT_NOFILE is raised as far as the machine allows.
    """
    settings = fleet_bench.Settings(devices, seconds, rate)
    with progress(fleet_bench.steps()) as advance:
        result = fleet_bench.run(settings, advance)
    if picture is not None:
        result.draw(picture)
    result.show(as_json=as_json)
