"""`tally bench`: the hot paths beside their peers and the bound, side by side in one run."""

from pathlib import Path

import click

from tallystick.tools.bench import _options, gateway_time, ingest_shares
from tallystick.tools.bench import ingest as ingest_bench
from tallystick.tools.bench import record as record_bench
from tallystick.tools.bench import sign as sign_bench
from tallystick.tools.bench.cli_gateway import fleet, forward
from tallystick.tools.bench.cli_urgent import urgent
from tallystick.tools.bench.cli_validator import audit, reconcile, validate
from tallystick.tools.bench.showing import progress


@click.group(
    epilog="""\b
Examples:
  tally bench record               decisions on CPython and MicroPython
  tally bench ingest               Mosquitto to custody receipt
  tally bench forward              a gateway's backlog to validators
  tally bench fleet                a thousand connected devices
  tally bench sign                 keys in chips, TPMs and tokens
  tally bench validate             batch to receipt at a validator
  tally bench reconcile            findings, by what is open
  tally bench audit                a whole log from its tiles
  tally bench urgent               a decision to three verdicts
  tally bench ingest --json | jq .ratio_to_best_peer
"""
)
def bench() -> None:
    """Measure the hot paths beside their peers.

    The last line is one JSON object. Figures mean something on a machine that does nothing else.
    """


@bench.command(
    epilog="""\b
Examples:
  tally bench record --seconds 5
  tally bench record --picture steps.svg
  tally bench record --steady 100000
"""
)
@_options.seconds(record_bench.SECONDS, "How long each rate is measured.")
@_options.picture("Draw the cost of each step into this SVG.")
@click.option(
    "--steady",
    type=click.IntRange(0, 10_000_000),
    default=0,
    metavar="N",
    help="Then N decisions in a small heap, alone and with chip and MQTT over TLS.",
)
@_options.JSON
def record(*, seconds: float, picture: Path | None, steady: int, as_json: bool) -> None:
    """Decisions a second through the recorder, on CPython and on MicroPython.

    The real Recorder with journal, a checkpoint every 64 records and a key in a file, beside one
    signature on each record. Then what decision() costs beside encoding and three hashes alone,
    each step of a record (encode, salt, hash, tree, journal, sync, sign, send), memory, and what
    each module of a board's library costs.

    With --steady the object has `steady` too: what was free in each tenth of N decisions on 32-bit
    MicroPython, for the recorder alone in 64 KiB, and with a virtual ATECC608 and MQTT over TLS.
    """
    with progress(record_bench.steps(steady)) as advance:
        result = record_bench.run(seconds, advance, steady)
    if picture is not None:
        picture.write_text(result.picture())
    result.show(as_json=as_json)


@bench.command(
    epilog="""\b
Examples:
  tally bench ingest
  tally bench ingest --records 1000000 --devices 32
  tally bench ingest --picture gateway-time.svg
"""
)
@_options.number(
    "--records",
    64,
    10_000_000,
    ingest_bench.RECORDS,
    "Records that our devices send, in segments of 64.",
)
@_options.number(
    "--devices",
    1,
    1_000,
    ingest_bench.DEVICES,
    "Devices that send them, in turn.",
)
@_options.seconds(ingest_bench.SECONDS, "How long each peer is measured, about.")
@_options.picture("Then draw what the time of ours and of the best peer goes to into this SVG.")
@_options.JSON
def ingest(
    *, records: int, devices: int, seconds: float, picture: Path | None, as_json: bool
) -> None:
    """Records a second from a real Mosquitto to the gateway's custody receipt.

    The clock runs from the first publish to the custody receipt that covers everything: received,
    verified, on disk, signed for. Peers take the same way with one signature on each record.
    """
    with progress(ingest_bench.steps()) as advance:
        shares = None if picture is None else ingest_shares.both(seconds)
        result = ingest_bench.run(records, devices, seconds, advance, shares)
    if picture is not None:
        title = "What a gateway's time goes to"
        gateway_time.draw(picture, title, result.details["shares"])
    result.show(as_json=as_json)


@bench.command(
    epilog="""\b
Examples:
  tally bench sign
  tally bench sign --seconds 10
  tally bench sign --json | jq '.keys[] | [.key, .signatures_per_s, .paced.covered_per_s]'
"""
)
@_options.seconds(
    sign_bench.SECONDS, "How long each part is measured; there are up to four of each key."
)
@_options.JSON
def sign(*, seconds: float, as_json: bool) -> None:
    """Signatures and covered decisions a second with each kind of key.

    The real Recorder with keys in files, in ATECC608s (virtual ones, at the real one's own times:
    115, 220 or 665 ms a signature by clock divider m0, m1, m2; in the recorder's process and over
    TCP), in a TPM 2.0 (swtpm) and on a PKCS#11 token (SoftHSM), on CPython; and with an ATECC608 on
    MicroPython. What is not installed is said to be not measured.

    Each key signs in a row, and signs each record (the way without checkpoints). Then a loop makes
    1,000 decisions a second, as a control loop does; then as many as it can, waiting while four
    checkpoints wait for the key. In the end all signed checkpoints are verified, and every decision
    must be covered. The lag is the time from decision() to its signed checkpoint on flash.

    ours_per_s is what an ATECC608 (atecc608-m0) covers of as many as possible; peers are one
    signature a record by the ATECC608s; bound_per_s is the recorder with the fastest key of this
    run, so that the recorder is the limit. swtpm and SoftHSM are programs, and sign faster than
    hardware of their kind: a TPM takes 30 to 200 ms.
    """
    with progress(sign_bench.steps()) as advance:
        result = sign_bench.run(seconds, advance)
    result.show(as_json=as_json)


for _command in (forward, fleet, validate, reconcile, audit, urgent):
    bench.add_command(_command)
