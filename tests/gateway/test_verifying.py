"""A verifying process that is none of ours any more: bounds of time and of memory."""

from collections.abc import Callable, Iterator

import pytest

from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.gateway import limits, verifying
from tallystick.gateway.verifier import Asked
from tallystick.gateway.verifying import Ended, Process, Stuck

# More than a pipe holds.
ASKED = [Asked([], bytes(SEGMENT_BYTES_MAX))] * (1 + limits.AHEAD_PIPE_BYTES // SEGMENT_BYTES_MAX)
NEVER_READS = "import time\ntime.sleep(600)\n"
WRITES_WITHOUT_END = "import os\nwhile True:\n    os.write(1, bytes(1 << 16))\n"
# It says that an answer comes which is larger than any may be.
SAYS_TOO_MUCH = "import os, time\nos.write(1, b'\\xff' * 64)\ntime.sleep(600)\n"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Process]]:
    """A process whose program is given."""
    made: list[Process] = []

    def start(program: str) -> Process:
        monkeypatch.setattr(verifying, "_BOOT", program)
        made.append(Process())
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_one_that_never_reads_is_stuck(
    child: Callable[[str], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AHEAD_START_S_MAX", 0.3)
    process = child(NEVER_READS)
    with pytest.raises(Stuck):
        process.ask(ASKED)
    with pytest.raises(Stuck):
        process.answer()


def test_one_that_reads_nothing_and_always_has_a_byte_is_stuck(
    child: Callable[[str], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So there is something to do whenever one looks.
    monkeypatch.setattr(limits, "AHEAD_START_S_MAX", 0.5)
    drips = "import os\nos.write(1, bytes(1 << 15))\nwhile True:\n    os.write(1, b'x')\n"
    with pytest.raises(Stuck):
        child(drips).ask(ASKED)


def test_one_that_writes_without_end_is_ended_and_fills_no_memory(
    child: Callable[[str], Process],
) -> None:
    process = child(WRITES_WITHOUT_END)
    with pytest.raises(Ended, match="without end"):
        process.ask(ASKED)
    most = limits.AHEAD_PORTIONS_MAX * (limits.AHEAD_ANSWER_BYTES_MAX + (1 << 18))
    assert limits.AHEAD_ANSWER_BYTES_MAX < len(process._got) <= most


def test_an_answer_that_would_be_too_large_is_not_read(child: Callable[[str], Process]) -> None:
    with pytest.raises(Ended, match="an answer of"):
        child(SAYS_TOO_MUCH).answer()
