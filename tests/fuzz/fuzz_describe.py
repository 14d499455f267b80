"""describe returns a dict with what is and is not verified, or raises one of our errors."""

from support.story import Story, disclose
from tallystick.evidence.errors import TallyError
from tallystick.verify.describe import describe

_STORY = Story()
SEEDS = (
    _STORY.giver.segment(),
    disclose(_STORY.giver, 3, embed=True).encode(),
    _STORY.validators[0].entries[-1],
    _STORY.validators[0].note().encode(),
)


def target(data: bytes) -> None:
    try:
        described = describe(data)
    except TallyError:
        return
    assert described["bytes"] == len(data)
    assert described["object"]
