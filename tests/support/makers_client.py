"""The chip maker's own client (`cryptoauthlib`), on any bus with machine.I2C's methods.

Its licence allows use with that maker's parts: it serves here as the judge of our virtual chip's
and our driver's wire behaviour, is installed for tests alone (scripts/hardware-packages), and
nothing of the product imports it. Its I2C layer is replaced through `hal_iface_register_hal`.
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ADDRESS = 0x60
SUCCESS = 0
# The library keeps a status in a signed byte.
NO_RESPONSE = -25  # ATCA_RX_NO_RESPONSE
UNIMPLEMENTED = -11
POLL_S = 0.002

_INIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_POST = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_SEND = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint8, ctypes.POINTER(ctypes.c_uint8), ctypes.c_int
)
_RECEIVE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint8,
    ctypes.POINTER(ctypes.c_uint8),
    ctypes.POINTER(ctypes.c_uint16),
)
_CONTROL = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint8, ctypes.c_void_p, ctypes.c_size_t
)
_RELEASE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class _Hal(ctypes.Structure):
    _fields_ = (
        ("init", _INIT),
        ("post_init", _POST),
        ("send", _SEND),
        ("receive", _RECEIVE),
        ("control", _CONTROL),
        ("release", _RELEASE),
    )


class _Wires:
    """The library's I2C layer; it is one for the process, and `bus` is what it talks to now."""

    def __init__(self, library: Any) -> None:
        from cryptoauthlib import iface

        self.bus: Any = None
        self.config = iface.ATCAIfaceCfg()
        self.config.iface_type = int(iface.ATCAIfaceType.ATCA_I2C_IFACE)
        self.config.devtype = int(iface.ATCADeviceType.ATECC608B)
        self.config.cfg.atcai2c.bus = 1
        self.config.cfg.atcai2c.baud = 100_000
        self.config.wake_delay = 1_500
        self.config.rx_retries = 20
        self._hal = _Hal(
            _INIT(lambda _iface, _config: SUCCESS),
            _POST(lambda _iface: SUCCESS),
            _SEND(self._send),
            _RECEIVE(self._receive),
            _CONTROL(lambda _iface, _option, _value, _size: UNIMPLEMENTED),
            _RELEASE(lambda _data: SUCCESS),
        )
        old, old_phy = ctypes.c_void_p(), ctypes.c_void_p()
        done = library.hal_iface_register_hal(
            0, ctypes.byref(self._hal), ctypes.byref(old), None, ctypes.byref(old_phy)
        )
        assert done == SUCCESS

    def _send(self, _iface: Any, word: int, data: Any, size: int) -> int:
        rest = bytes(data[:size]) if data and size > 0 else b""
        address = self.config.cfg.atcai2c.address >> 1  # 0 while the library sends a wake pulse
        try:
            self.bus.writeto(address, bytes((word,)) + rest)
        except OSError:
            return NO_RESPONSE
        return SUCCESS

    def _receive(self, _iface: Any, _word: int, data: Any, size: Any) -> int:
        try:
            found = self.bus.readfrom(ADDRESS, size[0])
        except OSError:
            time.sleep(POLL_S)
            return NO_RESPONSE
        ctypes.memmove(data, found, len(found))
        return SUCCESS


_wires: "_Wires | None" = None


@contextmanager
def makers_client(bus: Any) -> Iterator[Any]:
    """The module `cryptoauthlib`, initialized on `bus`; its functions give status codes."""
    global _wires  # noqa: PLW0603 - the library has one table of layers a process
    library = pytest.importorskip("cryptoauthlib", reason="scripts/hardware-packages brings it")
    if _wires is None:
        library.load_cryptoauthlib()
        _wires = _Wires(library.library.get_cryptoauthlib())
    _wires.bus = bus
    _wires.config.cfg.atcai2c.address = ADDRESS << 1
    done = library.atcab_init(_wires.config)
    try:
        yield library if done == SUCCESS else _Failed(done)
    finally:
        library.atcab_release()
        _wires.bus = None


class _Failed:
    """An initialization that failed: `init_status` says how."""

    def __init__(self, status: int) -> None:
        self.init_status = status
