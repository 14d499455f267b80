"""log_state.parse returns a state that encode() and parse() give again, or raises Malformed."""

from support import examples as ex
from support.devices import Fleet
from tallystick.evidence.errors import Malformed
from tallystick.evidence.tree import Tree
from tallystick.tools import log_state
from tallystick.tools.log_state import Followed, Found, State
from tallystick.verify.logcheck import LogCheck

ENROLLED = Fleet("acme").device().credential[0]


def _seed() -> bytes:
    check = LogCheck(ex.ORIGIN, ex.note_key())
    for at, entry in enumerate([*ex.validator_log(), ENROLLED]):
        check.entry(at, entry)
    tree = Tree()
    tree.extend(ex.log_leaves())
    log = Followed(
        ex.log_checkpoint(), ex.note_key(), check.receipt_key, tree, check.time_ms, check.told
    )
    found = Found("device-fork", ["a", "b"], "says", 7, "")
    return log_state.encode(State({"http://a": log}, [found]))


SEEDS = (_seed(), log_state.encode(State()))


def target(data: bytes) -> None:
    try:
        state = log_state.parse(data)
    except Malformed:
        return
    again = log_state.parse(log_state.encode(state))
    assert log_state.encode(again) == log_state.encode(state)
