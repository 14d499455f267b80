"""`tally fleet approve`: let in who waits to join, a hundred with one confirmation."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.errors import TallyError
from tallystick.evidence.joinanswer import JoinAnswer
from tallystick.evidence.limits import JOIN_CA_BYTES_MAX
from tallystick.recorder import config as recorder_config
from tallystick.tools import fleetdir, joincodes, joincsv, joinmatch, provision
from tallystick.tools._files import read_bytes
from tallystick.tools._screen import screen
from tallystick.tools.fleet_invite import CA, FOLDER
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.joingate import STATEMENTS_AT_ONCE, Gate, only_gate, open_gate
from tallystick.tools.joinmatch import Asker, Match, Matched, Refused
from tallystick.tools.provision import ProfileFile

# What a device has by itself, for the check of its configuration.
OF_THE_DEVICE = {"key": "file:key", "journal": "journal", "credential": "credential.cbor"}
TLS = {"ca": "ca.pem"}


@click.command(
    epilog="""\b
Examples:
  tally fleet approve acme --gateway https://gw-1.acme.example:8471      who waits
  tally fleet approve acme --from robots.csv --dry-run          the fleet's only gateway, here
  tally fleet approve acme --gateway acme/gateways/gw-1 --from robots.csv --broker mqtt://10.0.0.2
\b
robots.csv:
  serial,label,asset_tag,names.vda5050,custody
  0001,robot-1,A-0001,agv-1,secure-element
""",
    short_help="Let in who waits to join, by a list.",
)
@click.argument("folder", type=FOLDER)
@click.option(
    "--gateway",
    "where",
    metavar="URL|FOLDER",
    help="The gateway's door, or its folder on this machine; else the fleet's only gateway with a "
    "door.",
)
@click.option(
    "--from",
    "listed",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A CSV file; without it nobody is let in.",
)
@click.option(
    "--broker",
    default="mqtt://127.0.0.1:1883",
    show_default=True,
    help="Where their records go, unless a line says; mqtts:// for TLS.",
)
@click.option(
    "--broker-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The certificate that devices check an mqtts:// broker with.",
)
@click.option("--namespace", help="Where interactions take place; the fleet's name unless given.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    default=("handover",),
    show_default=True,
    help="A packaged profile or a TOML file, repeatable; unless a line says.",
)
@click.option("--interval", "interval_s", default=fleetdir.INTERVAL_S, show_default=True,
              help="Seconds between two checkpoints at most, also when idle.")  # fmt: skip
@click.option("--valid-days", default=fleetdir.VALID_DAYS, show_default=True,
              help="How long the enrolments are valid.")  # fmt: skip
@click.option(
    "--as-software",
    is_flag=True,
    help="Enrol every key as software, whatever its evidence shows or does not.",
)
@CA
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def approve(**given: Any) -> None:
    """Show who waits at a gateway to join, and let in whom the lines of --from name.

    Each line is checked first; one that does not fit is refused by its number, and the others are
    signed after one confirmation. The exit code is 1 when a line was refused. Call it again after
    it was interrupted: who is enrolled already gets the same enrolment.
    """
    _Approval(**given).run()


@dataclass
class _Approval:
    """What the command line says."""

    folder: Path
    where: str | None
    listed: Path | None
    broker: str
    broker_ca: Path | None
    namespace: str | None
    profiles: tuple[str, ...]
    interval_s: int
    valid_days: int
    as_software: bool
    ca: Path | None
    yes: bool
    dry_run: bool
    as_json: bool

    def run(self) -> None:
        """Look, check, ask, sign, hand in."""
        fleet = Fleet.open(self.folder)
        context = click.get_current_context()
        context.call_on_close(fleet.close)
        rows, wrong = joincsv.read(self.listed) if self.listed else ([], [])
        self._ca = None if self.broker_ca is None else read_bytes(self.broker_ca, JOIN_CA_BYTES_MAX)
        if self._ca is None and any(
            (row.broker or self.broker).startswith("mqtts:") for row in rows
        ):
            what = "no --broker-ca: each robot needs its own `tls` with `ca` in its join.json"
            click.echo(what, err=True)
        self._packaged: dict[tuple[str, ...], list[ProfileFile]] = {}
        for row in rows:
            self._profiles(row.profiles)
        with open_gate(self.where or only_gate(fleet), fleet, self.ca) as gate:
            askers, refused = joinmatch.check(
                fleet, gate.waiting(), joincodes.known(fleet), int(time.time())
            )
            matched = joinmatch.match(rows, wrong, askers)
            told = list(matched.wrong)
            if not self.as_json:
                self._show(askers, refused, matched)
            done: list[dict[str, Any]] = []
            if matched.good and self._agreed(len(matched.good)):
                done = self._let_in(fleet, gate, matched)
        if not self.as_json:
            _show_wrong([one for one in matched.wrong if one not in told])
        self._report(askers, refused, matched, done)
        context.exit(1 if matched.wrong else 0)

    def _profiles(self, names: tuple[str, ...] | None) -> list[ProfileFile]:
        wanted = self.profiles if names is None else names
        if wanted not in self._packaged:
            self._packaged[wanted] = provision.packaged_profiles(wanted)
        return self._packaged[wanted]

    def _agreed(self, count: int) -> bool:
        if self.dry_run:
            return False
        if self.yes:
            return True
        return click.confirm(f"enrol {count} device{'s' if count > 1 else ''}?", err=True)

    # --- signing ----------------------------------------------------------------------------

    def _let_in(self, fleet: Fleet, gate: Gate, matched: Matched) -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        answers: list[tuple[Match, bytes]] = []
        gateways = [member for member in fleet.members() if member.kind == "gateway"]
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = screen(stderr=True)
        good = list(matched.good)
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("enrolling", total=len(good))
            for number, match in enumerate(good, 1):
                try:
                    answers.append((match, self._answer(fleet, match, gateways)))
                except TallyError as error:
                    why = f"{error.reason}: {error.message}"
                    matched.good.remove(match)
                    matched.wrong.append(joincsv.Wrong(match.row.line, why))
                # Handed in a few at a time, so that little is left when this is interrupted.
                if len(answers) >= STATEMENTS_AT_ONCE or number == len(good):
                    done += _hand_in(gate, answers, matched)
                    answers = []
                bar.advance(task)
        return done

    def _answer(self, fleet: Fleet, match: Match, gateways: list[Member]) -> bytes:
        row, asker = match.row, match.asker
        uplink = row.broker or self.broker
        member = asker.member or fleet.enrol(
            "device",
            row.label,
            request=asker.join.request,
            as_software=self.as_software,
            details=lambda _folder: row.details,
            interval_s=self.interval_s,
            valid_days=self.valid_days,
        )
        profiles = self._profiles(row.profiles)
        settings = provision.device_settings(
            fleet,
            member,
            uplink=uplink,
            namespace=row.namespace or self.namespace or fleet.name,
            gateways=gateways,
        )
        # What the recorder would refuse is refused here, before the root signs it.
        recorder_config.check(
            {**settings, **OF_THE_DEVICE, "tls": TLS if uplink.startswith("mqtts:") else None},
            f"line {row.line}",
            "",
        )
        text = json.dumps(settings, indent=2)
        (member.path / provision.CONFIGS["device"]).write_text(text + "\n")
        credential = fleetdir.read_credential(member.credential_path)
        answer = JoinAnswer(
            member.id,
            asker.join.digest,
            credential.statements,
            text,
            provision.device_profiles(profiles),
            self._ca,
        )
        return answer.sign(fleet.signer, fleet.name, member.id)

    # --- showing ----------------------------------------------------------------------------

    def _show(self, askers: list[Asker], refused: list[Refused], matched: Matched) -> None:
        console = screen()
        lines = {match.asker.request.id: match.row for match in matched.good}
        if askers:
            console.print(_table(askers, lines))
        else:
            console.print("nobody waits")
        for one in refused:
            console.print(f"not this fleet's: {one.id_text}: {one.why}", markup=False)
        for row in matched.absent:
            console.print(f"line {row.line}: {row.wanted} has not asked", markup=False)
        _show_wrong(matched.wrong)

    def _report(
        self,
        askers: list[Asker],
        refused: list[Refused],
        matched: Matched,
        done: list[dict[str, Any]],
    ) -> None:
        if self.as_json:
            click.echo(
                json.dumps(
                    {
                        "waiting": [_row(asker) for asker in askers],
                        "matched": [match.row.line for match in matched.good],
                        "approved": done,
                        "absent": [row.line for row in matched.absent],
                        "refused_lines": [vars(one) for one in matched.wrong],
                        "refused_requests": [vars(one) for one in refused],
                    }
                )
            )
            return
        if self.dry_run:
            click.echo(f"{len(matched.good)} would be enrolled; nothing was done (--dry-run)")
        elif done:
            click.echo(f"{len(done)} enrolled and handed to the gateway")


def _hand_in(
    gate: Gate, answers: list[tuple[Match, bytes]], matched: Matched
) -> list[dict[str, Any]]:
    done: list[dict[str, Any]] = []
    reasons = gate.hand_in([answer for _, answer in answers]) if answers else []
    for (match, _), reason in zip(answers, reasons, strict=True):
        if reason is None:
            label, line = match.row.label, match.row.line
            done.append({"label": label, "id": match.asker.id_text, "line": line})
        else:
            matched.wrong.append(
                joincsv.Wrong(match.row.line, f"the gateway refuses the answer: {reason}")
            )
    return done


def _show_wrong(wrong: list[joincsv.Wrong]) -> None:
    for one in wrong:
        screen().print(f"line {one.line} is refused: {one.why}", markup=False)


def _table(askers: list[Asker], lines: dict[bytes, joincsv.Row]) -> Table:
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("line", "serial", "thumbprint", "held in, and what shows it"):
        table.add_column(column, overflow="fold", no_wrap=column == "thumbprint")
    for asker in askers:
        row = lines.get(asker.request.id)
        counted = asker.counted
        shown = [CUSTODIES[counted.level], counted.why(), *counted.shown]
        if asker.member is not None:
            shown.append(f"enrolled already, as {asker.member.label}")
        table.add_row(
            "" if row is None else f"{row.line}: {row.label}",
            _plain(asker.serial or ""),
            asker.id_text,
            _plain("; ".join(filter(None, shown))),
        )
    return table


def _row(asker: Asker) -> dict[str, Any]:
    counted = asker.counted
    return {
        "id": asker.id_text,
        "serial": asker.serial,
        "since_ms": asker.since_ms,
        "custody": CUSTODIES[counted.level],
        "claimed": CUSTODIES[counted.claimed],
        "shown": counted.shown,
        "not_proven": counted.not_proven,
        "enrolled_as": None if asker.member is None else asker.member.label,
    }


def _plain(text: str) -> str:
    # What strangers wrote must not be read as markup, nor move the cursor.
    return "".join(c if c.isprintable() else "?" for c in text).replace("[", "\\[")
