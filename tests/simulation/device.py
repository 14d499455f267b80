"""A device: the real recorder over a flash that loses what was not synced, and a radio."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from simulation.links import Links
from simulation.seam import START_MS
from simulation.site import site
from simulation.truth import SEGMENT, Truth
from simulation.world import Node, World, Wrong
from support.devices import key
from support.powercut import CutFiles, Power, PowerCutError
from tallystick.evidence.errors import TallyError, TransportError
from tallystick.recorder import Recorder
from tallystick.recorder.uplink import Uplink

POLL_MS = 20_000
SOON_MS = 20
BOOT_MS = (2_000, 20_000)
STEPS_MAX = 20_000
SIGNATURE_BYTES = 64


class Clock:
    """Uptime since this boot, and the wall clock of the device as it is now."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self._began_ms = int(device.world.now_ms)

    def uptime_ms(self) -> int:
        return int(self._device.world.now_ms) - self._began_ms

    def wall(self) -> tuple[int, int]:
        return START_MS + int(self._device.world.now_ms) + self._device.skew_ms, 1000


class Radio(Uplink):
    """The link to the gateway where the device is; it promises nothing."""

    def __init__(self, device: "Device") -> None:
        self._device = device
        self.down: list[bytes] = []

    def connect(self) -> None:
        device = self._device
        if not device.links.open(device.name, device.at):
            raise TransportError("no-link", "nobody is in reach")
        self.connected = True
        self.session += 1

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        device = self._device
        if not self.connected:
            raise TransportError("no-link", "nobody is in reach")
        message = b"".join(pieces)
        if len(message) != size:
            raise Wrong(f"{device.name}: a message of {len(message)} bytes, not {size}")
        device.power.cut()
        # A segment ends with its checkpoint, and that with its signature.
        if message[1] == SEGMENT and not device.files.holds(message[-SIGNATURE_BYTES:]):
            raise Wrong(f"{device.name}: sent before it was on flash")
        device.truth.sent(device.id, message)
        device.world.note(device.name, f"sends {message[1]} to {device.at}", message)
        device.transmit(device, device.at, message)
        device.power.cut()
        return True

    def receive(self) -> bytes | None:
        return self.down.pop(0) if self.connected and self.down else None

    def close(self) -> None:
        self.connected = False


class Device(Node):
    """A machine that records; `do` is how everything happens on it."""

    def __init__(
        self,
        world: World,
        name: str,
        at: str,
        links: Links,
        truth: Truth,
        folder: Path,
        transmit: "Callable[[Device, str, bytes], None]",
    ) -> None:
        super().__init__(world, name)
        self.at = at
        self.links = links
        self.truth = truth
        self.transmit = transmit
        signer, self.credential = site().devices[name]
        self.id = signer.public_key().thumbprint()
        self.journal = folder / name
        self.config = site().device_config(
            name,
            folder,
            checkpoint_records=world.chance.choice((3, 5, 8)),
            checkpoint_s=world.chance.choice((10, 30, 60)),
            # Small files are freed early, and a small journal may get full.
            journal_bytes=world.chance.choice((16_384, 24_576, 65_536)),
            resend_s=world.chance.choice((30, 60)),
        )
        self.number = 0
        # The power goes at this operation of the flash, counted from now on.
        self.cut_in: int | None = None
        self.tally: Recorder | None = None
        self._soon = False

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """The power comes."""
        # A program's own key: a signature that was under way is gone with the program.
        signer = key(f"simulation: {self.name}")
        self.power = Power(self.cut_in, self.world.chance.getrandbits(32))
        self.cut_in = None
        self.files = CutFiles(str(self.journal), self.power)
        self.radio = Radio(self)
        self.born()

        def opens() -> None:
            self.tally = Recorder.open(
                self.config,
                uplink=self.radio,
                signer=signer,
                clock=Clock(self),
                background=False,
                files=self.files,
            )

        self._guarded(opens)
        self._tick()

    def _tick(self) -> None:
        self.do(lambda tally: None)
        self.later(POLL_MS, self._tick)

    def stop(self) -> None:
        """Its program ends at once; what was written is there, since the power stays."""
        self.tally = None
        self.gone()

    def off_for(self, delay_ms: float) -> None:
        """The power goes now and comes back."""
        self.stop()
        self.files.lose()
        self.world.after(delay_ms, self.start)

    def restart(self) -> None:
        """The program ends and is started again."""
        self.stop()
        self.world.after(self.world.chance.randint(*BOOT_MS), self.start)

    def wiped(self) -> None:
        """The flash loses everything; the key survives."""
        self.stop()
        self.truth.wiped(self.id)
        shutil.rmtree(self.journal)
        self.world.after(self.world.chance.randint(*BOOT_MS), self.start)

    def cut_soon(self, operations: int) -> None:
        """The power goes in the middle of the flash's n-th operation from now."""
        self.power.cut_at = self.power.count + operations

    # --- acting ----------------------------------------------------------------------------

    def do(self, what: Callable[[Recorder], None]) -> None:
        """Do it, then let the recorder work until it has nothing to do."""

        def done() -> None:
            tally = self.tally
            if tally is None:
                return
            what(tally)
            for _ in range(STEPS_MAX):
                if not tally.step():
                    return
            raise Wrong(f"{self.name}: its recorder does not come to rest")

        if self.on:
            self._guarded(done)

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            with self.world.acting(self):
                act()
        except PowerCutError:
            self.world.note(self.name, "power cut")
            self.off_for(self.world.chance.randint(*BOOT_MS))

    def deliver(self, message: bytes) -> None:
        """To its radio."""
        if not self.on:
            return
        self.radio.down.append(message)
        if not self._soon:
            self._soon = True
            self.world.after(SOON_MS, self._read)

    def _read(self) -> None:
        self._soon = False
        self.do(lambda tally: None)

    def move(self, gateway: str) -> None:
        """Into the reach of another gateway."""
        self.world.note(self.name, f"moves to {gateway}")
        self.at = gateway
        if self.on:
            self.radio.connected = False
            self.radio.down.clear()

    # --- what it does ----------------------------------------------------------------------

    def decide(self, count: int = 1, *, urgent: bool = False) -> None:
        """Decisions with numbers that only rise."""

        def act(tally: Recorder) -> None:
            for _ in range(count):
                self.number += 1
                number = self.number
                tally.decision("m@1", {"n": number}, output="go", urgent=urgent)
                if urgent and not self.complaints():
                    self.truth.promised_urgent(self.id, number)

        self.do(act)

    def claim(
        self, task: str, role: str, peer: bytes, x: int, give: Callable[[bytes], None]
    ) -> None:
        """Its part of a handover; the half goes to `give`."""
        other, claim = ("receiver", "released") if role == "giver" else ("giver", "acquired")

        def act(tally: Recorder) -> None:
            half = tally.claim(
                "handover@1",
                task=task,
                role=role,
                claim=claim,
                peers={other: peer},
                item="box",
                position_m=[x, 2],
            )
            if half:
                self.truth.promised_half(self.id, half)
                give(half)

        self.do(act)

    def accept(self, half: bytes) -> None:
        """A counterpart's half came; an honest one is never refused."""

        def act(tally: Recorder) -> None:
            try:
                tally.accept(half)
            except TallyError as error:
                raise Wrong(f"{self.name}: an honest half is refused: {error}") from error

        self.do(act)

    def complaints(self) -> list[str]:
        """What went wrong in its own eyes since it started, beside its link."""
        faults = [] if self.tally is None else self.tally.health.faults
        return [fault for fault in faults if not fault.startswith("uplink:")]

    def idle(self) -> bool:
        """Whether everything that it recorded is covered by a custody receipt."""
        return self.tally is not None and not self.tally.backlog()
