"""Who waits at a gateway, checked, and which line of the CSV file each is."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tallystick.evidence import enrolmentrequest, joinrequest, keycustody
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.enrolmentrequest import VerifiedRequest
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.joinrequest import VerifiedJoin
from tallystick.evidence.keycustody import Counted
from tallystick.evidence.keys import b64u, device_text
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.joincodes import Invited
from tallystick.tools.joincsv import Row, Wrong
from tallystick.tools.joingate import Waiting


@dataclass(frozen=True)
class Asker:
    """A device that shows a code of this fleet's and that it has its key.

    member: where its key is enrolled already; counted: how it is held, as far as that is shown.
    """

    join: VerifiedJoin
    request: VerifiedRequest
    since_ms: int
    counted: Counted
    member: Member | None

    @property
    def id_text(self) -> str:
        """43 characters."""
        return device_text(self.request.id)

    @property
    def serial(self) -> str | None:
        """What it says of itself, which proves nothing."""
        said = self.request.details.get("serial")
        return said if isinstance(said, str) and said.isprintable() and said else None


@dataclass(frozen=True)
class Refused:
    """A request that is not this fleet's to grant, and why."""

    id_text: str
    why: str


@dataclass(frozen=True)
class Match:
    """A line and the device that it is."""

    row: Row
    asker: Asker


@dataclass
class Matched:
    """Every line and every device, once."""

    good: list[Match]
    wrong: list[Wrong]
    absent: list[Row]
    unlisted: list[Asker]


def check(
    fleet: Fleet, waiting: Iterable[Waiting], codes: Iterable[Invited], now_s: int
) -> tuple[list[Asker], list[Refused]]:
    """Verify what a gateway has: by the keys that only the fleet has, not by the gateway's word."""
    keys = {code.name: code.fleet_key for code in codes}
    enrolled = {
        period.key.thumbprint(): member
        for member in fleet.members()
        for period in member.identity.keys
    }
    found: list[Asker] = []
    refused: list[Refused] = []
    for one in waiting:
        name = "a request"
        try:
            asked = joinrequest.parse(one.data)
            key = keys.get(asked.code)
            if key is None:
                what = f"made with a code that this fleet does not know ({b64u(asked.code)})"
                raise Unverified("not-authorised", what)
            join = asked.verify_fleet(key)
            request = enrolmentrequest.parse(join.request).verify(fleet.name)
            name = device_text(request.id)
        except TallyError as error:
            refused.append(Refused(name, f"{error.reason}: {error.message}"))
            continue
        counted = keycustody.count(
            request.key, request.id, fleet.name, fleet.key, request.custody, request.evidence, now_s
        )
        member = enrolled.get(request.key.thumbprint())
        found.append(Asker(join, request, one.since_ms, counted, member))
    return found, refused


def match(rows: Sequence[Row], wrong: Sequence[Wrong], askers: Sequence[Asker]) -> Matched:
    """Bring lines and devices together; what does not fit is refused by its line's number."""
    by_id = {asker.request.id: asker for asker in askers}
    by_serial: dict[str, list[Asker]] = defaultdict(list)
    for asker in askers:
        if asker.serial is not None:
            by_serial[asker.serial].append(asker)
    made = Matched([], list(wrong), [], [])
    meant: set[bytes] = set()
    for row in rows:
        if row.thumbprint is not None:
            named = [by_id[row.thumbprint]] if row.thumbprint in by_id else []
        else:
            named = by_serial.get(row.serial or "", [])
        meant.update(asker.request.id for asker in named)
        if not named:
            other = by_serial.get(row.serial or "", [])
            if other:
                meant.update(asker.request.id for asker in other)
                why = f"serial {row.serial} is said by {other[0].id_text}, another thumbprint"
                made.wrong.append(Wrong(row.line, why))
            else:
                made.absent.append(row)
            continue
        why = _misfit(row, named)
        if why:
            made.wrong.append(Wrong(row.line, why))
        else:
            made.good.append(Match(row, named[0]))
    made.unlisted = [asker for asker in askers if asker.request.id not in meant]
    made.wrong.sort(key=lambda one: one.line)
    return made


def _misfit(row: Row, named: Sequence[Asker]) -> str:
    """Why a line is not followed; empty where it fits."""
    if len(named) > 1:
        ids = ", ".join(asker.id_text for asker in named)
        return f"{len(named)} devices say serial {row.serial}: name the thumbprint, of {ids}"
    asker = named[0]
    if row.serial is not None and asker.serial is not None and row.serial != asker.serial:
        return f"the device with this thumbprint says serial {asker.serial}, not {row.serial}"
    if asker.member is not None and (asker.member.label, asker.member.kind) != (
        *(row.label, "device"),
    ):
        return f"its key is enrolled already, as {asker.member.kind} {asker.member.label}"
    if asker.counted.level < row.custody:
        shown = CUSTODIES[asker.counted.level]
        why = asker.counted.why()
        return f"its key is held in {shown}, not {CUSTODIES[row.custody]}" + (
            f" ({why})" if why else ""
        )
    return ""
