"""The host's side of a board on the bench (board.py): starts it, answers it, keeps its history."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from powercut.world import BrokenPromise, Gate, Said, World
from support.station import Fleet, read_credential
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools.micropython import MicroPython

LONG = os.environ.get("TALLY_POWERCUT") == "long"
# Of each flash, in bytes: block, all, and the least that is programmed. MicroPython's own is 32; a
# Raspberry Pi Pico has blocks of 4,096 and programs 256.
Shape = tuple[int, int, int]
FLASHES: tuple[Shape, ...] = ((512, 49152, 32), (1024, 65536, 32), (4096, 131072, 256))
HERE = Path(__file__).parent
HEAP = "8m"
# A command that says nothing for so long hangs.
SILENCE_S = 90
ASKED = "svcu"
KINDS = ASKED + "nahkomfxbpde"


class BoardError(AssertionError):
    """The board's program raised, or ended."""


@dataclass
class Site:
    """A fleet, a device with a P-256 key, and a peer's half for it."""

    fleet: Fleet
    config: dict[str, Any]
    credential: list[bytes]
    signer: Signer
    peer: bytes
    half: bytes

    def world(self) -> World:
        return World(Gate(self.fleet, self.credential), self.signer)


def make_site(folder: Path, **settings: Any) -> Site:
    fleet = Fleet(folder)
    # A chip's key: each signature is another one, so that a second one is seen.
    config = fleet.device(
        "one",
        alg=ES256,
        promised_s=900,
        **{
            "interval_s": 600,
            "checkpoint_records": 4,
            "checkpoint_s": 240,
            "resend_s": 30,
            "wait_s": 0.05,
            "journal_bytes": 24576,
            **settings,
        },
    )
    peer = fleet.device("peer", alg=EDDSA)
    signer = Signer.from_uri(config["key"])
    device = signer.public_key().thumbprint()
    tally = Recorder.open(peer, background=False)
    half = tally.claim(
        "handover@1",
        task="order-peer",
        role="receiver",
        claim="acquired",
        peers={"giver": device},
        item="crate",
        position_m=["1", 2],
    )
    tally.close()
    config = {**config, "key": "file:none", "journal": "/flash/journal"}
    return Site(fleet, config, read_credential(config), signer, tally.device, half)


@dataclass
class Script:
    """What a board did without a cut: how its flash went, and the world after each operation."""

    operations: int = 0
    worlds: list[tuple[int, World]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)

    def world_at(self, operations: int) -> World:
        """As it is when the power goes behind so many operations, and before the next one."""
        chosen = self.worlds[0][1]
        for count, world in self.worlds:
            if count > operations:
                break
            chosen = world
        return chosen.copy()


class Bench:
    """A running board.py; use as a context."""

    def __init__(self, interpreter: MicroPython, library: Path, folder: Path, site: Site) -> None:
        self.site = site
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._argv = interpreter.argv(str(HERE / "board.py"), str(folder), heap=HEAP)
        self._env = interpreter.environment([HERE.parent, library])
        self._flash: Shape | None = None
        self.done = 0

    def __enter__(self) -> "Bench":
        self._process = subprocess.Popen(
            self._argv,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._taken = bytearray()
        # Whether a command is under way.
        self._busy = False
        site = self.site
        key = site.signer.public_key().raw
        self.command("setup", json.dumps(site.config), key, site.peer, site.half)
        if self._flash is not None:
            self.command("flash", *self._flash)
        return self

    def __exit__(self, *args: object) -> None:
        self._process.kill()
        self._process.communicate()

    # --- frames -----------------------------------------------------------------------------

    def _read(self, size: int) -> bytes:
        pipe: IO[bytes] = self._process.stderr  # type: ignore[assignment]  # a pipe
        while len(self._taken) < size:
            if not select.select([pipe], [], [], SILENCE_S)[0]:
                # It says where it is.
                self._process.send_signal(signal.SIGINT)
                time.sleep(1)
                said = os.read(pipe.fileno(), 65536)
                raise BoardError(f"the board said nothing for {SILENCE_S} s: {said!r}")
            data = os.read(pipe.fileno(), 65536)
            if not data:
                self._process.wait(60)
                code = self._process.returncode
                raise BoardError(f"the board ended with code {code}: {bytes(self._taken)!r}")
            self._taken += data
        data = bytes(self._taken[:size])
        del self._taken[:size]
        return data

    def _say(self, data: bytes) -> None:
        pipe: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # a pipe
        pipe.write(len(data).to_bytes(4, "big") + data)

    def frames(self, name: str, *arguments: Any) -> Iterator[tuple[str, int, bytes]]:
        """Give a command; (letter, operations before it, bytes) of each frame until its end."""
        if self._busy:
            # Left in the middle, by a judgement.
            self.__exit__()
            self.__enter__()
        self._busy = True
        self._say(encode([name, *arguments]))
        while True:
            head = self._read(9)
            kind = chr(head[0])
            if kind not in KINDS:
                time.sleep(0.1)
                self._process.kill()
                said = head + self._taken + (self._process.communicate()[1] or b"")
                raise BoardError(f"the board printed {said!r}")
            data = self._read(int.from_bytes(head[5:9], "big"))
            if kind == "e":
                self._busy = False
                return
            yield kind, int.from_bytes(head[1:5], "big"), data

    def command(self, name: str, *arguments: Any) -> None:
        for kind, _, data in self.frames(name, *arguments):
            raise BoardError(f"{kind}: {data.decode(errors='replace')}")

    def handle(self, world: World, kind: str, data: bytes) -> None:
        """Let a frame happen in this world."""
        if kind == "x":
            raise BoardError(data.decode())
        answer = world.happened(kind, data)
        if kind in ASKED:
            self._say(answer or b"")

    # --- commands ---------------------------------------------------------------------------

    def script(self, name: str, shape: Shape) -> Script:
        """A script, without a cut."""
        self._flash = shape
        self.command("flash", *shape)
        script = Script()
        world = self.site.world()
        script.worlds.append((0, world.copy()))
        at = 0
        for kind, count, data in self.frames("script", name):
            if count != at:
                script.worlds.append((at, world.copy()))
                at = count
            script.operations = count
            if kind in "mf":
                script.reports.append(decode(data))
                continue
            self.handle(world, kind, data)
        script.worlds.append((at, world))
        return script

    def cuts(self, script: Script, begin: int, end: int, torn: list[int]) -> Iterator["Case"]:
        """A case for each cut of the script's operations `begin` to `end` (board.py, cuts)."""
        return self._cases(script, None, self.frames("cuts", begin, end, torn))

    def cases(self, script: Script, at: int, name: str, *arguments: Any) -> Iterator["Case"]:
        """Those of another command, which begins with the script's flash behind `at` operations."""
        return self._cases(script, at, self.frames(name, at, *arguments))

    def _cases(
        self, script: Script, at: int | None, frames: Iterator[tuple[str, int, bytes]]
    ) -> Iterator["Case"]:
        case: Case | None = None
        for letter, _, data in frames:
            if letter == "b":
                where, how = decode(data)
                case = Case(where, how, script.world_at(where if at is None else at))
            elif case is None:
                raise BoardError("a frame of no case")
            elif letter == "p":
                # The power goes, and comes back.
                case.before = case.said
                case.said = Said()
            elif letter == "o":
                case.said.opened = decode(data)
            elif letter == "f":
                case.said.ended = decode(data)
            elif letter == "x":
                case.said.raised = data.decode()
            elif letter == "d":
                self.done += 1
                yield case
            else:
                self.handle(case.world, letter, data)


@dataclass
class Case:
    """One fault: where and how; the world behind it; what the board said before it and after."""

    where: int
    how: int
    world: World
    said: Said = field(default_factory=Said)
    before: Said = field(default_factory=Said)


def judged(cases: Iterator[Case], judge: Callable[[Case], None]) -> int:
    """How many cases were judged; one in which a promise was broken says which."""
    count = 0
    for case in cases:
        try:
            judge(case)
        except Exception as error:
            where = f"at operation {case.where}, kind {case.how}: {error!r}"
            raise BrokenPromise(where) from error
        count += 1
    return count
