"""A record as one line for people, and as an object for programs."""

from typing import Any

from tallystick.evidence import record
from tallystick.evidence.accepted import AcceptedHalf
from tallystick.evidence.claim import Claim
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import TallyError
from tallystick.evidence.event import Event
from tallystick.evidence.keys import b64u
from tallystick.evidence.number import to_text
from tallystick.tools._exact import encoded, plain
from tallystick.verify._text import printable
from tallystick.verify.eventtext import told

VALUE_CHARS_MAX = 120
LINE_CHARS_MAX = 480


def shown(index: int, data: bytes) -> tuple[str, dict[str, Any]]:
    """(line, fields) of a record at this index of its log."""
    try:
        read = record.parse(data)
    except TallyError as error:
        return f"#{index} is no record: {error}", {"index": index, "reason": error.reason}
    what, said, fields = _parts(read)
    line = printable(f"#{index} {what:<8} {said}", LINE_CHARS_MAX)
    return line, {"index": index, "what": what, "uptime_ms": read.uptime_ms, **fields}


def _parts(read: Any) -> tuple[str, str, dict[str, Any]]:
    if isinstance(read, Decision):
        return "decision", *_decision(read)
    if isinstance(read, Claim):
        given = read.interaction
        task = given if isinstance(given, str) else b64u(given)
        fields = {
            "task": task,
            "role": read.role,
            "claim": read.claim,
            "fields": plain(read.fields),
        }
        return "claim", f"{read.claim}, as {read.role}, of {task}", fields
    if isinstance(read, AcceptedHalf):
        return "accepted", f"a counterpart's half of {len(read.half)} bytes", {}
    if isinstance(read, Event):
        details = plain(read.details)
        said = told(read) or f"{read.event} {encoded(details).decode() if details else ''}"
        return "event", said, {"event": read.event, "details": details}
    return "record", type(read).__name__, {}


def _decision(read: Decision) -> tuple[str, dict[str, Any]]:
    name, version, _ = read.model
    parts = [f"{name}@{version}" if version else name]
    parts += [f"{key}={_short(value)}" for key, value in read.inputs.items()]
    for constraint, (value, operator, limit, unit, held) in read.constraints.items():
        rule = f"{constraint} {to_text(value)} {operator} {to_text(limit)}"
        parts.append(f"{rule}{f' {unit}' if unit else ''}{'' if held else ' NOT HELD'}")
    parts.append(f"-> {_short(read.output)}")
    fields = {
        "model": plain(read.model),
        "inputs": plain(read.inputs),
        "constraints": plain(read.constraints),
        "context": plain(read.context),
        "output": plain(read.output),
    }
    return "  ".join(parts), fields


def _short(value: Any) -> str:
    return printable(encoded(plain(value)).decode(), VALUE_CHARS_MAX)
