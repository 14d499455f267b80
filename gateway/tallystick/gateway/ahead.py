"""Verification ahead of the ingest worker, on other cores: `limits.verify_workers` processes.

Messages stay in the inbox, and the worker takes them in their order and waits for nobody. While
it is busy, what lies behind goes to verifying processes (verifier.py) in portions; what they
found is there when its message's turn comes, or is not, and then the worker verifies by itself.
So a process that is dead, stopped or slow costs its help and nothing else, and whatever is wrong
is refused by the worker, for the same reason as ever. See docs/adr/0017.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import structlog

from tallystick.evidence.credential import Identity
from tallystick.evidence.folded import Folded
from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.gateway import limits, lives
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.verifier import Asked
from tallystick.gateway.verifying import Ended, Process

_log = structlog.get_logger("tallystick.gateway.ahead")
# [13, device, ...]: where a segment has its device's id.
_SEGMENT_BEGIN = b"\x86\x0d\x58\x20"
_ID_END = 36


class _Claim:
    # A message that was given away; `found` is set by another thread.
    __slots__ = ("delivery", "found")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.found: Folded | None = None


class Ahead:
    """The gateway's side: threads that give away, and what came back. None runs until `look`.

    `workers` None: as many as workers_by_default() says.
    """

    def __init__(self, inbox: Inbox, workers: int | None, name: str) -> None:
        self._inbox = inbox
        self._workers = workers_by_default() if workers is None else workers
        self._name = name
        self._stop = lives.Event()
        self._again_s = 0.0  # when threads are tried again, after the system had none
        self._claims: dict[int, _Claim] = {}
        self._keys: dict[bytes, list[tuple[int, bytes]]] = {}
        self._running: dict[int, int] = {}  # process ids by number
        self.threads: list[threading.Thread] = []
        self.used = 0  # segments of which the findings were there in time
        self.late = 0  # of which they were not
        self.replaced = 0  # processes that ended, or did not answer

    # --- the ingest worker's side -----------------------------------------------------------

    def look(self) -> None:
        """Start the processes when messages begin to wait; a gateway at leisure has none."""
        missing = range(len(self.threads), self._workers)
        if not missing or len(self._inbox) < limits.AHEAD_START_MESSAGES:
            return
        if time.monotonic() < self._again_s:
            return
        for number in missing:
            thread = threading.Thread(
                target=self._run,
                args=(number,),
                name=f"{self._name}: verify-{number}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as error:
                # A bound of the system's: the worker verifies with the help there is, or none.
                if not self._again_s:
                    _log.error("verification ahead has no more threads", error=str(error))
                self._again_s = time.monotonic() + limits.AHEAD_RESTART_S_MAX
                return
            # Not before: who looks for threads that ended would take it for one.
            self.threads.append(thread)
            self._inbox.share()

    def know(self, identity: Identity) -> None:
        """Which keys a device has: what it sends can be given away from now on."""
        if len(self._keys) >= limits.IDENTITIES_CACHED_MAX:
            self._keys = {}
        self._keys[identity.id] = [(period.key.alg, period.key.raw) for period in identity.keys]

    def take(self, delivery: Delivery) -> Folded | None:
        """What was found of a message, whose turn it is now; None: nothing, or not yet."""
        claim = self._claims.pop(id(delivery), None)
        if claim is None:
            return None
        if claim.found is None:
            self.late += 1
        else:
            self.used += 1
        return claim.found

    def told(self) -> dict[str, Any]:
        """For `tally gateway status` and the metrics."""
        return {
            "workers": self._workers,
            "running": len(self._running),
            "used": self.used,
            "late": self.late,
            "replaced": self.replaced,
        }

    def stop(self) -> None:
        """End the threads and their processes; the inbox is closed by its owner."""
        self._stop.set()

    # --- the threads' side ------------------------------------------------------------------

    def _run(self, number: int) -> None:
        wait_s = limits.AHEAD_RESTART_S_MIN
        while not self._stop.is_set():
            answered = False
            process = None
            try:
                process = Process()
                self._running[number] = process.pid
                for _ in self._serve(process):
                    answered = True
            except Exception as error:  # noqa: BLE001 - whatever it is, only help is lost
                if self._stop.is_set():
                    return
                self.replaced += 1
                _log.error("a verifying process is replaced", number=number, error=repr(error))
            finally:
                self._running.pop(number, None)
                if process is not None:
                    process.end()
            if answered:
                wait_s = limits.AHEAD_RESTART_S_MIN
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, limits.AHEAD_RESTART_S_MAX)

    def _serve(self, process: Process) -> Iterator[int]:
        # One value for each answer. A portion is asked while another one is worked on.
        asked: deque[list[_Claim]] = deque()
        while not self._stop.is_set():
            if len(asked) < limits.AHEAD_PORTIONS_MAX:
                claims = self._claim(0.0 if asked else limits.AHEAD_WAIT_S)
                if claims:
                    process.ask([self._asked(claim.delivery) for claim in claims])
                    asked.append(claims)
                    continue
            if not asked:
                process.check()
                continue
            found = process.answer()
            claims = asked.popleft()
            if len(found) != len(claims):
                raise Ended(f"{len(found)} answers to {len(claims)} questions")
            for claim, folded in zip(claims, found, strict=True):
                claim.found = folded
            yield len(found)

    def _claim(self, wait_s: float) -> list[_Claim]:
        claims: list[_Claim] = []

        def claim(found: list[Delivery]) -> None:
            # Before any of them can be taken: who takes one takes its claim away, or it stays.
            claims.extend(_Claim(one) for one in found if self._known(one.message.payload))
            self._claims.update((id(one.delivery), one) for one in claims)

        self._inbox.ahead(limits.AHEAD_MESSAGES, wait_s, claim)
        return claims

    def _known(self, payload: bytes) -> list[tuple[int, bytes]] | None:
        if payload[:4] != _SEGMENT_BEGIN or len(payload) > SEGMENT_BYTES_MAX:
            return None
        return self._keys.get(payload[4:_ID_END])

    def _asked(self, delivery: Delivery) -> Asked:
        payload = delivery.message.payload
        return Asked(self._known(payload) or [], payload)


def workers_by_default() -> int:
    """A core for the gateway itself, and all others up to a bound; 0 where there is one."""
    cores = len(os.sched_getaffinity(0))
    return max(0, min(cores - 1, limits.VERIFY_WORKERS_BY_DEFAULT_MAX))
