# MicroPython only
# What is recorded, told on the board's terminal while somebody asks for it (tally device monitor).
# Loaded where tallystick.json says `"monitor": "terminal"`, and idle until a byte asks.
#
# It stands in the way of nothing: it takes the place of the recorder's step() and, while asked, of
# the ledger's write_records(), so that without it neither costs anything.

import select
import sys
from binascii import b2a_base64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.recorder import Recorder

# What the configuration says.
TERMINAL = "terminal"
# What asks (Ctrl-T), for how long, and how often the terminal is looked at.
ASK = b"\x14"
ASKED_MS = 10000
LOOK_MS = 200
LOOK_BYTES_MAX = 16
# Records that wait to be told; others are only counted. A longer one is told without its body.
WAITING_MAX = 16
RECORD_BYTES_MAX = 768
MARK = "\x1etally "


class Monitor:
    # A line a step: MARK, records that were not told, index, size, and the record in base64.

    def __init__(self, recorder: "Recorder") -> None:
        self._ledger = recorder._ledger
        self._clock = recorder._clock
        self._step = recorder.step
        self._write: "Any" = None
        self._input = sys.stdin.buffer
        self._ready = select.poll()
        self._ready.register(sys.stdin, select.POLLIN)
        self._waiting: "list[tuple[int, int, bytes]]" = []
        self._lost = 0
        self._look_ms = 0
        self._until_ms = 0
        recorder.step = self.step  # type: ignore[method-assign]

    def step(self) -> bool:
        worked = self._step()
        now_ms = self._clock.uptime_ms()
        if now_ms >= self._look_ms:
            self._look_ms = now_ms + LOOK_MS
            self._look(now_ms)
        if not self._waiting:
            return worked
        index, size, record = self._waiting.pop(0)
        text = b2a_base64(record).decode()
        sys.stdout.write("%s%d %d %d %s" % (MARK, self._lost, index, size, text))
        self._lost = 0
        return True

    def _look(self, now_ms: int) -> None:
        for _ in range(LOOK_BYTES_MAX):
            if not self._ready.poll(0):
                break
            if self._input.read(1) == ASK:
                self._until_ms = now_ms + ASKED_MS
        ledger: "Any" = self._ledger
        if now_ms < self._until_ms:
            if self._write is None:
                self._write = ledger.write_records
                ledger.write_records = self._written
        elif self._write is not None:
            del ledger.write_records
            self._write = None
            self._waiting.clear()

    def _written(self, records: "list[bytes]") -> bool:
        index = self._ledger.log.tree.size
        if not self._write(records):
            return False
        for record in records:
            if len(self._waiting) < WAITING_MAX:
                size = len(record)
                self._waiting.append((index, size, record if size <= RECORD_BYTES_MAX else b""))
            else:
                self._lost += 1
            index += 1
        return True
