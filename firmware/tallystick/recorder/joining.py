# A device joins a fleet by itself (docs/protocol.md, 5.5): its key is made here, its request waits
# at a gateway, its configuration comes from the fleet root.  In bounded steps but for making the
# key and for one signature.  Whatever ends it in between, it goes on at the next start with the
# same key and the same request.

import json
import os
import time

from tallystick.evidence import joincode
from tallystick.evidence.errors import Malformed, TallyError, TransportError
from tallystick.recorder.files import MICROPYTHON, forget
from tallystick.recorder.joining_files import exists, keep, read, read_settings, refusal
from tallystick.recorder.joining_http import Exchange, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

NAME = "join.json"
CONFIG = "tallystick.json"
REQUEST = "join.request"
# Not needed any more once the request is made.
KEYS = (
    "evidence.enrolmentrequest",
    "evidence.joinrequest",
    "hw.file_key",
    "hw.software_key",
    "hw.signer",
    "recorder.ownkey",
)
ATTEMPT_MS_MAX = 30000
RETRY_MS_MIN = 1000
RETRY_MS_MAX = 60000
WAIT_S_MAX = 600


class Uptime:
    """As recorder.clock's, which on a board brings much that joining does not need."""

    def __init__(self) -> None:
        self._last = self._ticks()
        self._passed_ms = 0

    def _ticks(self) -> int:
        if not MICROPYTHON:
            return time.monotonic_ns() // 1000000
        return time.ticks_ms()  # type: ignore[attr-defined,no-any-return]  # MicroPython's

    def uptime_ms(self) -> int:
        """Never falls, where it is asked within days."""
        now = self._ticks()
        if MICROPYTHON:
            self._passed_ms += time.ticks_diff(now, self._last)  # type: ignore[attr-defined]  # its
        else:
            self._passed_ms += now - self._last
        self._last = now
        return self._passed_ms


class Joining:
    """step() until it says True; then `device` is enrolled and CONFIG is there.

    `said` tells how far it is; errors of the network are tried again, and told in `trouble`.
    """

    def __init__(self, path: str = NAME, secrets: "Any" = None, clock: "Any" = None) -> None:
        self._folder = path[: path.rfind("/") + 1]
        self._path = path
        self._secrets = secrets
        self._clock = clock or Uptime()
        self.said = "begins"
        self.trouble = ""
        self.device: bytes | None = None
        # Until when nothing is done, and how long to wait after the next fault.
        self.idle_until_ms = 0
        self._retry_ms = RETRY_MS_MIN
        self._failures = 0
        self._signer: "Any" = None
        self._exchange: "Exchange | None" = None
        self._since_ms = 0
        self._work: "Any" = None
        self.joined = exists(self._folder + CONFIG)
        if self.joined:
            self._tidy()
            return
        settings = read_settings(path)
        self._settings = settings
        self._code = joincode.parse(settings["code"])
        self._place = parse_url(settings["url"])
        self._secure = self._tls() if self._place[0] == "https" else None
        self._next: "Any" = self._open_key

    def _tls(self) -> "Any":
        ca = self._beside(self._settings["ca"])
        if not MICROPYTHON:
            from tallystick.recorder.joining_tls import LibrarySecure  # noqa: PLC0415  # CPython's

            return LibrarySecure(ca, self._place[1])
        if ca is None:
            raise Malformed("bad-config", "https needs `ca`, the gateway's authority")
        from tallystick.recorder.mqtt_tls import Secure  # noqa: PLC0415  # with https only

        return Secure({"ca": ca}, self._place[1])

    def _beside(self, path: "str | None") -> "str | None":
        return path if path is None or path.startswith("/") else self._folder + path

    def step(self) -> bool:
        """A bounded piece of it; a TallyError when no other try would help."""
        if self.joined:
            return True
        if self._clock.uptime_ms() < self.idle_until_ms:
            return False
        try:
            self._next()
        except TransportError as error:
            self._failed(error)
        return self.joined

    def _failed(self, error: TransportError) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()
        if self._secure is not None and self._secure.failed(error.reason):
            return
        self._failures += 1
        self.trouble = "%s: %s" % (error.reason, error.message)
        self._wait_ms(self._retry_ms)
        self._retry_ms = min(2 * self._retry_ms, RETRY_MS_MAX)

    def _wait_ms(self, wait_ms: int) -> None:
        # Devices that were switched on together must not ask together.
        jitter = wait_ms * os.urandom(1)[0] // 1024
        self.idle_until_ms = self._clock.uptime_ms() + wait_ms + jitter

    # The key, and whom to ask.

    def _open_key(self) -> None:
        uri = self._settings["key"]
        for scheme in ("file:", "atecc608:virtual="):
            if uri.startswith(scheme):
                uri = scheme + str(self._beside(uri[len(scheme) :]))
        self.said = "makes its key"
        from tallystick.recorder.ownkey import open_key  # noqa: PLC0415  # costs heap

        self._signer = open_key(uri, self._secrets)
        self._key: "PublicKey" = self._signer.public_key()
        self.device = self._key.thumbprint()
        self._next = self._ask_root

    def _ask_root(self) -> None:
        from tallystick.evidence.keys import b64u  # noqa: PLC0415  # costs heap

        self.said = "asks whose gateway this is"
        path = "/join/1/root/" + b64u(self._code.name())
        body = self._talk("GET", path, b"")
        if body is None:
            return
        iss, root = self._code.check_root(body[1].decode())
        self._iss, self._root = iss, root
        self._next = self._make_request

    def _make_request(self) -> None:
        from tallystick.evidence import joinrequest  # noqa: PLC0415  # costs heap

        self.said = "makes its request"
        kept = self._kept_request()
        if kept is None:
            from tallystick.evidence import enrolmentrequest  # noqa: PLC0415  # costs heap
            from tallystick.recorder.ownkey import with_serial  # noqa: PLC0415  # as above

            details = with_serial(self._settings["details"])
            asked = enrolmentrequest.make(self._signer, self._iss, None, details)
            kept = joinrequest.make(self._code, os.urandom(16), asked.encode())
            # The same request after a power cut: the gateway and the operator see one device.
            keep(self._folder + REQUEST, kept.encode())
        self._request = kept.encode()
        self._digest = kept.digest
        self._signer.close()
        self._signer = None
        forget(KEYS)
        self._next = self._knock

    def _kept_request(self) -> "Any":
        from tallystick.evidence import enrolmentrequest, joinrequest  # noqa: PLC0415  # costs heap

        try:
            kept = joinrequest.parse(read(self._folder + REQUEST))
            asked = enrolmentrequest.parse(kept.request)
        except (OSError, TallyError):
            return None
        # Another code, fleet or key since then.
        good = kept.code == self._code.name() and asked.iss == self._iss
        return kept if good and asked.id == self.device else None

    # The gateway.

    def _talk(self, method: str, path: str, body: bytes) -> "tuple[int, bytes] | None":
        # None: not yet answered.
        now_ms = self._clock.uptime_ms()
        if self._exchange is None:
            host = self._place[1]
            head = "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n" % (method, path, host)
            if body:
                head += "Content-Type: application/cbor\r\nContent-Length: %d\r\n" % len(body)
            self._since_ms = now_ms
            request = (head + "\r\n").encode() + body
            self._exchange = Exchange(self._place, self._secure, request, self._failures)
            return None
        if now_ms - self._since_ms > ATTEMPT_MS_MAX:
            raise TransportError("no-answer", "the gateway does not answer")
        if not self._exchange.step():
            return None
        done, self._exchange = self._exchange, None
        if done.status not in (200, 202):
            raise refusal(done.status, done.body)
        self._retry_ms = RETRY_MS_MIN
        self.trouble = ""
        self._pause_s = done.headers.get("retry-after", "")
        return done.status, done.body

    def _knock(self) -> None:
        got = self._talk("POST", "/join/1/requests", self._request)
        if got is None:
            return
        if got[0] == 202:
            self.said = "waits to be let in"
            text = self._pause_s
            self._wait_ms(1000 * min(int(text) if text.isdigit() else 1, WAIT_S_MAX))
            return
        from tallystick.evidence import joinanswer  # noqa: PLC0415  # costs heap

        self.said = "checks the answer"
        self._answer: "Any" = joinanswer.parse(got[1])
        if self._answer.request != self._digest or self._answer.id != self.device:
            raise Malformed("wrong-device", "the gateway answered what another device asked")
        self._work = self._answer.verifier(self._root)
        self._next = self._check_answer

    def _check_answer(self) -> None:
        if not self._work.step():
            return
        from tallystick.evidence import enrolment  # noqa: PLC0415  # costs heap

        self._answer = self._work.result
        self._work = enrolment.parse(self._answer.credential[0]).verifier(self._root)
        self._next = self._check_credential

    def _check_credential(self) -> None:
        if self._work.step():
            self._work = None
            self._next = self._write

    # What is written.

    def _write(self) -> None:
        from tallystick.evidence.cbor import encode  # noqa: PLC0415  # costs heap
        from tallystick.recorder.files import make_folder  # noqa: PLC0415  # as above

        self.said = "writes its configuration"
        answer, folder = self._answer, self._folder
        config = self._config()
        make_folder(folder + "profiles")
        for name, data in answer.profiles.items():
            keep(folder + "profiles/" + name, data)
        if answer.ca is not None:
            keep(folder + "ca.pem", answer.ca)
        keep(folder + "credential.cbor", encode(answer.credential))
        # Last: who has this file has joined.
        keep(folder + CONFIG, json.dumps(config).encode())
        self._tidy()
        self.said = "has joined"
        self.joined = True

    def _config(self) -> "dict[str, Any]":
        from tallystick.recorder.config import check  # noqa: PLC0415  # costs heap
        from tallystick.recorder.identity import device_id  # noqa: PLC0415  # as above

        answer, settings = self._answer, self._settings
        config: dict[str, Any] = answer.config()
        for name in ("key", "journal"):
            config[name] = settings[name]
        config["credential"] = "credential.cbor"
        config["profiles"] = "profiles"
        uplink = config.get("uplink")
        if type(uplink) is str and uplink.startswith("mqtts:"):
            config["tls"] = dict(settings["tls"])
            config["tls"].setdefault("ca", "ca.pem")
        # What the recorder would refuse is refused now, and nothing is written.
        check(config, "the gateway's answer", "")
        if config["fleet"] != self._iss:
            raise Malformed("bad-config", "the answer's settings are for another fleet")
        if device_id(answer.credential, self._iss, self._key) != answer.id:
            raise Malformed("wrong-device", "the answer's credential is another device's")
        return config

    def _tidy(self) -> None:
        # The code has served.
        for path in (self._folder + REQUEST, self._path):
            try:
                os.remove(path)
            except OSError:
                pass

    def close(self) -> None:
        """Stop; a later one goes on."""
        if self._exchange is not None:
            self._exchange.close()
        if self._signer is not None:
            self._signer.close()


def join(path: str = NAME, feed: "Any" = None, tell: "Any" = print) -> bool:
    """For a board's main.py: join where NAME asks for it; True when anything was joined.

    `feed` is called between steps, as for a watchdog; `tell` with each new stage.
    """
    if not exists(path):
        return False
    work = Joining(path)
    told = ""
    while not work.step():
        if feed is not None:
            feed()
        now = work.trouble or work.said
        if now != told:
            told = now
            tell("join: " + now)
        if work._clock.uptime_ms() < work.idle_until_ms:
            _nap()
    tell("join: " + work.said)
    return True


def _nap() -> None:
    time.sleep(0.05)
