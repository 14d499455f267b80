"""A line is one request that a recorder can be asked, or one TallyError says why it is not."""

from tallystick.evidence.cbor import decode
from tallystick.evidence.decisionwriter import encode_decision
from tallystick.evidence.errors import TallyError
from tallystick.evidence.eventwriter import encode_event
from tallystick.tools._exact import plain
from tallystick.tools.serve.lines import KINDS, parse

SEEDS = (
    b"""{"decision": {"model": "net@1", "inputs": {"d_m": 0.1, "n": [1, -2.50, 1e-3, null, true]},
    "constraints": {"v": [0.4, "<=", "0.5", "m/s"]}, "output": {"a": "grip"}}}""",
    b'{"decision": {"model": ["net", "1", {"$bytes": "AAAA"}], "context": {}, "urgent": true}}',
    b'{"event": {"name": "app.start", "details": {"x": 9223372036854775807}}}',
    b"""{"claim": {"profile": "handover@1", "role": "giver", "claim": "released", "task": "o-1",
    "peers": {"receiver": ["AAAA"]}, "relied": ["AAAA"], "interval": [1, 2], "item": "p"}}""",
    b'{"accept": "hAAA"}',
    b'{"health": true}',
)


def target(data: bytes) -> None:
    try:
        request = parse(data)
        words = dict(request.words)
        words.pop("urgent", None)
        if request.kind == "decision":
            model = words.pop("model")
            named = {"inputs": {}, "constraints": {}, "context": {}, "output": None, **words}
            plain(decode(encode_decision(1, model, **named)))
        elif request.kind == "event":
            plain(decode(encode_event(1, words["name"], words.get("details", {}))))
    except TallyError:
        return
    assert request.kind in KINDS
