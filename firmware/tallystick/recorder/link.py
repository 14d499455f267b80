# The state of the link: connect, greet, wait for the welcome.  Nothing else is sent before it, for
# it may show that this journal is older than something that this device once sent.

from os import urandom

from tallystick.evidence.cbor import encode
from tallystick.evidence.errors import TransportError
from tallystick.evidence.kinds import HELLO
from tallystick.recorder.files import forget
from tallystick.recorder.freeing import first_index
from tallystick.recorder.health import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.uplink import Uplink

CONNECT_RETRY_MS_MIN = 500
CONNECT_RETRY_MS_MAX = 60000
HELLO_RETRY_MS_MIN = 2000
HELLO_RETRY_MS_MAX = 60000
UPLINK_EVENT_MS_MIN = 10000
# So many without a welcome are told.
HELLOS_MAX = 3


class Link:
    """Keeps one uplink connected and greeted."""

    def __init__(self, uplink: "Uplink", ledger: "Ledger", credential: list[bytes]) -> None:
        self.uplink = uplink
        self._ledger = ledger
        self._epoch = ledger.log.epoch
        self._credential = credential
        self.greeted = False
        self._session = -1
        self._connect_ms = 0
        self._retry_ms = CONNECT_RETRY_MS_MIN
        self._hello_ms = 0
        self._hello_retry_ms = HELLO_RETRY_MS_MIN
        self._hellos = 0
        # What the log says of the link: nothing yet.
        self._event_ms = ledger.clock.uptime_ms()
        self._event_state = ""

    def greet_again(self) -> None:
        """Say hello again: the epoch is another one, or the welcome was none."""
        self.greeted = False
        self._hello_ms = 0

    def lost(self) -> None:
        """A use of the link failed."""
        self.greeted = False
        self.uplink.connected = False

    def call(self, function: "Callable[..., Any]", *args: "Any") -> "Any":
        """What an uplink's method returns; TransportError whatever a driver raises."""
        try:
            return function(*args)
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001  # a driver's
            raise TransportError(reason_of(error), "the uplink raised %r" % error.__class__)

    def step(self, now_ms: int) -> bool:
        """One piece of connecting, greeting or sending; False when there is nothing to do."""
        uplink = self.uplink
        self._ledger.health.connected = uplink.connected
        if uplink.bucket is not None:
            uplink.bucket.passed(now_ms)
        self._tell("up" if uplink.connected else "down", now_ms)
        if not uplink.connected:
            self.greeted = False
            if uplink.opening:
                return bool(self.call(uplink.step))
            return self._connect(now_ms)
        if self._epoch != self._ledger.log.epoch:
            # Left for a new one by a rollback that the counter showed.
            self._epoch = self._ledger.log.epoch
            self.greet_again()
        worked = bool(self.call(uplink.step))
        if uplink.session != self._session:
            self._session = uplink.session
            self._hello_retry_ms = HELLO_RETRY_MS_MIN
            self.greet_again()
            self._ledger.works("uplink:")
            if uplink.undated is not None:
                self._ledger.fault("uplink", "dates-unchecked")
        if self.greeted:
            # Not before: a broker may take a connection and end it, again and again.
            self._retry_ms = CONNECT_RETRY_MS_MIN
            if self._hellos > HELLOS_MAX:
                self._ledger.works("uplink:")
            self._hellos = 0
        elif now_ms >= self._hello_ms and not uplink.busy:
            self._hello_ms = now_ms + self._hello_retry_ms
            self._hello_retry_ms = min(2 * self._hello_retry_ms, HELLO_RETRY_MS_MAX)
            if not self.call(uplink.publish, self._hello()):
                return False
            self._hellos += 1
            if self._hellos > HELLOS_MAX:
                # What the broker's access list denies MQTT 3.1.1 does not tell.
                error = TransportError(
                    "no-welcome",
                    "no gateway answers: does one run there, and is this device, with this"
                    " certificate, in the broker's access list",
                )
                self._ledger.fault("uplink", error.reason, error)
            return True
        return worked

    def _connect(self, now_ms: int) -> bool:
        if now_ms < self._connect_ms:
            return False
        # Devices that lost one broker together must not come back together: half of the pause is
        # chance, and not that of a generator which boards seed alike.
        chance = int.from_bytes(urandom(2), "big")
        half = self._retry_ms // 2
        self._connect_ms = now_ms + half + (self._retry_ms - half) * chance // 65535
        self._retry_ms = min(2 * self._retry_ms, CONNECT_RETRY_MS_MAX)
        try:
            self.call(self.uplink.connect)
        except TransportError as error:
            self._ledger.fault("uplink", error.reason, error)
        return False

    def _tell(self, state: str, now_ms: int) -> None:
        # A flapping link must not fill the journal; one that was never up is told too.
        first = not self._event_state and state == "up"
        if state == self._event_state or self._ledger.flash_after_ms:
            return
        if first or now_ms - self._event_ms >= UPLINK_EVENT_MS_MIN:
            self._event_state = state
            self._event_ms = now_ms
            self._ledger.event("uplink", {"state": state})
            forget(("evidence.eventwriter",))

    def _hello(self) -> bytes:
        # The array of evidence/hello.py, whose import would load what verifies credentials.
        ledger = self._ledger
        log = ledger.log
        first = first_index(ledger.journal, log.epoch)
        return encode([HELLO, ledger.device, log.epoch, first, log.sealed_size, self._credential])
