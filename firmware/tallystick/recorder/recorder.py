"""Recorder: what a robot's program uses."""

# A thin shell over ledger (log, journal, key), sender, link and downlink.  Nothing here waits for
# the network; only `urgent`, claim() and accept() wait, for one signature.

import sys

from tallystick.evidence.errors import Malformed, TallyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from tallystick.evidence.half import VerifiedHalf
    from tallystick.recorder.claims import Claims
    from tallystick.recorder.downlink import Downlink
    from tallystick.recorder.files import Files
    from tallystick.recorder.handle import Handle
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.link import Link
    from tallystick.recorder.sending import Sender
    from tallystick.recorder.uplink import Uplink

MICROPYTHON = sys.implementation.name == "micropython"
POLL_MS = 10
ACCEPTS_MAX = 16
_NOTHING: "dict[str, Any]" = {}


class Recorder:
    """Make it with open()."""

    def __init__(
        self,
        config: "dict[str, Any]",
        ledger: "Ledger",
        credential: list[bytes],
        uplink: "Uplink | None",
    ) -> None:
        from tallystick.evidence.decision import encode_decision  # noqa: PLC0415  # see opening.py

        self._encode = encode_decision
        self._config = config
        self._ledger = ledger
        self._credential = credential
        self.device = ledger.device
        self.health = ledger.health
        self._clock = ledger.clock
        # The hot path of a microcontroller has no lock to take.
        self._add = ledger.add_alone if MICROPYTHON else ledger.add
        self._wait_ms = int(config["wait_s"] * 1000)
        self._worker: "Any" = None
        self._turn: "Any" = ledger.lock.__class__()
        self._accepts: "list[Generator[None, None, Any]]" = []
        self._claims: "Claims | None" = None
        self._link: "Link | None" = None
        self._sender: "Sender | None" = None
        self._downlink: "Downlink | None" = None
        if uplink is None and config["uplink"] is not None:
            from tallystick.recorder.uplink import open_uplink  # noqa: PLC0415  # may be given

            uplink = open_uplink(config, config["device"])
        if uplink is not None:
            self._open_link(uplink)

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
        recorder = cls(loaded, ledger, credential, uplink)
        if background if background is not None else not MICROPYTHON:
            from tallystick.recorder.background import Background  # noqa: PLC0415  # CPython's

            recorder._worker = Background(recorder)
        return recorder

    def _open_link(self, uplink: "Uplink") -> None:
        from tallystick.recorder.downlink import Downlink  # noqa: PLC0415  # costs heap
        from tallystick.recorder.gateways import pinned_gateways  # noqa: PLC0415  # costs heap
        from tallystick.recorder.link import Link  # noqa: PLC0415  # costs heap
        from tallystick.recorder.sending import Sender  # noqa: PLC0415  # costs heap

        if not self._credential:
            raise Malformed("bad-config", "an uplink needs the credential of an enrolled device")
        ledger = self._ledger
        config = self._config
        self._sender = Sender(ledger, int(config["resend_s"] * 1000))
        self._link = Link(uplink, ledger, self._credential)
        gateways = pinned_gateways(config["gateways"])
        self._downlink = Downlink(ledger, self._sender, self._link, gateways, config)

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
        record = self._encode(
            self._clock.uptime_ms(),
            model,
            inputs or _NOTHING,
            constraints or _NOTHING,
            context or _NOTHING,
            output,
        )
        if not urgent:
            self._add(record)
            return
        from tallystick.recorder.handle import Handle  # noqa: PLC0415  # rarely

        handle = Handle()
        self._ledger.add_sealed(record, handle)
        self._wait(handle)

    def event(self, name: str, **details: "Any") -> None:
        """Record an event of the application: a name with a dot, or `config`."""
        if "." not in name and name != "config":
            raise Malformed("bad-value", "an application's event has a name with a dot in it")
        self._ledger.event(name, details)

    def claim(
        self,
        profile: str,
        role: str,
        claim: str,
        peers: "dict[str, Any]",
        task: str | None = None,
        interaction: bytes | None = None,
        relied: "list[Any] | tuple[Any, ...]" = (),
        constraints: "dict[str, Any] | None" = None,
        interval: "tuple[int, ...] | None" = None,
        wait: bool = True,  # noqa: FBT001, FBT002  # a word of the interface
        **fields: "Any",
    ) -> "Any":
        """The half to hand over; b"" when no signature could be had in time. Else a Handle."""
        if (task is None) == (interaction is None):
            raise Malformed("bad-value", "a claim needs a task, or an interaction of 16 bytes")
        handle = self._claiming().claim(
            profile,
            task if task is not None else interaction or b"",
            role,
            claim,
            peers,
            list(relied),
            constraints or {},
            interval,
            fields,
        )
        if not wait:
            return handle
        return handle.result() if self._wait(handle) else b""

    def accept(self, half: bytes, wait: bool = True) -> "Any":  # noqa: FBT001, FBT002
        """Verify a counterpart's half, keep and send it; raises what is wrong with it."""
        from tallystick.recorder.handle import Handle  # noqa: PLC0415  # costs heap

        handle = Handle()
        work = self._claiming().accepting(half, handle)
        if not wait:
            if len(self._accepts) >= ACCEPTS_MAX:
                raise TallyError("over-quota", "too many halves wait: poll() first")
            self._accepts.append(work)
            self._wake()
            return handle
        from tallystick.evidence.steps import finish  # noqa: PLC0415  # costs heap

        verified: "VerifiedHalf | None" = finish(work)
        if verified is None:
            raise handle.error or TallyError("bad-half", "the half was not accepted")
        self._wait(handle)
        return verified

    def _claiming(self) -> "Claims":
        if self._claims is None:
            from tallystick.recorder.claims import Claims  # noqa: PLC0415  # costs heap

            config = self._config
            self._claims = Claims(
                self._ledger,
                config["namespace"],
                config["profiles"],
                self._credential,
                config["roots"],
            )
        return self._claims

    def _wait(self, handle: "Handle") -> bool:
        # A dead key must not hold a robot for ever: then health tells, and the record stays.
        end = self._clock.uptime_ms() + self._wait_ms
        while not handle.ready:
            if not self._step_ledger() and not handle.ready:
                if self._clock.uptime_ms() >= end:
                    self._ledger.fault("key", "late")
                    return False
                _rest()
        self._wake()
        return handle.error is None

    # Working.

    def poll(self, budget_ms: int = POLL_MS) -> bool:
        """Seal, sign, send and verify for about so long; False when there was nothing to do."""
        end = self._clock.uptime_ms() + budget_ms
        worked = False
        while self._step():
            worked = True
            if self._clock.uptime_ms() >= end:
                break
        return worked

    def _step_ledger(self) -> bool:
        with self._turn:
            return self._ledger.step(self._clock.uptime_ms())

    def _step(self) -> bool:
        with self._turn:
            now = self._clock.uptime_ms()
            worked = self._ledger.step(now)
            if self._accepts:
                worked = self._step_accepting() or worked
            if self._link is not None and self._sender is not None and self._downlink is not None:
                try:
                    worked = self._link.step(now) or worked
                    worked = self._downlink.step(now) or worked
                    if self._link.greeted:
                        worked = self._sender.step(self._link.uplink, now) or worked
                except (TallyError, OSError, ValueError, MemoryError) as error:
                    self._link.lost()
                    self._ledger.fault("uplink", getattr(error, "reason", "io"), event=False)
                    worked = True
            return worked

    def _step_accepting(self) -> bool:
        try:
            next(self._accepts[0])
        except StopIteration:
            self._accepts.pop(0)
        return True

    def _wake(self) -> None:
        if self._worker is not None:
            self._worker.wake()

    def flush(self) -> bool:
        """Seal, and wait until every record is signed; False when the key or flash is late."""
        end = self._clock.uptime_ms() + self._wait_ms
        while self._accepts:
            self._step()
        if self._ledger.log.unsealed:
            self._ledger.seal()
        while not self._ledger.settled():
            if not self._step_ledger() and self._clock.uptime_ms() >= end:
                return False
        self._wake()
        return True

    def backlog(self) -> int:
        """Records that no verified custody receipt covers yet."""
        log = self._ledger.log
        return log.tree.size - (log.custody[0] if log.custody is not None else 0)

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
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self.flush()
        try:
            self._ledger.journal.close(self._ledger.lock)
        except OSError as error:
            self._ledger.fault("flash", "close", event=False)
            self.health.last_fault += " (%s)" % error
        if self._link is not None:
            self._link.uplink.close()
        self._ledger.signer.close()


def _rest() -> None:
    import time  # noqa: PLC0415  # only while waiting for a slow key

    time.sleep(0.001)
