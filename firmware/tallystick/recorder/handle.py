# The promise of claim() and accept() with wait=False, and of urgent decisions.

from tallystick.evidence.errors import CouldNotCheck, TallyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.recorder.ledger import Ledger


class Handle:
    """`ready` once the signature is on flash, or the matter has failed; then `result()`."""

    def __init__(self) -> None:
        self.ready = False
        self.error: TallyError | None = None
        # The signed checkpoint, kept from the signature to its sync.
        self.checkpoint = b""
        # Where the record lies: index, salt, inclusion path.
        self.place: "tuple[int, bytes, list[bytes]]" = (0, b"", [])
        # Makes the result of the signed checkpoint.
        self.make: "Callable[[bytes], Any] | None" = None
        self._result: "Any" = None

    def result(self) -> "Any":
        """A claim's half, or an accepted half; raises what went wrong, or not-ready."""
        if not self.ready:
            raise CouldNotCheck("not-ready", "the signature is not there yet: poll() until ready")
        if self.error is not None:
            raise self.error
        return self._result

    def done(self) -> None:
        """The signature is on flash."""
        make, self.make = self.make, None
        if make is not None:
            try:
                self._result = make(self.checkpoint)
            except TallyError as error:
                self.error = error
        self.ready = True

    def fail(self, error: TallyError) -> None:
        """There will be no signature."""
        self.error = error
        self.make = None
        self.ready = True


def add_sealed(ledger: "Ledger", record: bytes, handle: Handle) -> None:
    """Append and seal in one; the handle gets its place and waits, or fails."""
    with ledger.lock:
        log = ledger.log
        # What may go before the record goes now, so that the path is that of its place.
        if ledger.dropped:
            from tallystick.recorder.troubles import add_gap  # noqa: PLC0415  # rarely

            add_gap(ledger)
        if log.stretch_room <= 0:
            ledger.seal()
        index = log.tree.size
        # A newest leaf's left-hand siblings are the perfect subtrees before it (RFC 9162, 2.1.3).
        path = log.tree.edge[:]
        path.reverse()
        if not ledger.add(record):
            handle.fail(TallyError("store-full", "the record could not be kept: see health"))
            return
        handle.place = (index, log.salt, path)
        ordinal = ledger.seal()
        if ordinal:
            ledger.waiters.append((ordinal, handle))
        else:
            handle.fail(TallyError("key-behind", "no checkpoint could be made: see health"))
