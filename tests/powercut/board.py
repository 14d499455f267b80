"""A board on the bench: real MicroPython, VfsLfs2 and recorder, on a flash in memory.

    board.py FOLDER

Takes commands from the host, a CBOR array each, and ends with the end of its input. FOLDER is the
host's, for what the flash did. See tests/powercut/bench.py for the other side.
"""

import io
import json
import os
import sys

import vfs

from powercut import kept  # first: see there
from powercut.flash import FOREVER, Flash, apply, read_operations, tear
from powercut.host import NEVER, Clock, Faults, Host, HostKey, HostUplink, PowerCut
from tallystick.evidence.cbor import decode, encode
from tallystick.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MOUNT = "/flash"
MINUTE_MS = 60000
STEPS_MAX = 400
ROUNDS_MAX = 40
YEAR_MS = 31557600000
MINUTES = 76
AWAY = range(26, 45)
URGENT = (10, 35, 58)
FULL_MINUTES = 90
# Decisions are numbered from here on.
BUSY_NUMBERS = 500
BUSY_NUMBERS_EACH = 50
LIFE_NUMBERS = 1000


class Board:
    """One life: from power on to its end or the end of its power."""

    def __init__(self, bench: "Bench", flash: Flash, number: int = 0) -> None:
        self.bench = bench
        self.host = bench.host
        self.flash = flash
        self.host.flash = flash
        self.clock = Clock(self.host)
        self.faults = Faults()
        self.link = HostUplink(self.host, True)
        # Of the decision before.
        self.number = number
        self.tally: "Any" = None
        self.files: "Any" = None

    def power_on(self) -> "Any":
        mount(self.flash, self.bench.program)
        self.files = kept.Files(self.bench.config["journal"])
        signer = HostKey(self.host, self.bench.key, self.faults)
        self.tally = tally = Recorder.open(
            dict(self.bench.config),
            uplink=self.link,
            signer=signer,
            clock=self.clock,
            files=self.files,
        )
        return tally

    def work(self, minutes: float = 0) -> None:
        """So many minutes pass, and all is done that can be done now."""
        self.clock.now += int(minutes * MINUTE_MS)
        for _ in range(STEPS_MAX):
            if not self.tally.step():
                return

    def decide(self, urgent: bool = False) -> None:
        self.number += 1
        self.host.tell("n", b"%d" % self.number)
        health = self.tally.health
        before = dict(health.faults), health.dropped
        self.tally.decision(
            "m@1", {"n": self.number, "scan": bytes(60)}, output="go", urgent=urgent
        )
        if urgent and (dict(health.faults), health.dropped) == before:
            self.host.tell("a", b"%d" % self.number)

    def claim(self) -> None:
        half = self.tally.claim(
            "handover@1",
            task="order-%d" % self.number,
            role="giver",
            claim="released",
            peers={"receiver": self.bench.peer},
            item="pallet",
            position_m=["1.5", 2],
        )
        if half:
            self.host.tell("h", half)

    def accept(self) -> None:
        accepted = self.tally.accept(self.bench.half)
        if accepted.kept:
            self.host.tell("k", self.bench.half)

    def finish(self) -> None:
        """Until a gateway has all of it."""
        for _ in range(ROUNDS_MAX):
            self.work(4)
            if not self.tally.backlog() and self.tally._ledger.settled():
                break
        self.report("f")

    def report(self, kind: str) -> None:
        tally = self.tally
        log = tally._ledger.log
        journal = tally._ledger.journal
        found = {
            "epoch": tally.epoch,
            "backlog": tally.backlog(),
            "size": log.tree.size,
            "boot": log.boot,
            # The newest file's number, and how many there are.
            "files": [journal.list[-1].number if journal.list else 0, len(journal.list)],
            "torn": journal.torn_bytes,
            "damage": journal.damage,
            "unreadable": journal.unreadable,
            "dropped": tally.health.dropped,
            "faults": tally.health.faults,
            "refused": tally.health.refused,
            "last": tally.health.last_fault,
        }
        self.host.tell(kind, encode(found))

    def power_off(self) -> None:
        """What is open is closed, and nothing reaches the flash."""
        self.flash.off = True
        if self.files is not None:
            self.files.unlock()
        if self.tally is not None:
            journal = self.tally._ledger.journal
            for handle in (journal.handle, journal.left):
                try:
                    if handle is not None:
                        handle.close()
                except OSError:
                    pass
        unmount()
        self.host.flash = None
        self.flash.leave()


def mount(flash: Flash, program: int) -> None:
    vfs.mount(vfs.VfsLfs2(flash, progsize=program), MOUNT)


def unmount() -> None:
    vfs.umount(MOUNT)


def hour(board: Board) -> None:
    """A bit more than an hour: all that a recorder does in one."""
    board.power_on()
    for minute in range(MINUTES):
        if minute == AWAY[0]:
            board.link.pull()
        if minute == AWAY[-1]:
            board.link.plug()
        if minute == 60:
            board.faults.fails = (0, NEVER)
        if minute == 66:
            board.faults.fails = (NEVER, NEVER)
        if minute == 30:
            board.clock.wall_ms = 0  # 1970
        if minute == 50:
            board.clock.wall_ms = 1790000000000 + YEAR_MS
        if minute in URGENT:
            board.decide(urgent=True)
        elif minute == 16:
            board.claim()
        elif minute == 22:
            board.accept()
        elif minute == 52:
            board.tally.event("app.docked", bay=3)
        elif minute % 3 == 0:
            board.decide()
        board.work(1)
    board.finish()
    board.tally.close()


def full(board: Board) -> None:
    """More than the journal holds, while the uplink is away."""
    board.link.pull()
    board.power_on()
    for minute in range(FULL_MINUTES):
        if minute == 30:
            board.claim()
        else:
            board.decide(urgent=minute in URGENT)
        board.work(1)
    board.report("m")
    board.link.plug()
    board.finish()
    board.tally.close()


def life(board: Board) -> None:
    """After a cut: it opens, goes on, and hands all of it over."""
    board.power_on()
    board.report("o")
    board.work()
    board.decide()
    board.decide(urgent=True)
    board.decide()
    board.finish()
    board.tally.close()


def busy(board: Board) -> None:
    """Some minutes of work, with records enough for another file of the journal."""
    board.power_on()
    board.report("o")
    for minute in range(8):
        board.decide(urgent=minute % 3 == 2)
        if minute == 4:
            board.claim()
        board.work(1)
        # And one in which nothing comes.
        board.work(1)
    board.finish()


class Bench:
    """The host's commands."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.host = Host()
        self.config: "dict[str, Any]" = {}
        self.key = b""
        self.peer = b""
        self.half = b""
        self.block = 0
        self.size = 0
        self.program = 0

    def serve(self) -> None:
        while True:
            command = self.host.take()
            if not command:
                return
            name, *arguments = decode(command)
            getattr(self, name)(*arguments)
            self.host.tell("e")

    def run(self, script: "Callable[[Board], None]", board: Board) -> None:
        """A script, from power on to power off."""
        try:
            script(board)
        except PowerCut:
            pass
        except Exception as error:
            text = io.StringIO()
            sys.print_exception(error, text)  # type: ignore[attr-defined]  # MicroPython's
            if not board.flash.off:
                self.host.tell("x", text.getvalue().encode())
        board.power_off()

    def setup(self, config: str, key: bytes, peer: bytes, half: bytes) -> None:
        self.config = json.loads(config)
        self.key = key
        self.peer = peer
        self.half = half

    def flash(self, block: int, size: int, program: int) -> None:
        self.block = block
        self.size = size
        self.program = program

    def script(self, name: str) -> None:
        """From a new flash; what the flash does is written down."""
        flash = self._formatted()
        with open(self.folder + "/first", "wb") as file:
            file.write(flash.data)
        with open(self.folder + "/operations", "wb") as flash.log:
            self.run({"hour": hour, "full": full}[name], Board(self, flash))

    def _formatted(self) -> Flash:
        flash = Flash(self.block, bytearray(b"\xff" * self.size))
        vfs.VfsLfs2.mkfs(flash, progsize=self.program)
        flash.count = 0
        return flash

    def cuts(self, begin: int, end: int, torn: "list[int]") -> None:
        """A life after each cut of the script: behind each operation, and within the next one.

        torn: 0 leaves the operation undone, 1 tears it, 2 leaves rubbish behind the tear; one
        number for each of so many operations, in turn, as bits.
        """
        with open(self.folder + "/first", "rb") as file:
            image = bytearray(file.read())
        view = memoryview(image)
        count = 0
        for operation in read_operations(self.folder + "/operations"):
            if count >= end:
                return
            if count >= begin:
                for how in range(3):
                    if torn[count % len(torn)] & 1 << how:
                        self._cut(image, count, operation, how)
            apply(view, self.block, operation)
            count += 1

    def keys(self, at: int, begin: int, end: int, kinds: "list[list[int]]") -> None:
        """As errors, but of the key: [how many calls of it fail, how many polls it is slow]."""
        image = self._image(at)
        for failing in range(begin, end):
            over = True
            for kind, (count, slow) in enumerate(kinds):
                data = bytearray(image)
                board = Board(self, Flash(self.block, data), BUSY_NUMBERS)
                board.faults.fails = (failing, failing + count if count else NEVER)
                board.faults.slow_polls = slow
                self.host.tell("b", encode([failing, kind]))
                self.run(busy, board)
                over = over and board.faults.count < failing
                self.host.tell("p")
                self.run(life, Board(self, Flash(self.block, data), LIFE_NUMBERS))
                self.host.tell("d")
            if over:
                return

    def wipe(self, at: int, how: int) -> None:
        """The journal is lost behind so many operations: a new flash (0), or no file in it (1)."""
        flash = Flash(self.block, self._image(at))
        if how:
            mount(flash, self.program)
            folder = self.config["journal"]
            for name in os.listdir(folder) if "journal" in os.listdir(MOUNT) else ():
                os.remove(folder + "/" + name)
            unmount()
        else:
            flash = self._formatted()
        self.host.tell("b", encode([at, how]))
        self.run(life, Board(self, flash, LIFE_NUMBERS))
        self.host.tell("d")

    def again(self, at: int, chains: "list[list[int]]") -> None:
        """From the script's flash: cut after cut, each at the operation that a chain names."""
        image = self._image(at)
        for nth, chain in enumerate(chains):
            data = bytearray(image)
            self.host.tell("b", encode([nth, 0]))
            for boot, dies_at in enumerate(chain):
                flash = Flash(self.block, data)
                flash.dies_at = dies_at
                self.run(busy, Board(self, flash, BUSY_NUMBERS + boot * BUSY_NUMBERS_EACH))
                self.host.tell("p")
            self.run(life, Board(self, Flash(self.block, data), LIFE_NUMBERS))
            self.host.tell("d")

    def errors(self, at: int, begin: int, end: int, kinds: "list[list[list[int]]]") -> None:
        """From the script's flash after `at` operations: each operation of `busy` fails.

        kinds: [how many operations fail, 0 for all from there on; the error]; for each operation
        those of one list, in turn. Then the power goes and comes back, and the flash works.
        """
        image = self._image(at)
        for failing in range(begin, end):
            over = True
            for count, error in kinds[failing % len(kinds)]:
                data = bytearray(image)
                flash = Flash(self.block, data)
                flash.fails = (failing, failing + count if count else FOREVER)
                flash.error = error
                self.host.tell("b", encode([failing, count]))
                self.run(busy, Board(self, flash, BUSY_NUMBERS))
                over = over and flash.count < failing  # what there is was tried
                self.host.tell("p")
                self.run(life, Board(self, Flash(self.block, data), LIFE_NUMBERS))
                self.host.tell("d")
            if over:
                return

    def _image(self, at: int) -> bytearray:
        with open(self.folder + "/first", "rb") as file:
            image = bytearray(file.read())
        view = memoryview(image)
        for count, operation in enumerate(read_operations(self.folder + "/operations")):
            if count >= at:
                break
            apply(view, self.block, operation)
        return image

    def _cut(
        self, image: bytearray, count: int, operation: "tuple[int, int, bytes]", how: int
    ) -> None:
        data = bytearray(image)
        if how:
            tear(memoryview(data), self.block, operation, noise=how == 2)
        self.host.tell("b", encode([count, how]))
        self.run(life, Board(self, Flash(self.block, data), LIFE_NUMBERS))
        self.host.tell("d")


if __name__ == "__main__":
    Bench(sys.argv[1]).serve()
