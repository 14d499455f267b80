# CPython only
"""Linux's /dev/i2c-N with machine.I2C's methods, by the standard library alone."""

import fcntl
import os

from tallystick.evidence.errors import KeyDriverError

I2C_SLAVE = 0x0703  # linux/i2c-dev.h
SCAN = range(0x08, 0x78)
EBUSY = 16
NOBODY = (6, 121)  # ENXIO, EREMOTEIO: no acknowledgement


class LinuxI2C:
    """One bus; several programs may have it open, and lock() gives it to one."""

    def __init__(self, bus: int) -> None:
        self.path = "/dev/i2c-%d" % bus
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise KeyDriverError(
                "no-bus",
                "%s does not exist; buses here: %s. Switch I2C on (raspi-config, or the kernel "
                "module i2c-dev)" % (self.path, _buses()),
            )
        except PermissionError:
            raise KeyDriverError(
                "no-bus", "%s: this user may not use it; add it to the group i2c" % self.path
            )
        except OSError as error:
            raise KeyDriverError("no-bus", "%s: %s" % (self.path, error))
        self._address = -1

    def _choose(self, address: int) -> None:
        if address == self._address:
            return
        try:
            fcntl.ioctl(self._file, I2C_SLAVE, address)
        except OSError as error:
            if error.errno != EBUSY:
                raise
            raise KeyDriverError(
                "chip-in-use",
                "%s: a driver of the kernel has address 0x%02X; unload it (modprobe -r atmel_ecc)"
                % (self.path, address),
            )
        self._address = address

    def writeto(self, address: int, data: bytes) -> int:
        """Write; OSError when nobody acknowledges."""
        self._choose(address)
        return os.write(self._file, data)

    def readfrom(self, address: int, size: int) -> bytes:
        """Read exactly so many bytes; OSError when nobody acknowledges."""
        self._choose(address)
        data = os.read(self._file, size)
        if len(data) != size:
            raise OSError(5, "the bus gave %d of %d bytes" % (len(data), size))
        return data

    def scan(self) -> list[int]:
        """The addresses that answer to a read of one byte."""
        found = []
        for address in SCAN:
            try:
                self.readfrom(address, 1)
            except KeyDriverError:
                pass  # somebody is there: the kernel's driver has it
            except OSError as error:
                if error.errno not in NOBODY:
                    raise
                continue
            found.append(address)
        return found

    def lock(self) -> bool:
        """Whether this program has the bus for itself now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Let others have it."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _buses() -> str:
    found = sorted(name for name in os.listdir("/dev") if name.startswith("i2c-"))
    return ", ".join(found) or "none"
