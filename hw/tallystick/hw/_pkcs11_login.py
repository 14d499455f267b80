# CPython only
"""Logins at tokens: one a token and process, as PKCS#11 has it, shared by the keys there."""

import hmac
import os
import time
from typing import Any

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw._pkcs11_module import Module
from tallystick.hw._pkcs11_uri import KeyUri

# A token that is away is looked for at most so often: each look may start the library anew.
RECONNECT_S_MIN = 1.0

# A library that starts while another program logs in may read its token's state half-written and
# miss the token (SoftHSM does), so the first look is repeated.
LOOKS_MAX = 6
LOOK_AGAIN_S = 0.1

# Flags of a token (PKCS#11 2.40, section 3.2: CK_TOKEN_INFO).
PIN_COUNT_LOW = 0x00010000
PIN_FINAL_TRY = 0x00020000
PIN_LOCKED = 0x00040000

# What says that the token, the session or the handle is gone, and not that the call was wrong.
# OperationActive: a call that was cut short left its session unusable; a new one is not.
_GONE = (
    "CryptokiNotInitialized",
    "DeviceError",
    "DeviceRemoved",
    "FunctionFailed",
    "GeneralError",
    "KeyHandleInvalid",
    "ObjectHandleInvalid",
    "OperationActive",
    "SessionClosed",
    "SessionHandleInvalid",
    "SlotIDInvalid",
    "TokenNotPresent",
    "TokenNotRecognised",
    "UserNotLoggedIn",
)

_SAYS = {
    "PinExpired": ("pin-expired", "the PIN has expired; change it with the token's own tool"),
    "PinLenRange": ("wrong-pin", "the PIN is shorter or longer than this token's"),
    "UserPinNotInitialized": ("no-pin", "has no user PIN yet; set it with the token's own tool"),
    "DeviceMemory": ("token-full", "has no room for a key"),
    "TokenWriteProtected": ("token-full", "is write-protected"),
    "SessionCount": ("token-busy", "has no session left; close other programs' first"),
    "MechanismInvalid": ("no-such-key", "has no such signature; try the other --alg"),
}


def gone(error: RuntimeError) -> bool:
    """Whether a new login may help."""
    return type(error).__name__ in _GONE


def driver_error(error: RuntimeError, where: str) -> KeyDriverError:
    """A library's error in our words; what the library says itself is not repeated."""
    name = type(error).__name__
    reason, says = _SAYS.get(name, ("token-failed", f"the token failed ({name})"))
    if gone(error):
        reason, says = "no-token", f"the token does not answer ({name}); is it plugged in?"
    return KeyDriverError(reason, f"{where}: {says}")


def tries_left(flags: int) -> str:
    """What a token's flags say of the tries that are left; PKCS#11 has no number for it."""
    if flags & PIN_LOCKED:
        return "the PIN is locked now; unlock it with the token's own tool and its SO PIN"
    if flags & PIN_FINAL_TRY:
        return "one try is left before the token locks its PIN"
    if flags & PIN_COUNT_LOW:
        return "it was wrong at least once since it was last right; tokens lock after a few"
    return "the token does not say how many tries are left"


def check_tries(flags: int, where: str) -> None:
    """KeyDriverError where another wrong PIN would lock the token, or it is locked."""
    if flags & PIN_LOCKED:
        raise KeyDriverError("pin-locked", f"{where}: {tries_left(flags)}")
    if flags & PIN_FINAL_TRY:
        # A service that is started again and again must not be what locks a token.
        raise KeyDriverError(
            "pin-final-try",
            f"{where}: one try is left and it is not used here; log in once with the token's own "
            "tool, then try again",
        )


def find_token(module: Module, uri: KeyUri, serial: "bytes | None" = None) -> Any:
    """The one token that a URI names; with `serial`, that one only."""
    where = uri.where()
    seen, found = [], []
    try:
        slots = module.library.get_slots(token_present=True)
    except RuntimeError as error:
        raise driver_error(error, where) from None
    for slot in slots:
        try:
            token = slot.get_token()
        except RuntimeError:
            continue  # pulled a moment ago, or of a kind that the library cannot read
        seen.append(token.label)
        if _matches(token, uri):
            found.append(token)
    if not found:
        labels = ", ".join(repr(label) for label in seen if label) or "none"
        raise KeyDriverError("no-token", f"{where}: no such token; tokens here: {labels}")
    if serial is not None:
        found = [token for token in found if token.serial == serial]
        if not found:
            raise KeyDriverError(
                "wrong-token", f"{where}: another token with this label is there now"
            )
    if len(found) > 1:
        serials = ", ".join(repr(token.serial.decode("ascii", "replace")) for token in found)
        raise KeyDriverError(
            "ambiguous-token", f"{where}: {len(found)} tokens; add serial= to the URI: {serials}"
        )
    return found[0]


def _matches(token: Any, uri: KeyUri) -> bool:
    wanted = (
        (uri.token, token.label),
        (uri.serial, token.serial.decode("utf-8", "replace")),
        (uri.manufacturer, token.manufacturer_id),
        (uri.model, token.model),
    )
    return all(want is None or want == got for want, got in wanted)


class Login:
    """A session in which the user is logged in, kept alive; used under the module's lock.

    `epoch` rises with each new session: handles of an older one are void.
    """

    def __init__(self, module: Module, uri: KeyUri, pin: str) -> None:
        self.module = module
        self.uri = uri
        self.users = 0
        self.epoch = 0
        self.token: Any = None
        self.serial: bytes | None = None
        self._pin = pin
        self._pid = os.getpid()
        self._session: Any = None
        self._generation = -1
        self._look_again_s = 0.0
        self._refused: KeyDriverError | None = None

    def __repr__(self) -> str:
        return f"Login({self.uri.token!r})"

    def same_pin(self, pin: str) -> bool:
        """Whether a second key's PIN is the one that opened the token."""
        return hmac.compare_digest(pin.encode(), self._pin.encode())

    def check_process(self) -> None:
        """KeyDriverError in a forked child: its sessions are its parent's."""
        if self._pid != os.getpid():
            raise KeyDriverError(
                "forked",
                f"{self.uri.where()}: was opened by another process; open it after the fork",
            )

    def session(self) -> Any:
        """The session; logs in again where the library was started anew for another key."""
        self.check_process()
        if self._session is None:
            self.reconnect()
        elif self._generation != self.module.generation:
            self._session = None  # the library has forgotten it: there is nothing to close
            self._open()
        return self._session

    def connect(self) -> None:
        """Log in for the first time."""
        self._open()

    def reconnect(self) -> None:
        """Log in again after the token was away; at most once in RECONNECT_S_MIN."""
        self.check_process()
        self._check_pace()
        self._look_again_s = time.monotonic() + RECONNECT_S_MIN
        self._close()
        try:
            self._open()
        except KeyDriverError as error:
            if error.reason != "no-token":
                raise
            try:
                self.module.restart()
            except RuntimeError as failed:
                raise driver_error(failed, self.uri.where()) from None
            self._open()

    def open_writable(self) -> Any:
        """Another session, to make keys in; the caller closes it."""
        return self.token.open(rw=True)

    def close(self) -> None:
        """Log out."""
        if self._pid == os.getpid():
            self._close()

    def _check_pace(self) -> None:
        if self._refused is not None:
            raise KeyDriverError(self._refused.reason, self._refused.message)
        if time.monotonic() < self._look_again_s:
            raise KeyDriverError(
                "no-token",
                f"{self.uri.where()}: the token is away; it is looked for once a second",
            )

    def _open(self) -> None:
        where = self.uri.where()
        # The serial number first: another token of that label must not be given this one's PIN.
        token = find_token(self.module, self.uri, self.serial)
        check_tries(int(token.flags), where)
        try:
            session = token.open(user_pin=self._pin)
        except RuntimeError as error:
            session = self._not_opened(error, token, where)
        self.token, self.serial = token, token.serial
        self._session, self._generation = session, self.module.generation
        self.epoch += 1

    def _not_opened(self, error: RuntimeError, token: Any, where: str) -> Any:
        name = type(error).__name__
        if name == "UserAlreadyLoggedIn":
            # By another part of this program, or in a session that the token still knows.
            try:
                return token.open()
            except RuntimeError as failed:
                raise driver_error(failed, where) from None
        if name in {"PinIncorrect", "PinLocked"}:
            self._refused = _wrong_pin(token, where, name)
            raise self._refused from None
        raise driver_error(error, where) from None

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is None or self._generation != self.module.generation:
            return
        try:
            session.close()
        except RuntimeError:
            return  # the token is gone, and the session with it


def _wrong_pin(token: Any, where: str, name: str) -> KeyDriverError:
    try:
        flags = int(token.slot.get_token().flags)
    except RuntimeError:
        flags = 0
    if name == "PinLocked":
        flags |= PIN_LOCKED
    reason = "pin-locked" if flags & PIN_LOCKED else "wrong-pin"
    return KeyDriverError(reason, f"{where}: the PIN is wrong; {tries_left(flags)}")


def enter(module: Module, uri: KeyUri, pin: str) -> Login:
    """The process's login at the token of a URI; made where there is none. Leave with leave()."""
    serial = _first_look(module, uri).serial
    login: Login | None = module.logins.get(serial)
    if login is None:
        login = Login(module, uri, pin)
        login.connect()
        module.logins[serial] = login
    elif not login.same_pin(pin):
        # The token would not look at it: for PKCS#11 the whole process is logged in.
        raise KeyDriverError(
            "wrong-pin", f"{uri.where()}: not the PIN that this process opened the token with"
        )
    login.users += 1
    return login


def _first_look(module: Module, uri: KeyUri) -> Any:
    for _ in range(LOOKS_MAX - 1):
        try:
            return find_token(module, uri)
        except KeyDriverError as error:
            # A library with logins is not started anew: its keys at work would lose theirs.
            if error.reason != "no-token" or module.logins:
                raise
        time.sleep(LOOK_AGAIN_S)
        try:
            module.restart()
        except RuntimeError as failed:
            raise driver_error(failed, uri.where()) from None
    return find_token(module, uri)


def leave(login: Login) -> None:
    """Give a login back; who was the last logs out."""
    login.users -= 1
    if login.users > 0:
        return
    login.close()
    if login.serial is not None:
        login.module.logins.pop(login.serial, None)
