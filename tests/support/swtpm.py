"""A software TPM for the tests of one file; its URI parts, and what it holds."""

import gc
import os
import select
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.counter import Counter
from tallystick.hw.signer import Signer
from tallystick.tools._ports import HOST
from tallystick.tools.swtpm import Swtpm, find

KEY = 0x81020001
AK = 0x81020002
PIN_KEY = 0x81020003
PIN = "correct horse"


def running(folder: Path, *, certified: bool = True) -> Iterator[Swtpm]:
    """A started TPM, with endorsement certificates of its maker (`maker/ca.pem`) unless not wanted.

    The test is skipped where swtpm or tpm2-pytss is not installed.
    """
    from tallystick.tools._cache import ToolMissing

    pytest.importorskip("tpm2_pytss", reason="tpm2-pytss is not installed")
    try:
        find()
        find("swtpm_setup")
    except ToolMissing as error:
        pytest.skip(str(error))
    tpm = Swtpm(folder)
    if certified:
        tpm.make_certificates()
    with tpm:
        yield tpm


def uri(tpm: Swtpm, handle: int = KEY, extra: str = "") -> str:
    """The key's URI in this TPM."""
    return f"tpm2:handle=0x{handle:08x}{extra};tcti={tpm.tcti}"


def secrets(pin: str | None = PIN) -> Callable[[str], str | None]:
    """A callback that gives this PIN to whoever asks."""
    return lambda _what: pin


def transient(tpm: Swtpm) -> list[int]:
    """Handles of transient objects and of sessions, loaded or saved: nothing must stay behind."""
    from tpm2_pytss import TPM2_CAP

    from tallystick.hw.tpm2_context import Tpm

    def ask(connection: object) -> list[int]:
        found = []
        for first in (0x80000000, 0x02000000, 0x03000000):
            _, given = connection.esapi.get_capability(TPM2_CAP.HANDLES, first, 16)  # type: ignore[attr-defined]  # the library has no types
            found += [
                int(handle) for handle in given.data.handles if int(handle) >> 24 == first >> 24
            ]
        return found

    return list(Tpm(tpm.tcti).run("test", ask))


def evict(tpm: Swtpm, handle: int) -> None:
    """Take a persistent key out, as `tpm2_evictcontrol` does."""
    from tpm2_pytss import ESYS_TR

    from tallystick.hw.tpm2_context import Tpm

    Tpm(tpm.tcti).run(
        "test", lambda c: c.esapi.evict_control(ESYS_TR.OWNER, c.persistent(handle), handle)
    )


def fresh(tpm: Swtpm, handle: int = KEY, extra: str = "") -> Signer:
    """A new key at `handle`, in place of the one that is there."""
    try:
        evict(tpm, handle)
    except Exception as error:
        if getattr(error, "reason", "") != "no-key":
            raise
    gc.collect()
    return Signer.create(uri(tpm, handle, extra), secrets=secrets())


class Device:
    """A software TPM as a device file at `path`, as the kernel gives one; a context manager.

    It adds a byte to the file `counted` for each command.

    Each command that is written is answered by what is then read. The connection behind it is made
    anew for each command, so that the TPM may be killed and started in between.
    """

    def __init__(self, tpm: Swtpm, path: Path, counted: Path) -> None:
        self._tpm = tpm
        self.path = path
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._counted = counted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "Device":
        self._thread.start()
        self.path.symlink_to(os.ttyname(self._slave))
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink()
        self._stop.set()
        self._thread.join(60)
        # Pulled out: who has it open gets errors from now on.
        os.close(self._slave)
        os.close(self._master)

    def _serve(self) -> None:
        while command := self._command():
            with self._counted.open("ab") as file:
                file.write(b".")
            try:
                answer = self._ask(command)
            except OSError:
                # As a driver whose TPM is gone: an answer that is none.
                answer = bytes(10)
            os.write(self._master, answer)

    def _command(self) -> bytes:
        data = b""
        while len(data) < 6 or len(data) < int.from_bytes(data[2:6], "big"):
            if self._stop.is_set():
                return b""
            if select.select([self._master], [], [], 0.05)[0]:
                data += os.read(self._master, 4096)
        return data

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection((HOST, self._tpm.port), timeout=90) as link:
            link.sendall(command)
            data = b""
            while len(data) < 6 or len(data) < int.from_bytes(data[2:6], "big"):
                data += link.recv(4096) or self._gone()
            return data

    def _gone(self) -> bytes:
        raise ConnectionError


def refused(reason: str, action: object, *arguments: object, **named: object) -> KeyDriverError:
    """The error that a call must end with; it shows no PIN."""
    with pytest.raises(KeyDriverError) as caught:
        action(*arguments, **named)  # type: ignore[operator]  # a method under test
    assert caught.value.reason == reason, caught.value
    assert PIN not in str(caught.value) and PIN not in repr(caught.value)
    return caught.value


def counter_of(key: Signer) -> Counter:
    """A key's counter, which a TPM always has."""
    counter = key.counter()
    assert counter is not None
    return counter
