# CPython only
"""Keys on a PKCS#11 token: `pkcs11:token=LABEL;object=LABEL?module-path=PATH&pin-source=file:PATH`.

Of RFC 7512 these attributes are taken, and any other is refused: `token`, `manufacturer`,
`serial`, `model` name the token; `object`, `id` the key; `type` may say `private`; in the query
`module-path` (absolute) and `pin-source` (`file:` and an absolute path).  A token needs its label
or serial, a key its label or id.  Without `module-path` the library is TALLYSTICK_PKCS11_MODULE's.

The PIN comes from `pin-source`, else from the caller's secrets, else from TALLY_PIN.  It stays in
memory, so that the driver can log in again when the token was pulled and came back: once for each
failed call, at most once a second, never with a PIN that the token has refused, and only at the
token with the serial number that it was opened with.

A forked child cannot use what its parent opened (KeyDriverError "forked"); it opens anew.
Calls of one library are made one after the other, whichever thread or key they are for.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tallystick.evidence import custody_pkcs11
from tallystick.evidence.custody_pkcs11 import Pkcs11Attributes
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import EDDSA, ES256, PublicKey
from tallystick.hw import _pkcs11_objects as objects
from tallystick.hw import secret
from tallystick.hw._pkcs11_login import Login, driver_error, enter, gone, leave
from tallystick.hw._pkcs11_module import Module, acquire, release
from tallystick.hw._pkcs11_uri import KeyUri, parse
from tallystick.hw.signer import Signer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets

T = TypeVar("T")

# How long close() waits for a signature that is under way.
CLOSE_S_MAX = 10.0


def open_signer(rest: str, secrets: "Secrets | None" = None) -> "Pkcs11Key":
    """The key that the URI names; KeyDriverError says what is missing."""
    uri = parse(rest)
    module, login = _enter(uri, secrets)
    try:
        return Pkcs11Key(module, login, uri)
    except BaseException:
        _leave(module, login)
        raise


def create_signer(
    rest: str, alg: "int | None" = None, secrets: "Secrets | None" = None
) -> "Pkcs11Key":
    """Make a key on the token: sensitive, private, not extractable; P-256 unless `alg` says."""
    uri = parse(rest)
    alg = ES256 if alg is None else alg
    if alg not in {ES256, EDDSA}:
        raise KeyDriverError("no-such-key", "a key is of algorithm -7 (ES256) or -8 (EdDSA)")
    if uri.object is None:
        raise KeyDriverError("bad-key-uri", "pkcs11: a new key needs a label: object=LABEL")
    module, login = _enter(uri, secrets)
    try:
        with module.lock:
            # Found by its id from now on: another program may just be making one of this label, and
            # will withdraw it.
            uri.id = _make(login, uri, alg)
        return Pkcs11Key(module, login, uri)
    except BaseException:
        _leave(module, login)
        raise


def _make(login: Login, uri: KeyUri, alg: int) -> bytes:
    try:
        session = login.open_writable()
        try:
            return objects.make(session, uri, alg)
        finally:
            session.close()
    except RuntimeError as error:
        raise driver_error(error, uri.where()) from None


def _pin(uri: KeyUri, secrets: "Secrets | None") -> str:
    if uri.pin_file is not None:
        return secret.read_secret(uri.pin_file)
    pin = secrets(uri.where()) if secrets is not None else None
    if not pin:
        pin = secret.from_environment()
    if not pin:
        raise KeyDriverError(
            "no-pin",
            f"{uri.where()}: its PIN is needed: pin-source=file:/PATH in the URI, TALLY_PIN, or a "
            "command's --pin-file",
        )
    return pin


def _enter(uri: KeyUri, secrets: "Secrets | None") -> "tuple[Module, Login]":
    pin = _pin(uri, secrets)
    module = acquire(uri.module)
    try:
        with module.lock:
            return module, enter(module, uri, pin)
    except BaseException:
        release(module)
        raise


def _leave(module: Module, login: Login) -> None:
    with module.lock:
        leave(login)
    release(module)


class Pkcs11Key(Signer):
    """A private key on a token; neither repr nor errors show the PIN."""

    custody = "pkcs11"
    # In a thread, by a library that does not say how long it will take.
    waits = 2

    def __init__(self, module: Module, login: Login, uri: KeyUri) -> None:
        self._module = module
        self._login = login
        self._uri = uri
        self._pid = os.getpid()
        self._open = True
        self._job: _Job | None = None
        self._epoch = -1
        with module.lock:
            self._handles = self._called(self._find)
        self.alg = self._handles.public.alg

    def __repr__(self) -> str:
        return f"Pkcs11Key({self._uri.where()}, {self.public_key()!r})"

    def public_key(self) -> PublicKey:
        return self._handles.public

    def begin(self, message: bytes) -> None:
        # In a thread of its own: a smart card takes as long as a chip does, and the library's call
        # waits for it without Python's lock.
        self._check_idle()
        self._job = _Job(self, bytes(message))

    def poll(self) -> bool:
        job = self._job
        if job is None:
            raise self._refused("not-signing", "signs nothing: begin() first")
        if not job.done.is_set():
            # Python's lock is offered to the signing thread: a caller that polls in a circle would
            # keep it for 5 ms each time that the thread wants it.
            time.sleep(0)
            return False
        job.polled = True
        if job.error is not None:
            self._job = None
            raise job.error
        return True

    def signature(self) -> bytes:
        job = self._job
        if job is None or not job.polled or job.result is None:
            raise self._refused("not-ready", "has no signature ready")
        self._job = None
        return job.result

    def sign(self, message: bytes) -> bytes:
        """A signature; blocks, in the caller's thread."""
        self._check_idle()
        self._job = None
        return self.sign_now(bytes(message))

    def sign_now(self, message: bytes) -> bytes:
        """What sign() and a begun signature both do."""
        self._check_open()
        with self._module.lock:
            return self._called(lambda: self._current().sign(message))

    def evidence(self, context: bytes) -> "list[list[Any]]":  # noqa: ARG002  # nothing here is attested
        """The token's own words on how it holds the key (docs/protocol.md, 5.3)."""
        self._check_open()
        with self._module.lock:
            return self._called(self._evidence)

    def _evidence(self) -> "list[list[Any]]":
        handles = self._current()
        token = self._login.token
        says = {
            "label": token.label,
            "manufacturer": token.manufacturer_id,
            "model": token.model,
            "serial": token.serial.decode("utf-8", "replace"),
        }
        held = objects.attributes(handles.private)
        made = Pkcs11Attributes(says, held, f"CKM_{handles.mechanism}")
        return [[custody_pkcs11.TYPE, made.encode()]]

    def self_test(self) -> "list[str]":
        said = super().self_test()
        with self._module.lock:
            token = self._login.token
            held = self._called(lambda: objects.attributes(self._current().private))
        said.insert(0, f"the token answers: {token.manufacturer_id} {token.model}".rstrip())
        wrong = objects.unlike(held)
        if wrong:
            raise self._refused(
                "weak-custody", f"is held less well than one made by us: {', '.join(wrong)}"
            )
        said.append("the key was made on the token, and the token gives it to nobody")
        return said

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        # In a forked child all of this is the parent's, locks included.
        if self._pid != os.getpid():
            return
        job, self._job = self._job, None
        if job is not None and not job.done.wait(CLOSE_S_MAX):
            return  # a token that never answers holds the library, and nothing can be given back
        _leave(self._module, self._login)

    def _check_open(self) -> None:
        if not self._open:
            raise self._refused("closed", "is closed")
        self._login.check_process()

    def _check_idle(self) -> None:
        self._check_open()
        # Until poll() said so it is not done, however fast the token was.
        if self._job is not None and not self._job.polled:
            raise self._refused("busy", "is still signing")

    def _find(self) -> objects.Handles:
        session = self._login.session()
        found = objects.find(session, self._uri)
        self._epoch = self._login.epoch
        return found

    def _current(self) -> objects.Handles:
        # Handles end with their session; the key that is found again must be the same.
        self._login.session()
        if self._epoch != self._login.epoch:
            found = self._find()
            if found.public != self._handles.public:
                self._epoch = -1
                raise self._refused("wrong-key", "was replaced by another of its name")
            self._handles = found
        return self._handles

    def _called(self, call: "Callable[[], T]") -> "T":
        """What a call gives; after a failure that a new login may mend, once more."""
        where = self._uri.where()
        try:
            return call()
        except RuntimeError as error:
            if not gone(error):
                raise driver_error(error, where) from None
        self._login.reconnect()
        try:
            return call()
        except RuntimeError as error:
            raise driver_error(error, where) from None


class _Job:
    """One signature in a thread."""

    def __init__(self, key: Pkcs11Key, message: bytes) -> None:
        self.done = threading.Event()
        self.polled = False
        self.result: bytes | None = None
        self.error: KeyDriverError | None = None
        # A daemon: a token that never answers must not keep the program from ending.
        threading.Thread(
            target=self._run, args=(key, message), name="pkcs11 signature", daemon=True
        ).start()

    def _run(self, key: Pkcs11Key, message: bytes) -> None:
        try:
            self.result = key.sign_now(message)
        except KeyDriverError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001  # poll() must end, whatever went wrong here
            self.error = KeyDriverError(
                "token-failed", f"the driver failed: {type(error).__name__}"
            )
        finally:
            self.done.set()
