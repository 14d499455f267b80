"""What keeps bad input cheap and answers rare: memories of what was refused and what was said."""

from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.notice import Notice
from tallystick.evidence.resend import Resend
from tallystick.gateway import limits
from tallystick.gateway.decisions import Decision, Send
from tallystick.gateway.pace import Bounded, Bucket, Repeats

# What these refuse, they refuse for ever: the same bytes need not be looked at again.
_FOR_EVER = frozenset({"bad-signature", "wrong-alg", "wrong-device", "bad-edge", "bad-stretch"})
# Reasons for which a device is told nothing: it is not the sender, or it did nothing wrong.
_UNTOLD = frozenset({"replayed", "retained", "wrong-topic"})
# These say nothing of the sender's honesty and leave no mark.
_UNMARKED = frozenset({"over-quota", "no-history"})


class Guard:
    """Rates by device and for all; time comes in as monotonic seconds."""

    def __init__(self) -> None:
        self._bad: Bounded[tuple[bytes, int], str] = Bounded(limits.BAD_CACHED_MAX)
        self._strikes: Bounded[bytes, Bucket] = Bounded(limits.IDENTITIES_CACHED_MAX)
        self._credential_checks = Bucket(
            limits.CREDENTIAL_CHECKS_PER_S, limits.CREDENTIAL_CHECKS_BURST
        )
        self._notices = Bucket(limits.NOTICES_PER_S, limits.NOTICES_BURST)
        self._noticed: Repeats[tuple[bytes, str]] = Repeats(
            limits.NOTICE_S_MIN, limits.RESEND_S_MAX, limits.ANSWERS_CACHED_MAX
        )
        self._asked: Repeats[tuple[bytes, bytes, int]] = Repeats(
            limits.RESEND_S_MIN, limits.RESEND_S_MAX, limits.ANSWERS_CACHED_MAX
        )
        self._welcomed: Bounded[bytes, Bucket] = Bounded(limits.ANSWERS_CACHED_MAX)

    def check(self, device: bytes, payload: bytes, now_s: float) -> None:
        """Unverified for bytes that were refused before, or from a device that was too often."""
        # Only a device of which something was refused lately pays for these looks.
        bucket = self._strikes.get(device)
        if bucket is None:
            return
        reason = self._bad.get((device, hash(payload)))
        if reason is not None:
            raise Unverified(reason, "refused before, and the same bytes again")
        if bucket.empty(now_s):
            raise Unverified("over-quota", "too much of what this device sent was refused")

    def refused(self, device: bytes, payload: bytes, error: TallyError, now_s: float) -> None:
        """Remember a refusal of something on a known device's topic."""
        if error.reason in _FOR_EVER or isinstance(error, Malformed):
            self._bad.put((device, hash(payload)), error.reason)
        if error.reason in _UNMARKED:
            return
        bucket = self._strikes.get(device)
        if bucket is None:
            bucket = Bucket(limits.BAD_PER_DEVICE_PER_S, limits.BAD_PER_DEVICE_BURST)
            self._strikes.put(device, bucket)
        bucket.take(now_s)

    def forgive(self, device: bytes) -> None:
        """A new credential: what was refused may be good now."""
        self._strikes.drop(device)

    def check_credentials(self, now_s: float) -> None:
        """Unverified when strangers have had enough signature checks for now."""
        if not self._credential_checks.take(now_s):
            raise Unverified("over-quota", "too many credentials to check at once")

    def check_hello(self, device: bytes, now_s: float) -> None:
        """Unverified when a device says hello too often."""
        bucket = self._welcomed.get(device)
        if bucket is None:
            bucket = Bucket(1 / limits.NOTICE_S_MIN, limits.HELLOS_BURST)
            self._welcomed.put(device, bucket)
        if not bucket.take(now_s):
            raise Unverified("over-quota", "too many hellos")

    def notice(
        self, device: bytes, reason: str, epoch: bytes | None, now_s: float
    ) -> list[Decision]:
        """Tell a device why, unless it was told lately or too many are."""
        if reason in _UNTOLD or not self._noticed.allow((device, reason), now_s):
            return []
        if not self._notices.take(now_s):
            return []
        return [Send(device, Notice(reason, epoch, None).encode())]

    def ask(
        self, device: bytes, epoch: bytes, from_: int, to: int | None, now_s: float
    ) -> list[Decision]:
        """Ask a device to send again, unless it was asked lately."""
        if not self._asked.allow((device, epoch, from_), now_s):
            return []
        return [Send(device, Resend(epoch, from_, to).encode())]
