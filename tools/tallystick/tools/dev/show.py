"""What came, as one line for people or one object for programs."""

from typing import Any

from rich.text import Text

from tallystick.evidence import record, verdict
from tallystick.evidence.accepted import AcceptedHalf
from tallystick.evidence.claim import Claim
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import TallyError
from tallystick.evidence.event import Event
from tallystick.evidence.half import parse as parse_half
from tallystick.evidence.ids import interaction_id
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.number import to_text
from tallystick.gateway.following import Refusal, Taken
from tallystick.tools._exact import encoded, plain
from tallystick.tools.dev.place import Place
from tallystick.verify._text import printable
from tallystick.verify.eventtext import told

VALUE_CHARS_MAX = 120
ID_CHARS_SHOWN = 8
NAME_CHARS = 10
TASKS_MAX = 1_000
STYLES = {"matched": "bold green", "conflicting": "bold red"}


class Shown:
    """One thing that came: `line` for people, `fields` for programs."""

    def __init__(self, who: str, what: str, style: str, said: str, fields: dict[str, Any]) -> None:
        self.line = Text.assemble(
            (f"{who:<{NAME_CHARS}} ", "cyan"), (f"{what:<10} ", style), (said, "")
        )
        self.fields = {"what": what, **fields}


class Show:
    """Knows robots by their names, and tasks by what was claimed."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._names: dict[bytes, str] = {}
        self._tasks: dict[bytes, str] = {}

    def name(self, device: bytes) -> str:
        """A robot's name; the begin of its id, where it is none of ours."""
        if device not in self._names:
            # Robots may be enrolled while this runs.
            self._names = {member.id: member.label for member in self._place.robots()}
        return self._names.get(device, device_text(device)[:ID_CHARS_SHOWN])

    def taken(self, one: Taken) -> Shown:
        """A record in custody."""
        who = self.name(one.device)
        fields = {
            "robot": who,
            "device": device_text(one.device),
            "epoch": b64u(one.epoch),
            "index": one.index,
        }
        try:
            read = record.parse(one.record)
        except TallyError as error:
            said = f"#{one.index} is refused by validators: {error}"
            return Shown(who, "record", "red", said, {**fields, "reason": error.reason})
        what, style, said, more = self._record(read)
        return Shown(who, what, style, f"#{one.index} {said}", {**fields, **more})

    def _record(self, read: Any) -> tuple[str, str, str, dict[str, Any]]:
        if isinstance(read, Decision):
            return "decision", "bold", _decision(read), _decision_fields(read)
        if isinstance(read, Claim):
            return "claim", "yellow", *self._claim(read)
        if isinstance(read, AcceptedHalf):
            claim = record.parse(parse_half(read.half).record)
            said, more = self._claim(claim) if isinstance(claim, Claim) else ("", {})
            return "accepted", "yellow", said, more
        if isinstance(read, Event):
            details = plain(read.details)
            said = told(read) or f"{read.event} {_short(details) if details else ''}".rstrip()
            return "event", "dim", said, {"event": read.event, "details": details}
        return "record", "dim", type(read).__name__, {}

    def _claim(self, claim: Claim) -> tuple[str, dict[str, Any]]:
        given = claim.interaction
        task = given if isinstance(given, str) else b64u(given)
        if len(self._tasks) >= TASKS_MAX:
            self._tasks.clear()
        self._tasks[interaction_id(claim.profile, claim.namespace, given)] = task
        parties = {
            role: [self.name(one) for one in ids] for role, ids in sorted(claim.parties.items())
        }
        others = ", ".join(
            f"{role} {' '.join(names)}" for role, names in parties.items() if role != claim.role
        )
        said = f"{claim.claim}, as {claim.role}, of {printable(task, VALUE_CHARS_MAX)}"
        said += f" with {others}" if others else ""
        return said, {
            "task": task,
            "role": claim.role,
            "claim": claim.claim,
            "parties": parties,
            "fields": plain(claim.fields),
        }

    def verdict(self, validator: str, data: bytes) -> Shown:
        """A verdict, which the gateway has verified."""
        found = verdict.parse(data).finding
        task = self._tasks.get(found.interaction, b64u(found.interaction))
        failed = [check for check in found.checks if check.result != "pass"]
        missing = [(row[0], self.name(row[1]), row[3]) for row in found.missing]
        parties = {role: [self.name(i) for i in ids] for role, ids in sorted(found.parties.items())}
        said = [printable(task, VALUE_CHARS_MAX)]
        said += [f"{role} {' '.join(names)}" for role, names in parties.items()]
        said += [f"{check.name}: {printable(check.reason, VALUE_CHARS_MAX)}" for check in failed]
        said += [f"{role} {name} is {absence}" for role, name, absence in missing]
        style = STYLES.get(found.state, "bold yellow")
        fields = {
            "state": found.state,
            "task": task,
            "interaction": b64u(found.interaction),
            "validator": validator,
            "parties": parties,
            "failed": [{"check": check.name, "reason": check.reason} for check in failed],
            "missing": [
                {"role": role, "robot": name, "absence": absence} for role, name, absence in missing
            ],
        }
        shown = Shown("verdict", found.state, style, ", ".join(said), fields)
        shown.fields["what"] = "verdict"
        return shown

    def refusal(self, one: Refusal) -> Shown:
        """Something that the gateway did not take."""
        who = self.name(one.device) if one.device else "gateway"
        said = f"{one.reason}: {printable(one.message, VALUE_CHARS_MAX)}"
        fields = {"robot": who, "reason": one.reason, "message": one.message, "count": one.count}
        return Shown(who, "refused", "red", said, fields)


def _decision(read: Decision) -> str:
    name, version, _ = read.model
    parts = [f"{name}@{version}" if version else name]
    for constraint, (value, operator, limit, unit, held) in read.constraints.items():
        rule = f"{constraint} {to_text(value)} {operator} {to_text(limit)}"
        parts.append(f"{rule}{f' {unit}' if unit else ''}{'' if held else ' NOT HELD'}")
    parts.append(f"-> {_short(plain(read.output))}")
    return printable("  ".join(parts), 4 * VALUE_CHARS_MAX)


def _decision_fields(read: Decision) -> dict[str, Any]:
    return {
        "model": plain(read.model),
        "inputs": plain(read.inputs),
        "constraints": plain(read.constraints),
        "context": plain(read.context),
        "output": plain(read.output),
    }


def _short(value: Any) -> str:
    return printable(encoded(value).decode(), VALUE_CHARS_MAX)
