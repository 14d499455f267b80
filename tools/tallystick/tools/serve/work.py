"""What is done for a line, and the line that answers it."""

import sys
import traceback
from typing import Any

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import b64u, device_text
from tallystick.recorder import Recorder, told
from tallystick.recorder.told import Told
from tallystick.tools._exact import encoded, plain
from tallystick.tools.serve.lines import LINE_BYTES_MAX, Request
from tallystick.verify._text import printable

MESSAGE_CHARS_MAX = 1_000
TOO_LONG = Malformed("too-large", f"a line is longer than {LINE_BYTES_MAX:,} bytes")
_WHY = {
    "store-full": "not recorded: the journal is full, or the flash fails",
    "flash": "not recorded: the profile's file cannot be read",
    "memory": "not recorded: there is no memory",
    "frozen-epoch": "lost: the journal began a new epoch meanwhile",
    "key-behind": "recorded and not signed: too many checkpoints wait for the key",
    told.UNSYNCED: "recorded, and lost if the service ends now: the flash does not sync",
    told.LATE: "recorded and not signed in time; the key signs it when it can",
}


class NotDone(TallyError):
    """A fault of journal or key; `recorded`: the record is in the log for all that."""

    def __init__(self, done: Told) -> None:
        super().__init__(done.fault, _WHY.get(done.fault, "see health"))
        self.recorded = done.recorded


def ok(what: dict[str, Any]) -> bytes:
    """An answer that it is done."""
    return encoded({"ok": what}) + b"\n"


def failed(error: TallyError) -> bytes:
    """An answer that it is not."""
    said = {
        "reason": error.reason,
        "message": printable(error.message, MESSAGE_CHARS_MAX),
        "recorded": isinstance(error, NotDone) and error.recorded,
    }
    return encoded({"error": said}) + b"\n"


def done(tally: Recorder, request: Request) -> bytes:
    """Do what a line asks for; its answer."""
    try:
        return ok(_DO[request.kind](tally, request.words))
    except TallyError as error:
        return failed(error)
    except Exception as error:  # noqa: BLE001 - a defect answers one line and ends nothing
        traceback.print_exc(file=sys.stderr)
        return failed(TallyError("internal-error", f"a defect of ours: {type(error).__name__}"))


def _decision(tally: Recorder, words: dict[str, Any]) -> dict[str, Any]:
    return _placed(told.decision(tally, **words))


def _event(tally: Recorder, words: dict[str, Any]) -> dict[str, Any]:
    return _placed(told.event(tally, **words))


def _claim(tally: Recorder, words: dict[str, Any]) -> dict[str, Any]:
    made = told.claim(tally, words)
    return {**_placed(made), "half": b64u(made.value)}


def _accept(tally: Recorder, words: dict[str, Any]) -> dict[str, Any]:
    kept = told.accept(tally, words["half"])
    placed = _placed(kept)
    half = kept.value
    claim = half.claim
    given = claim.interaction
    return {
        **placed,
        "accepted": {
            "device": device_text(half.device),
            "epoch": b64u(half.epoch),
            "index": half.index,
            "reference": b64u(half.reference),
            "status": half.status,
            "namespace": claim.namespace,
            "task" if type(given) is str else "interaction": plain(given),
            "profile": b64u(claim.profile),
            "role": claim.role,
            "claim": claim.claim,
            "fields": plain(claim.fields),
        },
    }


def _health(tally: Recorder, _words: dict[str, Any]) -> dict[str, Any]:
    return {
        "device": device_text(tally.device),
        "epoch": b64u(tally.epoch),
        "backlog": tally.backlog(),
        "health": tally.health.as_dict(),
    }


_DO = {
    "decision": _decision,
    "event": _event,
    "claim": _claim,
    "accept": _accept,
    "health": _health,
}


def _placed(record: Told) -> dict[str, Any]:
    if record.fault:
        raise NotDone(record)
    return {"epoch": b64u(record.epoch), "index": record.index, "signed": record.signed}
