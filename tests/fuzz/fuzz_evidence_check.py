"""A changed evidence file is refused by one of our errors, or its outcome is that of the whole."""

from support.story import NOW_S, Story
from tallystick.evidence.errors import TallyError
from tallystick.verify import Policy, check, load_evidence

_STORY = Story()
_POLICY = Policy.parse(_STORY.root_policy)
SEEDS = (_STORY.evidence().encode(),)
_STATES = check(load_evidence(SEEDS[0]), _POLICY, NOW_S).party_sets[0].states


def target(data: bytes) -> None:
    try:
        report = check(load_evidence(data), _POLICY, NOW_S)
    except TallyError:
        return
    assert [one.states for one in report.party_sets] == [_STATES]
