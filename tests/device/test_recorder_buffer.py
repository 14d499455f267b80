"""decision() touches no file; what has no room in memory keeps its hash, salted for its place."""

from _folder import within
from _keyfile import config
from tallystick.recorder import Recorder
from tallystick.recorder.files import Files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

COUNT = 20
UPTIME_MS = 7


class CountedFiles(Files):
    calls = 0

    def write(self, handle: "BinaryIO", data: bytes) -> None:
        self.calls += 1
        Files.write(self, handle, data)


class StillClock:
    def uptime_ms(self) -> int:
        return UPTIME_MS

    def wall(self) -> None:
        return None


def test_a_full_buffer_keeps_hashes_and_says_how_many() -> None:
    def run(path: str) -> None:
        files = CountedFiles(path + "/journal")
        tally = Recorder.open(
            config(path, checkpoint_s=1000, buffer_bytes=256),
            files=files,
            clock=StillClock(),
            background=False,
        )
        ledger = tally._ledger
        before = files.calls
        size = ledger.log.tree.size
        for number in range(COUNT):
            tally.decision("m", {"n": number}, output="0123456789")
        assert files.calls == before and ledger.log.tree.size == size
        elided = tally.health.elided
        assert 4 < elided < COUNT and tally.health.dropped == 0
        while ledger.queue or ledger.over:
            tally.step()
        assert files.calls > before and ledger.leaves == 0 and ledger.run is None
        # All of them, and the gap behind them.
        assert ledger.log.tree.size == size + COUNT + 1
        seed = ledger.log.seed
        tally.close()
        names = [name for name in files.names() if name.endswith(".tally")]
        with open(path + "/journal/" + names[-1], "rb") as file:
            data = file.read()
        # Not in the heap before.
        from tallystick.evidence import leaf
        from tallystick.evidence.decisionwriter import encode_decision

        # The last of them was no longer written, and can be shown from its copy.
        record = encode_decision(UPTIME_MS, "m", {"n": COUNT - 1}, {}, {}, "0123456789")
        salt = leaf.salt(seed, size + COUNT - 1)
        assert leaf.leaf(salt, record) in data and record not in data

    within(run)
