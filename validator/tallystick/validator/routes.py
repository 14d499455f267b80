"""One row a route: what the service answers and what the OpenAPI document says come from it."""

from dataclasses import dataclass
from typing import Any

from tallystick.validator import answers, pageanswers, statusread, stories
from tallystick.validator.limits import (
    PAGE_ROWS_DEFAULT,
    PAGE_ROWS_MAX,
    QUERY_TEXT_CHARS_MAX,
    VERDICTS_WAIT_S_MAX,
)

COSE = "application/cose"
CBOR = "application/cbor"
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
EVENTS = "text/event-stream"
HTML = "text/html; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
STYLE = "text/css; charset=utf-8"
OCTETS = "application/octet-stream"


@dataclass(frozen=True)
class Parameter:
    """One part of a path or a query."""

    name: str
    where: str
    says: str
    schema: dict[str, Any]
    required: bool = False


@dataclass(frozen=True)
class Route:
    """`answer` is the type of a JSON answer, a media type, or "" for none (204).

    bodies: needs a reader's token; operators: needs an operator's.
    """

    method: str
    path: str
    name: str
    summary: str
    answer: type | str
    says: str
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = (400,)
    bodies: bool = False
    # What a POST takes: what it is, and its media type.
    takes: tuple[str, str] | None = None
    # The type of what it takes, where that is JSON.
    takes_type: type | None = None
    operators: bool = False


def _octets(size: int) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^[A-Za-z0-9_-]{{{(size * 4 + 2) // 3}}}$"}


def _count(least: int, most: int | None, default: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "integer", "minimum": least, "default": default}
    if most is not None:
        found["maximum"] = most
    return found


def _path(name: str, says: str, schema: dict[str, Any]) -> Parameter:
    return Parameter(name, "path", says, schema, required=True)


def _query(name: str, says: str, schema: dict[str, Any]) -> Parameter:
    return Parameter(name, "query", says, schema)


def _needed(name: str, says: str, schema: dict[str, Any]) -> Parameter:
    return Parameter(name, "query", says, schema, required=True)


_SIZE = {"type": "integer", "minimum": 1}
_TEXT = {"type": "string", "minLength": 1, "maxLength": QUERY_TEXT_CHARS_MAX}
_LIMIT = _query("limit", "Rows of a page.", _count(1, PAGE_ROWS_MAX, PAGE_ROWS_DEFAULT))
_STATE = _query("state", "Only of this state.", {"type": "string", "enum": list(answers.STATES)})
_NAMESPACE = _path("namespace", "The site or organisation that names its tasks.", _TEXT)
_INTERACTION = _path("id", "The interaction id.", _octets(16))
_HOLD = _path("name", "What it is called.", _TEXT)
_ID = _path("id", "An id of a device, gateway or validator.", _octets(32))

ROUTES = (
    Route("POST", "/v1/batches", "batch", "Take a gateway's batch.", CBOR,
          "The batch answer (docs/protocol.md, 6.2).", (),
          (400, 403, 408, 409, 413, 415, 429, 503),
          takes=("A batch (docs/protocol.md, 6.2), Content-Encoding: zstd.", COSE)),
    Route("POST", "/v1/credentials", "credentials", "Take key changes that a fleet root signed.",
          answers.Published, "What became of each credential (docs/protocol.md, 8.1).", (),
          (400, 408, 413, 415, 429, 503),
          takes=("A publication (docs/protocol.md, 8.1).", CBOR)),
    Route("GET", "/v1/checkpoint", "checkpoint", "The newest log checkpoint, a C2SP note.", TEXT,
          "The note, with the cosignatures that it has.", (), (503,)),
    Route("GET", "/checkpoint", "log_checkpoint", "A checkpoint with cosignatures (tlog-tiles).",
          TEXT, "The note (docs/protocol.md, 8.3).", (), (503,)),
    Route("GET", "/tile/{tile}", "tile", "A tile or an entry bundle of the log (tlog-tiles).",
          OCTETS, "Hashes, or entries after their lengths.", (
              _path("tile", "LEVEL/INDEX or entries/INDEX, with .p/WIDTH or without; it has "
                    "slashes.", {"type": "string", "maxLength": 64}),
          ), (404,)),
    Route("POST", "/add-checkpoint", "add_checkpoint", "Cosign another log's checkpoint "
          "(tlog-witness).", TEXT, "The signature line (docs/protocol.md, 8.4).", (),
          (400, 403, 404, 408, 409, 413, 415, 422, 503),
          takes=("A request to cosign (docs/protocol.md, 8.4).", "text/plain")),
    Route("GET", "/v1/witnessed", "witnessed", "What was cosigned last of each witnessed log.",
          answers.Witnessed, "Checkpoints, and two trees of one log where it showed them."),
    Route("GET", "/v1/entries", "entries", "Entries of the log.", answers.Entries, "A page.", (
        _query("start", "Index of the first one.", _count(0, None, 0)),
        _query("count", "How many at most.", _count(1, PAGE_ROWS_MAX, PAGE_ROWS_DEFAULT)),
    )),
    Route("GET", "/v1/receipts/{digest}", "receipt", "The receipt of a logged statement.", COSE,
          "A COSE Receipt (RFC 9942).", (_path("digest", "Its digest.", _octets(32)),), (400, 404)),
    Route("GET", "/v1/devices", "devices", "Who is known.", answers.Devices, "A page.", (
        _query("subject", "Which of them.",
               {"type": "string", "enum": ["device", "gateway", "validator"], "default": "device"}),
        _query("after", "The last id of the page before.", _octets(32)),
        _LIMIT,
    )),
    Route("GET", "/v1/devices/{id}", "device", "One of them.", answers.Device, "It.", (_ID,),
          (400, 404)),
    Route("GET", "/v1/devices/{id}/forks", "forks", "What it contradicted, with the proofs.",
          answers.Forks, "None, when it never did.", (_ID,)),
    Route("GET", "/v1/devices/{id}/credential", "credential", "Its enrolment and key changes.",
          CBOR, "A credential (docs/protocol.md, 3.3).", (_ID,), (400, 404)),
    Route("GET", "/v1/devices/{id}/consistency", "consistency",
          "That its log at one size is a prefix of that at another, or what it was instead.",
          answers.Consistency, "Both roots and the path.", (
              _ID,
              _needed("epoch", "The epoch of the log.", _octets(8)),
              _needed("from", "The smaller size.", _SIZE),
              _needed("to", "The larger size, or the same.", _SIZE),
          ), (400, 404)),
    Route("GET", "/v1/heads", "heads", "The newest head of each log, to follow.", answers.Heads,
          "A page, in the order in which they were logged.", (
              _query("after", "`next` of the page before: an index of the log.",
                     _count(0, None, 0)),
              _query("device", "Only of this device.", _octets(32)),
              _LIMIT,
          )),
    Route("GET", "/v1/gateways/{id}/heads", "gateway_heads",
          "What a gateway told: signed heads, and its log in between by hashes.",
          stories.GatewayHeads, "At most 8.", (
              _ID,
              _query("after", "`next` of the page before: a size.", _count(0, None, 0)),
          ), (400,)),
    Route("GET", "/v1/forks", "fork_proofs", "Fork proofs, the newest first.", answers.ForkProofs,
          "At most 256."),
    Route("GET", "/v1/interactions", "interactions", "Party sets and their newest findings.",
          answers.Interactions, "A page.", (
              _STATE,
              _query("namespace", "Only of this namespace.", _TEXT),
              _query("after", "`next` of the page before.", _count(0, None, 0)),
              _LIMIT,
          )),
    Route("GET", "/v1/interactions/{namespace}/{id}/findings", "findings",
          "The findings that were signed on it.", pageanswers.Findings, "In the log's order.",
          (_NAMESPACE, _INTERACTION), (400, 404)),
    Route("GET", "/v1/interactions/{namespace}/{id}/claims", "claims",
          "What its claims say, as text.", pageanswers.ClaimBodies, "Those of the scope.",
          (_NAMESPACE, _INTERACTION), (400, 401, 403), bodies=True),
    Route("GET", "/v1/interactions/{namespace}/{id}", "interaction", "One interaction.",
          answers.Interaction, "Its party sets and claims, without bodies.",
          (_NAMESPACE, _INTERACTION), (400, 404)),
    Route("GET", "/v1/verdicts", "verdicts", "Verdicts with their receipts, to follow.",
          answers.Verdicts, "A page.", (
              _query("after", "`next` of the page before: an index of the log.",
                     _count(0, None, 0)),
              _query("device", "Only those with this party.", _octets(32)),
              _STATE,
              _query("wait", "Whole seconds to wait for the first one, where there is none.",
                     _count(0, VERDICTS_WAIT_S_MAX, 0)),
              _LIMIT,
          )),
    Route("GET", "/v1/verdicts/events", "verdict_events",
          "Verdicts as server-sent events; `Last-Event-ID` resumes.", EVENTS,
          "Events `verdict`: the id is the log's index, the data a Verdict.", (
              _query("after", "An index of the log; `Last-Event-ID` counts before it.",
                     _count(0, None, 0)),
              _query("device", "Only those with this party.", _octets(32)),
              _STATE,
          )),
    Route("GET", "/v1/evidence/{namespace}/{id}", "evidence",
          "The evidence file of an interaction, for `tally verify`.", CBOR,
          "An evidence file (docs/protocol.md, 7).", (_NAMESPACE, _INTERACTION), (400, 401, 404),
          bodies=True),
    Route("GET", "/v1/evidence/records/{device}/{epoch}/{index}", "record",
          "The evidence file of one record; no neighbour's salt is in it.", CBOR,
          "An evidence file (docs/protocol.md, 7).", (
              _path("device", "Its maker.", _octets(32)),
              _path("epoch", "The epoch of its log.", _octets(8)),
              _path("index", "Its index.", _count(0, None, 0)),
          ), (400, 401, 404), bodies=True),
    Route("POST", "/v1/segments", "segments", "What a gateway lost of its own fleet's records.",
          CBOR, "Segments of one stretch each (docs/protocol.md, 8.8).", (),
          (400, 403, 408, 413, 415, 429, 503),
          takes=("A segment request (docs/protocol.md, 8.8).", COSE)),
    Route("POST", "/v1/erasures", "erasures", "Erase bodies on a fleet root's order.",
          answers.Erased, "What was erased, and where that is logged (docs/protocol.md, 6.6).", (),
          (400, 403, 408, 409, 413, 415, 429, 503),
          takes=("An erasure (docs/protocol.md, 6.6).", COSE)),
    Route("GET", "/v1/holds", "holds", "What is on hold; for operators.", answers.Holds,
          "All of them.", (), (401,), operators=True),
    Route("PUT", "/v1/holds/{name}", "hold", "Put bodies on hold; for operators.", answers.Holds,
          "All that are on hold now.", (_HOLD,), (400, 401, 408, 409, 413, 415, 429, 503),
          takes=("What is held, and why.", JSON), takes_type=answers.HoldWanted, operators=True),
    Route("DELETE", "/v1/holds/{name}", "lift", "End a hold; for operators.", "",
          "It is lifted.", (_HOLD,), (400, 401, 404), operators=True),
    Route("GET", "/v1/policy", "policy", "Under which rules the log admits statements.", COSE,
          "A registration policy (docs/protocol.md, 6.8).", (
              _query("entry", "The one before this entry; else the newest.", _count(0, None, 0)),
          ), (400, 404)),
    Route("GET", "/v1/search", "search", "Devices by id or tag; interactions by id, task, item.",
          pageanswers.Search, "What was found; items for readers only.", (
              _needed("q", "What is looked for.", _TEXT),
          )),
    Route("GET", "/", "page", "The page for people.", HTML, "HTML.", (), ()),
    Route("GET", "/ui/app.js", "page_script", "Its script.", SCRIPT, "JavaScript.", (), ()),
    Route("GET", "/ui/style.css", "page_style", "Its style.", STYLE, "CSS.", (), ()),
    Route("GET", "/v1/status", "status", "What is held, what is refused and why.",
          statusread.Status, "Counts."),
    Route("GET", "/healthz", "health", "Alive.", answers.Health, "Yes.", (), ()),
    Route("GET", "/readyz", "ready", "Takes batches.", statusread.Ready, "Yes.", (), (503,)),
    Route("GET", "/openapi.json", "openapi", "This document.", JSON, "It.", (), ()),
)  # fmt: skip
