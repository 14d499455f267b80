"""The registration policies of a log are one chain, signed by its validator."""

import pytest

from support import circles
from support import examples as ex
from tallystick.evidence import registration
from tallystick.evidence.errors import TallyError
from tallystick.verify.logcheck import LogCheck

LOG = ex.validator_log()
FIRST = circles.policy()
SECOND = circles.policy(previous=registration.parse(FIRST).digest, time_ms=ex.TIME_MS + 1)


def read(entries: list[bytes], first: int = 0) -> LogCheck:
    check = LogCheck(ex.ORIGIN, ex.note_key(), first=first)
    for at, entry in enumerate(entries, first):
        check.entry(at, entry)
    return check


def test_a_chain_is_counted() -> None:
    check = read([*LOG[:2], FIRST, *LOG[2:2], SECOND])
    assert check.counts["registration policies"] == 2
    assert check.not_checked == {}


@pytest.mark.parametrize(
    "policies",
    [[SECOND], [FIRST, FIRST], [FIRST, circles.policy(previous=bytes(32))]],
    ids=["without the first", "a second beginning", "after another"],
)
def test_none_is_slipped_in_or_left_out(policies: list[bytes]) -> None:
    with pytest.raises(TallyError, match="another registration policy"):
        read([*LOG[:2], *policies])


def test_it_is_the_validators_own() -> None:
    made = registration.parse(FIRST)
    made.statement = None
    forged = FIRST[:-1] + bytes([FIRST[-1] ^ 1])
    with pytest.raises(TallyError, match="signature"):
        read([*LOG[:2], forged])
    # By another key, as after a rotation: said, and not believed.
    other = made.sign(ex.GATEWAY, ex.INITECH, ex.VALIDATOR.id)
    check = read([*LOG[:2], other])
    assert check.not_checked == {"registration policies by another key than the genesis names": 1}


def test_who_reads_from_the_middle_says_so() -> None:
    check = read([LOG[1], SECOND], first=1)
    assert check.not_checked["which registration policy was before the first one read"] == 1
