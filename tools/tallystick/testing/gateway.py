"""A gateway in memory at the end of a recorder's uplink: it verifies and keeps all."""

from collections.abc import Iterable

from tallystick.evidence import enrolment, segment
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.kinds import HELLO
from tallystick.evidence.segment import verify_segment
from tallystick.evidence.tree import Tree
from tallystick.evidence.welcome import Welcome
from tallystick.hw.signer import Signer
from tallystick.recorder.memory_uplink import MemoryUplink

# Any time after the enrolments' begin; nothing here depends on the machine's clock.
TIME_MS = 1_790_000_000_000


class MemoryGateway(MemoryUplink):
    """The uplink of one recorder: what it is handed is verified, kept, and receipted at once."""

    def __init__(self, signer: Signer, fleet: str, enrolled: bytes) -> None:
        super().__init__()
        self._signer = signer
        self._fleet = fleet
        subject = enrolment.parse(enrolled)
        self._device = subject.id
        self._key = subject.key
        self._time_ms = TIME_MS
        self._tree = Tree()
        # Every record by its index, of the one log that there is.
        self.records: list[bytes] = []
        # The first thing that did not verify.
        self.error: TallyError | None = None

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        """To the gateway, which answers at once; it is called by whoever polls the recorder."""
        handed = super().publish_pieces(size, pieces)
        for message in self.take():
            try:
                self._answer(message)
            except TallyError as error:
                self.error = self.error or error
        return handed

    def _answer(self, message: bytes) -> None:
        if message[1] == HELLO:
            self.deliver(Welcome(self._time_ms, None, None).encode())
            return
        received = segment.parse(message)
        if received.to > self._tree.size:
            if received.first != self._tree.size:
                raise Unverified("no-history", "the recorder left records out")
            verified = verify_segment(received, self._key, self._tree)
            for stretch in verified.stretches:
                self.records.extend(item for item in stretch.items if isinstance(item, bytes))
            self._tree = verified.tree
            if len(self.records) != self._tree.size:
                raise Unverified("elided", "the recorder sent hashes in place of records")
        self._time_ms += 1
        size, root, bodies = self._tree.size, self._tree.root(), True
        receipt = CustodyReceipt(received.epoch, 0, size, root, bodies, self._time_ms)
        self.deliver(receipt.sign(self._signer, self._fleet, self._device))
