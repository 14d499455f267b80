"""Recorder: what a robot's program uses."""

# A thin shell over ledger (log, journal, key), sender, link and downlink.  Nothing here waits for
# the network; only `urgent`, claim() and accept() wait, for one signature.

import sys

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.recorder.files import forget
from tallystick.recorder.health import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeVar

    from tallystick.evidence.credential import Keyring
    from tallystick.evidence.halfmaker import Maker
    from tallystick.recorder.downlink import Downlink
    from tallystick.recorder.files import Files
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.link import Link
    from tallystick.recorder.sending import Sender
    from tallystick.recorder.uplink import Uplink

    F = TypeVar("F")

MICROPYTHON = sys.implementation.name == "micropython"
POLL_MS = 10
# What makes room in a full journal is not tried again at once where the heap was too small for it.
ROOM = ("recorder.compacting", "recorder.rewriting", "recorder.swapping", "recorder.telling")
ROOM_RETRY_MS = 1000
# Loaded for a claim or a half, and forgotten by a microcontroller.
WAITING = ("recorder.claiming", "recorder.accepting", "recorder.accepted", "recorder.handle")
_NOTHING: "dict[str, Any]" = {}


class _Lost:
    # A Handle (recorder/handle.py) where the heap has not even room for its code; made in advance.
    ready = True
    kept = False
    error = None
    fault = "memory"
    value = b""

    def result(self) -> bytes:
        return self.value


_LOST = _Lost()


class Recorder:
    """Make it with open()."""

    def __init__(
        self,
        config: "dict[str, Any]",
        ledger: "Ledger",
        credential: list[bytes],
        uplink: "Uplink | None",
    ) -> None:
        from tallystick.evidence.decisionwriter import encode_decision  # noqa: PLC0415  # see opening.py

        self._encode = encode_decision
        self._config = config
        self._ledger = ledger
        self._credential = credential
        self.device = ledger.device
        self.health = ledger.health
        self._clock = ledger.clock
        # The hot path of a microcontroller has no lock to take.
        self._add = ledger.put if MICROPYTHON else ledger.put_safely
        if not MICROPYTHON:
            self._worker: "Any" = None
        self._refuse: "Any" = None
        if ledger.journal.refuses:
            from tallystick.recorder.refusing import check  # noqa: PLC0415  # where it is so

            self._refuse = check
        self._turn: "Any" = ledger.lock.__class__()
        self.each_step: "Callable[[], Any] | None" = None
        self.accepts: "list[Generator[None, None, Any]]" = []
        # Who was verified by accept().
        self.makers: "list[Maker]" = []
        self.keyring: "Keyring | None" = None
        self._link: "Link | None" = None
        self._sender: "Sender | None" = None
        self._downlink: "Downlink | None" = None
        if uplink is None and config["uplink"] is not None:
            from tallystick.recorder.uplink import open_uplink  # noqa: PLC0415  # may be given

            uplink = open_uplink(config, config["device"])
        if uplink is not None:
            if not credential:
                raise Malformed("bad-config", "an uplink needs an enrolled device's credential")
            from tallystick.recorder.linking import open_link  # noqa: PLC0415  # costs heap

            self._link, self._sender, self._downlink = open_link(uplink, ledger, credential, config)

    @classmethod
    def open(
        cls,
        config: "str | dict[str, Any] | None" = None,
        uplink: "Uplink | None" = None,
        signer: "Any" = None,
        clock: "Any" = None,
        background: bool | None = None,  # noqa: FBT001  # a word of the interface
        files: "Files | None" = None,
    ) -> "Recorder":
        """From tallystick.json; a thread polls on CPython unless `background` is False."""
        from tallystick.recorder import opening  # noqa: PLC0415  # forgotten again

        loaded, ledger, credential = opening.open_all(config, signer, clock, files)
        del opening
        if ledger is None:
            from tallystick.recorder import off  # noqa: PLC0415  # seldom

            return off.begin(loaded)
        _compare_counter(ledger, loaded)
        while ledger.write():
            pass
        recorder = cls(loaded, ledger, credential, uplink)
        if MICROPYTHON and loaded["monitor"] is not None:
            from tallystick.recorder.monitoring import Monitor  # noqa: PLC0415  # where asked for

            Monitor(recorder)
        if not MICROPYTHON and background is not False:
            from tallystick.recorder.background import Background  # noqa: PLC0415  # CPython's

            recorder._worker = Background(recorder)
        return recorder

    # Recording.

    def decision(
        self,
        model: "Any",
        inputs: "dict[str, Any] | None" = None,
        constraints: "dict[str, Any] | None" = None,
        output: "Any" = None,
        context: "dict[str, Any] | None" = None,
        urgent: bool = False,  # noqa: FBT001, FBT002  # a word of the interface
    ) -> None:
        """Record one; constraints: name -> (value, operator, limit[, unit]). Urgent ones wait."""
        try:
            record = self._encode(
                self._clock.uptime_ms(),
                model,
                inputs or _NOTHING,
                constraints or _NOTHING,
                context or _NOTHING,
                output,
            )
            if self._refuse is not None:
                self._refuse(self._ledger, record)
            if not urgent:
                self._add(record)
                return
        except MemoryError:
            self._ledger.unheld()
            return
        from tallystick.recorder.handle import add_urgent  # noqa: PLC0415  # rarely

        add_urgent(self, record)

    # A board has no thread, and takes decides() from recorder.deciding, so that it has not to lie
    # in the heap of who does not use it.
    if not MICROPYTHON:

        def decides(
            self,
            model: "Any",
            inputs: "Any" = (),
            constraints: "Any" = None,
            output: "Any" = None,
            context: "Any" = None,
        ) -> "Callable[[F], F]":
            """Decorate a function whose call is a decision; inputs: names, or (name, how)."""
            from tallystick.recorder.deciding import decides  # noqa: PLC0415  # where used

            return decides(self, model, inputs, constraints, output, context)

        def wake(self) -> None:
            """There is work for the thread, where there is one."""
            if self._worker is not None:
                self._worker.wake()

        def stop(self) -> None:
            """End the thread."""
            worker, self._worker = self._worker, None
            if worker is not None:
                worker.close()

    def event(self, name: str, **details: "Any") -> None:
        """Record an event of the application: a name with a dot, or `config`."""
        if "." not in name and name != "config":
            raise Malformed("bad-value", "an application's event has a name with a dot in it")
        from tallystick.evidence.eventwriter import encode_event  # noqa: PLC0415  # costs heap

        try:
            record = encode_event(self._clock.uptime_ms(), name, details)
            if self._refuse is not None:
                self._refuse(self._ledger, record)
            self._add(record)
        except MemoryError:
            self._ledger.unheld()

    def claim(
        self,
        profile: str,
        role: str,
        claim: str,
        peers: "dict[str, Any]",
        wait: bool = True,  # noqa: FBT001, FBT002  # a word of the interface
        **fields: "Any",
    ) -> "Any":
        """The half to hand over; b"" when no signature could be had in time. Else a Handle.

        Beside the profile's fields: task or interaction, relied, constraints, interval.
        """
        try:
            from tallystick.recorder.claiming import claim as claims  # noqa: PLC0415  # costs heap

            return claims(self, profile, role, claim, peers, wait, fields)
        except MemoryError:
            # Not even its code had room: nothing was done.
            self._ledger.starved("claim")
            return b"" if wait else _LOST
        finally:
            forget(WAITING)

    def accept(self, half: bytes, wait: bool = True) -> "Any":  # noqa: FBT001, FBT002
        """Verify a counterpart's half, keep and send it; raises what is wrong with it."""
        try:
            from tallystick.recorder.accepting import accept as accepts  # noqa: PLC0415  # as above

            return accepts(self, half, wait)
        except MemoryError:
            self._ledger.starved("accept")
            return None if wait else _LOST
        finally:
            forget(WAITING)

    # Working.

    def poll(self, budget_ms: int = POLL_MS) -> bool:
        """Seal, sign, send and verify for about so long; False when there was nothing to do."""
        end = self._clock.uptime_ms() + budget_ms
        worked = False
        while self.step():
            worked = True
            if self._clock.uptime_ms() >= end:
                break
        return worked

    def on_step(self, call: "Callable[[], Any] | None") -> None:
        """Call this after each bounded step, wherever there are any: it may feed a watchdog."""
        self.each_step = call

    def step_ledger(self) -> bool:
        """One bounded step towards a signature."""
        with self._turn:
            worked = self._step_ledger(self._clock.uptime_ms())
        if self.each_step is not None:
            self.each_step()
        return worked

    def _step_ledger(self, now_ms: int) -> bool:
        try:
            if self._ledger.journal.doubt:
                from tallystick.recorder import losing  # noqa: PLC0415  # the flash failed

                return losing.step(self, now_ms)
            worked = self._ledger.step(now_ms)
            if self._ledger.wants_room() and (self._ledger._signing is None or not MICROPYTHON):
                from tallystick.recorder import compacting  # noqa: PLC0415  # the journal is full

                worked = compacting.step(self, now_ms) or worked
        except MemoryError:
            forget(ROOM)
            self._ledger.journal.retry_ms = now_ms + ROOM_RETRY_MS
            self._ledger.starved("step")
            return False
        return worked

    def step(self) -> bool:
        """One round of bounded steps; False when there was nothing to do."""
        with self._turn:
            now = self._clock.uptime_ms()
            worked = self._step_ledger(now)
            if self.accepts:
                worked = self._step_accepting() or worked
            if self._link is not None and self._sender is not None and self._downlink is not None:
                try:
                    worked = self._link.step(now) or worked
                    worked = self._downlink.step(now) or worked
                    if self._link.greeted:
                        worked = self._sender.step(self._link, now) or worked
                except (TallyError, OSError, ValueError, MemoryError) as error:
                    self._unlinked(error)
                    worked = True
        if self.each_step is not None:
            self.each_step()
        return worked

    def _unlinked(self, error: Exception) -> None:
        self._link.lost()  # type: ignore[union-attr]  # there is one
        try:
            self._ledger.fault("uplink", reason_of(error), error)
        except MemoryError:
            self._ledger.starved("uplink")

    def _step_accepting(self) -> bool:
        try:
            next(self.accepts[0])
        except StopIteration:
            self.accepts.pop(0)
        return True

    def flush(self) -> bool:
        """Seal, and wait until every record is signed; False when the key or flash is late."""
        try:
            from tallystick.recorder.waiting import flush as flushes  # noqa: PLC0415  # costs heap

            return flushes(self)
        except MemoryError:
            self._ledger.starved("flush")
            return False

    def backlog(self) -> int:
        """Records that no verified custody receipt covers yet."""
        ledger = self._ledger
        log = ledger.log
        with ledger.gate:
            size = ledger.written + ledger.queued()
        return size - (log.custody[0] if log.custody is not None else 0)

    @property
    def epoch(self) -> bytes:
        """The log's epoch, 8 bytes."""
        return self._ledger.log.epoch

    @property
    def received(self) -> "list[tuple[str, bytes]]":
        """The newest validators' receipts and verdicts, as received and not verified here."""
        return self._downlink.received if self._downlink is not None else []

    def listen(self, listener: "Callable[[str, bytes], None]") -> None:
        """Call `listener(name, message)` for each `notarised` and `verdict`, not verified here."""
        if self._downlink is not None:
            self._downlink.listener = listener

    def close(self) -> None:
        """Seal, sign, sync, and give thread, journal, link and key back."""
        try:
            from tallystick.recorder.waiting import close as closes  # noqa: PLC0415  # once

            closes(self)
        except MemoryError:
            # As after a power cut: what is on flash is there when it is opened again.
            self._ledger.starved("close")


def _compare_counter(ledger: "Ledger", config: "dict[str, Any]") -> None:
    # Here, since what opened is forgotten by now.
    counter = None
    try:
        counter = ledger.signer.counter()
        known = counter is not None or ledger.log.intent is not None
    except Exception:  # noqa: BLE001  # a driver's; it is asked again
        known = True
    if known:
        from tallystick.recorder.counting import Counting  # noqa: PLC0415  # where there is one

        ledger.counting = Counting(ledger, counter, config)
        ledger.counting.compare(ledger.clock.uptime_ms())
