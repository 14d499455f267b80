# CPython only
"""PKCS#11 libraries in this process: loaded once, locked, started anew, never used after a fork.

python-pkcs11 starts a library without telling it of threads (C_Initialize with NULL), so all calls
of one library are made under one lock: two keys of one library sign one after the other.
"""

import os
import threading
from typing import Any

from tallystick.evidence.errors import KeyDriverError

MODULE_VARIABLE = "TALLYSTICK_PKCS11_MODULE"


class Module:
    """One library; `generation` rises when it was started anew and every handle is void."""

    def __init__(self, path: str, library: Any) -> None:
        self.path = path
        self.library = library
        self.lock = threading.RLock()
        self.generation = 0
        self.users = 0
        # Serial number -> the login there (_pkcs11_login.Login), shared by this process's keys.
        self.logins: dict[bytes, Any] = {}

    def restart(self) -> None:
        """Start the library anew: some list their tokens once, when they start."""
        self.generation += 1
        _start_anew(self.library)


_registry_lock = threading.RLock()
_modules: dict[str, Module] = {}
# Libraries whose state a forked child got from its parent (PKCS#11 2.40, section 5.4).
_inherited: set[str] = set()


def _after_fork() -> None:
    # Another thread may have held a lock at the fork, so the child gets new ones.
    global _registry_lock  # noqa: PLW0603  # one for the process
    _registry_lock = threading.RLock()
    _inherited.update(_modules)
    _modules.clear()


os.register_at_fork(after_in_child=_after_fork)


def binding() -> Any:
    """python-pkcs11."""
    try:
        import pkcs11  # noqa: PLC0415  # an extra, needed for these keys only
    except ImportError:
        raise KeyDriverError(
            "no-library", "pkcs11: keys need python-pkcs11: pip install 'tallystick[pkcs11]'"
        ) from None
    return pkcs11


def acquire(path: "str | None") -> Module:
    """The library of `path`, or of TALLYSTICK_PKCS11_MODULE; give it back with release()."""
    pkcs11 = binding()
    path = path or os.environ.get(MODULE_VARIABLE)
    if not path or not path.startswith("/"):
        raise KeyDriverError(
            "no-module",
            "pkcs11: no library is named; add ?module-path=/PATH/LIB.so to the key's URI or set "
            + MODULE_VARIABLE
            + " to an absolute path",
        )
    with _registry_lock:
        module = _modules.get(path)
        if module is None:
            module = _modules[path] = Module(path, _start(pkcs11, path))
        module.users += 1
        return module


def _start_anew(library: Any) -> None:
    try:
        library.finalize()
    except RuntimeError:
        pass  # some end by themselves in a forked child, or fail without their token
    library.initialize()


def _start(pkcs11: Any, path: str) -> Any:
    if not os.path.isfile(path):
        raise KeyDriverError("no-module", f"{path}: there is no PKCS#11 library there")
    try:
        library = pkcs11.lib(path)
        if path in _inherited:
            _start_anew(library)
            _inherited.discard(path)
    except RuntimeError as error:
        raise KeyDriverError(
            "no-module", f"{path}: cannot be used as a PKCS#11 library ({type(error).__name__})"
        ) from None
    return library


def release(module: Module) -> None:
    """Give it back; who was the last ends it, with every session that may be left."""
    with _registry_lock, module.lock:
        module.users -= 1
        if module.users > 0 or _modules.get(module.path) is not module:
            return
        del _modules[module.path]
        try:
            module.library.finalize()
        except RuntimeError:
            # The token is gone, and nothing of ours is left in the library.
            return
