"""Challenges that an operator's order answers: made by anybody's asking, kept by nobody's.

A challenge carries its own time and a MAC by a key of this process, so that asking for a million
of them takes no memory; one that was answered by the fleet root is remembered until it expires.
"""

import hmac
import os
import threading

from tallystick.evidence.errors import Unverified
from tallystick.gateway import limits

TIME_SIZE = 8
RANDOM_SIZE = 8
MAC_SIZE = 16


class Challenges:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._spent: dict[bytes, float] = {}
        self._turn = threading.Lock()

    def _mac(self, head: bytes) -> bytes:
        return hmac.digest(self._key, head, "sha256")[:MAC_SIZE]

    def new(self, now_s: float) -> bytes:
        """32 bytes that serve one order."""
        head = int(now_s * 1000).to_bytes(TIME_SIZE, "big") + os.urandom(RANDOM_SIZE)
        return head + self._mac(head)

    def check(self, challenge: bytes, now_s: float) -> None:
        """Unverified unless it is one of ours, young, and not used."""
        head = challenge[: TIME_SIZE + RANDOM_SIZE]
        age_s = now_s - int.from_bytes(head[:TIME_SIZE], "big") / 1000
        good = hmac.compare_digest(self._mac(head), challenge[TIME_SIZE + RANDOM_SIZE :])
        if not good or age_s > limits.CHALLENGE_S_MAX or challenge in self._spent:
            raise Unverified("not-authorised", "ask for a challenge first; each serves one order")

    def spend(self, challenge: bytes, now_s: float) -> None:
        """It is used up; Unverified where another thread was first."""
        with self._turn:
            if challenge in self._spent:
                raise Unverified("not-authorised", "this order was carried out before")
            old = [one for one, until_s in self._spent.items() if until_s < now_s]
            for one in old:
                del self._spent[one]
            self._spent[challenge] = now_s + limits.CHALLENGE_S_MAX
