"""Every kind of place that holds a key, real, with one face for the suite that all drivers pass.

A station can be unplugged and plugged in again; what cannot (a key in memory) says so.
"""

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from support import examples as ex
from support import swtpm
from support.chips608 import UNIQUE
from support.swtpm import AK, KEY
from support.tokens import PIN
from tallystick.evidence.attester import Attester
from tallystick.evidence.enrolment import (
    CUSTODY_PKCS11,
    CUSTODY_SECURE_ELEMENT,
    CUSTODY_SOFTWARE,
    CUSTODY_TPM,
)
from tallystick.evidence.keys import EDDSA, ES256, device_text
from tallystick.hw import _pkcs11_login as logins
from tallystick.hw.atecc608_setup import provision
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608 import VirtualAtecc608
from tallystick.tools import softhsm
from tallystick.tools._cache import ToolMissing
from tallystick.tools._ports import free_port
from tallystick.tools.swtpm import Swtpm

SERIAL = "0123A1B2C3D4E5F6EE"
FLEET = "acme"
ROOT = ex.Signer(ES256, "a fleet root of the key stations")
NOW_S = 1_800_000_000
WAIT_S = 60

_KEPT = tempfile.TemporaryDirectory(prefix="tally-key-stations-")


# As `tally chip serve`, and started in a tenth of its time.
SERVE = """
import sys, time
from tallystick.hw.virtual_atecc608 import VirtualAtecc608
from tallystick.hw.virtual_atecc608.server import serving
with serving(VirtualAtecc608.open(sys.argv[1]), port=int(sys.argv[2])):
    time.sleep(600)
"""


class KeyStation(ABC):
    """A place for keys 0 and 1; a subclass says how it is."""

    scheme = ""
    alg = ES256
    level = CUSTODY_SOFTWARE
    evidence = ""  # its type; empty where there is none
    attested = False  # whether its evidence is bound to the key and the fleet
    pin = True  # whether its keys need PIN
    counts = False
    unpluggable = True
    shared = True  # whether two programs can use it at once
    signatures = 64  # how many the suite makes to see that each s is low
    slow = False  # whether a signature takes as long as a chip's

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(sys.path)}

    @abstractmethod
    def uri(self, number: int = 0) -> str:
        """Of key `number`."""

    def secrets(self, _what: str) -> str | None:
        return PIN if self.pin else None

    def create(self, number: int = 0) -> Signer:
        return Signer.create(self.uri(number), self.alg, self.secrets)

    def open(self, number: int = 0) -> Signer:
        return Signer.from_uri(self.uri(number), self.secrets)

    def unplug(self, signer: Signer) -> None:  # noqa: B027 - for some there is nothing to do
        """Take it away while `signer` uses it."""

    def plug_in(self, signer: Signer) -> None:  # noqa: B027 - for some there is nothing to do
        """Bring it back."""

    def close(self) -> None:  # noqa: B027 - for some there is nothing to do
        """End what was started."""


class InFile(KeyStation):
    """A sealed file; open, the key is in memory."""

    scheme = "file"
    alg = EDDSA
    unpluggable = False

    def uri(self, number: int = 0) -> str:
        return f"file:{self.folder / f'key-{number}'}"


class InFileP256(InFile):
    alg = ES256


class InChip(KeyStation):
    """An ATECC608 in this process, at the real chip's times."""

    scheme = "atecc608"
    level = CUSTODY_SECURE_ELEMENT
    evidence = "atecc608-config"
    pin = False
    counts = True
    shared = False
    signatures = 12
    slow = True

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, patch)
        self.state = folder / "chip"
        VirtualAtecc608.new(str(self.state), unique=UNIQUE)
        # With a slot that has no key yet: set up, and its keys are made by the suite.
        provision(f"atecc608:virtual={self.state}", lambda _: SERIAL, lambda _: None)

    def uri(self, number: int = 0) -> str:
        return f"atecc608:virtual={self.state};slot={number + 1}"

    def unplug(self, signer: Signer) -> None:
        signer.chip.i2c.faults.unplugged = True  # type: ignore[attr-defined]

    def plug_in(self, signer: Signer) -> None:
        chip = signer.chip.i2c  # type: ignore[attr-defined]
        chip.faults.unplugged = False
        chip.power(on=True)


class InServedChip(InChip):
    """An ATECC608 that another process serves over TCP; unplugged by a kill."""

    shared = True

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, patch)
        self.port = free_port()
        self._start()

    def _start(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self.state), str(self.port)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end_s = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)
            else:
                return

    def uri(self, number: int = 0) -> str:
        return f"atecc608:tcp=127.0.0.1:{self.port};slot={number + 1}"

    def unplug(self, signer: Signer) -> None:
        self._server.send_signal(signal.SIGKILL)
        self._server.wait(WAIT_S)

    def plug_in(self, signer: Signer) -> None:
        self._start()

    def close(self) -> None:
        self._server.kill()
        self._server.wait(WAIT_S)


class InTpm(KeyStation):
    """A TPM 2.0 (swtpm) whose attestation key the fleet root vouches for; unplugged by a kill."""

    scheme = "tpm2"
    level = CUSTODY_TPM
    evidence = "tpm2-certify"
    attested = True
    counts = True

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, patch)
        self.attester = folder / "tpm" / "attester.cbor"
        shutil.copytree(attested_tpm(), folder / "tpm")
        self.tpm = Swtpm(folder / "tpm")
        self.tpm.start()

    def uri(self, number: int = 0) -> str:
        extra = f";ak=0x{AK:08x};attester={self.attester};pin=yes"
        return swtpm.uri(self.tpm, 0x81020010 + number, extra)

    def unplug(self, signer: Signer) -> None:
        self.tpm.kill()

    def plug_in(self, signer: Signer) -> None:
        self.tpm.start()

    def close(self) -> None:
        self.tpm.kill()


@functools.cache
def attested_tpm() -> Path:
    """The state of a TPM with a vouched attestation key; a copy starts like the TPM itself."""
    folder = Path(_KEPT.name) / "tpm"
    folder.mkdir()
    running = swtpm.running(folder)
    tpm = next(running)
    from tallystick.hw import tpm2

    ak = tpm2.open_attestation_key(swtpm.uri(tpm, KEY, f";ak=0x{AK:08x}"))
    ak.ensure()
    key = tpm2.challenges().attestation_key(ak.identity().ak)
    ak.close()
    made = Attester(key, CUSTODY_TPM, {"manufacturer": "IBM"}, (NOW_S - 10, NOW_S + 10))
    (folder / "attester.cbor").write_bytes(made.sign(ROOT, FLEET, device_text(key.thumbprint())))
    next(running, None)  # stops it
    return folder


class OnToken(KeyStation):
    """A PKCS#11 token (SoftHSM); unplugged by taking its folder away."""

    scheme = "pkcs11"
    level = CUSTODY_PKCS11
    evidence = "pkcs11-attributes"

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, patch)
        try:
            self.token = softhsm.SoftHsm(folder)
        except ToolMissing as error:
            pytest.skip(str(error))
        for name, value in self.token.environment.items():
            patch.setenv(name, value)
        self.environment |= self.token.environment
        patch.setattr(logins, "RECONNECT_S_MIN", 0.2)
        self.token.make("robot", PIN)

    def uri(self, number: int = 0) -> str:
        return self.token.uri("robot", f"key {number}")

    def unplug(self, signer: Signer) -> None:
        self.token.pull()

    def plug_in(self, signer: Signer) -> None:
        self.token.put_back()


class OnTokenEd25519(OnToken):
    alg = EDDSA


STATIONS = (InFile, InFileP256, InChip, InServedChip, InTpm, OnToken, OnTokenEd25519)
