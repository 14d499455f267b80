"""`tally fleet erase`: have validators give bodies up, while their hashes stay (protocol, 6.6)."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tallystick.evidence.erasure import REQUEST, Erasure
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import from_b64u
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM, DECISION, EVENT
from tallystick.tools import keychanges
from tallystick.tools._masked import masked
from tallystick.tools.fleet_enroll import FOLDER
from tallystick.tools.fleetdir import Fleet, Member

if TYPE_CHECKING:
    from tallystick.tools.api import ValidatorApi

KINDS = {"decisions": DECISION, "claims": CLAIM, "events": EVENT, "halves": ACCEPTED_HALF}
EPOCH_BYTES = 8
_RANGE = re.compile(r"(0|[1-9][0-9]{0,17}):([1-9][0-9]{0,17})")


@click.command(
    epilog="""\b
Examples:
  tally fleet erase acme robot-7 --to https://validator.example --all --kind decisions
  tally fleet erase acme robot-7 --to http://127.0.0.1:8470 --records 100:250 --epoch EPOCH --yes
""",
    short_help="Have validators erase a device's bodies; their hashes stay.",
)
@click.argument("folder", type=FOLDER)
@click.argument("member")
@click.option("--to", "urls", multiple=True, required=True, help="A validator's URL, repeatable.")
@click.option(
    "--records", "spans", multiple=True, help="FROM:TO, indexes with TO left out; repeatable."
)
@click.option("--all", "everything", is_flag=True, help="All that each validator has by now.")
@click.option("--epoch", help="The log that is meant; without it, with --all, all of them.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Which records, repeatable; decisions, claims and halves unless given.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def erase(
    folder: Path,
    member: str,
    urls: tuple[str, ...],
    spans: tuple[str, ...],
    everything: bool,  # noqa: FBT001 - click passes flags by name
    epoch: str | None,
    kinds: tuple[str, ...],
    yes: bool,  # noqa: FBT001 - as above
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Order validators, with the fleet root, to erase bodies of MEMBER.

    The order is logged and says what went; hashes, receipts and verdicts stay and still verify.
    What is on hold is refused. A body cannot be had back.
    """
    if everything == bool(spans):
        message = "give either --all or --records FROM:TO"
        raise click.UsageError(message)
    if spans and epoch is None:
        message = "--records are those of one log: give its --epoch"
        raise click.UsageError(message)
    opened = Fleet.open(folder)
    click.get_current_context().call_on_close(opened.close)
    device = keychanges.find(opened, member)
    if device.kind != "device":
        raise Malformed("bad-value", f"{member} is no device: only devices have records")
    chosen = sorted(KINDS[kind] for kind in kinds or ("decisions", "claims", "halves"))
    if not yes:
        what = "all records" if everything else f"records {', '.join(spans)}"
        click.confirm(f"Erase {what} of {device.label} at {masked(', '.join(urls))}?", abort=True)
    orders = _Orders(opened, device, chosen, spans, epoch)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    for url in urls:
        try:
            rows += orders.send(url)
        except TallyError as error:
            failed.append(masked(f"{url}: {error.message} ({error.reason})"))
    _tell(rows, failed, as_json=as_json)


class _Orders:
    def __init__(
        self,
        fleet: Fleet,
        device: Member,
        kinds: list[int],
        spans: tuple[str, ...],
        epoch: str | None,
    ) -> None:
        self._fleet = fleet
        self._device = device
        self._kinds = kinds
        self._ranges = [_span(text) for text in spans]
        self._epoch = None if epoch is None else from_b64u(epoch, EPOCH_BYTES)
        self._now_ms = keychanges.now_ms()

    def send(self, url: str) -> list[dict[str, Any]]:
        """An order a log; what each came to."""
        from tallystick.tools.api import ValidatorApi  # noqa: PLC0415 - of an extra

        with ValidatorApi(url) as api:
            return [
                {"to": url, "epoch": epoch.hex(), **api.erase(self._order(epoch, ranges))}
                for epoch, ranges in self._logs(api).items()
            ]

    def _logs(self, api: "ValidatorApi") -> dict[bytes, list[list[int]]]:
        if self._epoch is not None and self._ranges:
            return {self._epoch: self._ranges}
        known = api.logs(self._device.id)
        wanted = known if self._epoch is None else {self._epoch: known.get(self._epoch, 0)}
        return {epoch: [[0, size]] for epoch, size in wanted.items() if size}

    def _order(self, epoch: bytes, ranges: list[list[int]]) -> bytes:
        made = Erasure(epoch, ranges, self._kinds, REQUEST, None, self._now_ms)
        return made.sign(self._fleet.signer, self._fleet.name, self._device.id)


def _span(text: str) -> list[int]:
    match = _RANGE.fullmatch(text)
    if match is None or not int(match[1]) < int(match[2]):
        raise Malformed("bad-value", f"--records: FROM:TO such as 100:250, not {text!r}")
    return [int(match[1]), int(match[2])]


def _tell(rows: list[dict[str, Any]], failed: list[str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"erased": rows, "failed": failed}))
    else:
        for row in rows:
            click.echo(f"{row['to']}: {row['bodies']} bodies erased, logged at {row['entry']}")
        if not rows and not failed:
            click.echo("nothing of this device is known there")
        for line in failed:
            click.echo(f"not erased at {line}", err=True)
    if failed:
        click.get_current_context().exit(1)
