"""parse_policy returns a policy that an empty report does not fulfil, or raises Malformed."""

from support import examples as ex
from support.story import Story
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.verify import Policy, Report

WITNESSES = f"""
[witnesses]
at_least = 1
age = "1 h"
[[witnesses.accept]]
organisation = "City"
key = "{ex.note_key().text()}"
"""
SEEDS = (
    Story().policy.encode(),
    Story().root_policy.encode(),
    (Story().policy + WITNESSES).encode(),
)


def target(data: bytes) -> None:
    try:
        policy = Policy.parse(data.decode("latin-1"))
    except Malformed:
        return
    try:
        policy.demand(Report())
    except Unverified:
        return
    raise AssertionError
