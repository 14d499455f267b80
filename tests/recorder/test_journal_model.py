"""The journal against a model: lists of what was written and of what was synced."""

import os
import shutil
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.powercut import CutFiles, Power
from tallystick.evidence.leaf import leaf, salt
from tallystick.evidence.steps import finish
from tallystick.evidence.tree import root_of
from tallystick.recorder import filing, freeing, stretches
from tallystick.recorder.core import Log
from tallystick.recorder.journal import Journal
from tallystick.recorder.ledger import NoLock
from tallystick.recorder.replay import open_journal

DEVICE = bytes(range(32))
EPOCH = b"epoch-01"
FILE_BYTES = 700


class JournalMachine(RuleBasedStateMachine):
    """Record, seal, sign, sync, free, and lose the power in between."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="tally-model.")
        self.seed = 0
        # Per record its leaf; per payload its size and root.
        self.leaves: list[bytes] = []
        self.payloads: list[tuple[int, bytes]] = []
        self.signed = 0
        self.synced = (0, 0, 0)
        self.released = 0
        self._open()
        self.log = Log(DEVICE, EPOCH)
        filing.begin_file(self.journal, self.log)
        self.sync()

    def _open(self) -> Log | None:
        self.seed += 1
        self.files = CutFiles(self.folder, Power(None, self.seed))
        self.journal = Journal(self.files, 1 << 20, FILE_BYTES)
        return open_journal(self.journal, DEVICE)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(size=st.integers(2, 300), kind=st.sampled_from([0, 1, 2, 3]))
    def record(self, size: int, kind: int) -> None:
        data = bytes([0x84, kind]) + os.urandom(size - 2)
        self.journal.append(self.log.frame(data, os.urandom))
        index = self.log.tree.size
        self.log.added(data)
        self.leaves.append(leaf(salt(self.log.seed, index), data))

    @precondition(lambda self: self.leaves and len(self.log.pending) < 8)
    @rule()
    def seal(self) -> None:
        self.journal.append(self.log.seal(1, None), reserved=True)
        self.log.sealed()
        self.payloads.append((self.log.tree.size, self.log.tree.root()))
        if self.journal.wants_file():
            filing.begin_file(self.journal, self.log)

    @precondition(lambda self: self.log.pending and self.log.pending[0][0] <= self.synced[1])
    @rule()
    def sign(self) -> None:
        ordinal = self.log.pending[0][0]
        self.journal.append(self.log.signature(ordinal, bytes([ordinal & 255]) * 64), reserved=True)
        self.log.signed_one(ordinal)
        self.signed += 1

    @rule()
    def sync(self) -> None:
        self.journal.sync(NoLock())
        self.synced = (len(self.leaves), len(self.payloads), self.signed)

    @precondition(lambda self: self.synced[2] > 1)
    @rule()
    def free(self) -> None:
        size = self.payloads[self.synced[2] - 2][0]
        freeing.release(self.journal, EPOCH, size, self.journal.list[-1].number)
        self.released = freeing.first_index(self.journal, EPOCH)

    @rule()
    def lose_power(self) -> None:
        self.files.lose()
        self._again()

    @rule()
    def restart(self) -> None:
        filing.close(self.journal, NoLock())
        self.synced = (len(self.leaves), len(self.payloads), self.signed)
        self._again()

    def _again(self) -> None:
        found = self._open()
        assert found is not None
        assert self.journal.damage == "", "a power cut is no damage"
        records, payloads, signed = self.synced
        assert records <= found.tree.size <= len(self.leaves)
        assert payloads <= found.ordinal <= len(self.payloads)
        assert signed <= found.signed <= self.signed
        # What is lost was never synced; what is there is what was written.
        del self.leaves[found.tree.size :]
        del self.payloads[found.ordinal :]
        self.signed = found.signed
        self.log = found

    @invariant()
    def the_tree_is_that_of_the_records(self) -> None:
        assert self.log.tree.size == len(self.leaves)
        assert self.log.tree.root() == root_of(self.leaves)
        if self.payloads:
            assert (self.log.sealed_size, self.log.sealed_root) == self.payloads[-1]
        assert self.log.pending == self.log.pending[: len(self.payloads) - self.signed]

    @precondition(lambda self: self.synced[2] > 0 and self.synced[0] == len(self.leaves))
    @rule()
    def read_all_stretches(self) -> None:
        self.sync()
        position = (self.journal.list[0].number, 0)
        size = self.journal.list[0].first
        sizes = []
        while True:
            found = finish(stretches.read_stretch(self.journal, position, size))
            if found is None:
                break
            size = found.to
            sizes.append(size)
            position = (found.number, found.end)
            if found.ordinal <= self.signed:
                signature = finish(
                    stretches.read_signature(self.journal, found.number, found.end, found.ordinal)
                )
                assert signature == bytes([found.ordinal & 255]) * 64
        assert sizes == [one[0] for one in self.payloads][len(self.payloads) - len(sizes) :]


JournalMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestJournal = JournalMachine.TestCase
