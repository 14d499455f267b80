"""Keys in hardware for the replay's robots, side by side: ATECC608, TPM 2.0, PKCS#11 token.

All of it is software on this machine (the virtual chip, swtpm, SoftHSM), which behaves as the
hardware does and protects nothing.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.evidence.errors import TransportError
from tallystick.hw.signer import Signer
from tallystick.tools import attesters
from tallystick.tools._ports import HOST, free_port
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.replay.processes import Processes
from tallystick.tools.softhsm import SoftHsm
from tallystick.tools.swtpm import Swtpm
from tallystick.tools.virtual_robots import new_chip, wait_for_chip

# Which robot has what; the others have a chip each, in their own processes.
CHIP_OVER_TCP, TPM, TOKEN = 1, 2, 3
LABEL = "replay"
# SoftHSM lies on this disk in plain; its PIN guards nothing.
PIN = "replay-token"
TPM_KEY, TPM_AK = 0x81020001, 0x81020002


@dataclass(frozen=True)
class Held:
    """A key that exists: its URI, and what a process that uses it needs in its environment."""

    uri: str
    environment: dict[str, str] = field(default_factory=dict)


class Hardware:
    """Makes the robots' keys; everything that it starts ends with `stack`."""

    def __init__(self, folder: Path, processes: Processes, stack: ExitStack) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._processes = processes
        self._stack = stack

    def key(self, fleet: Fleet, number: int) -> Held:
        """A new key for robot `number`, of the kind that it has here."""
        if number == CHIP_OVER_TCP:
            return self._chip_over_tcp(number)
        if number == TPM:
            return self._tpm(fleet)
        if number == TOKEN:
            return self._token(number)
        return Held(new_chip(self._folder / f"robot-{number}.chip"))

    def _chip_over_tcp(self, number: int) -> Held:
        path = self._folder / f"robot-{number}.chip"
        new_chip(path)
        port = free_port()
        name = f"chip-{number}"
        listen = f"{HOST}:{port}"
        self._processes.tally(name, "chip", "serve", "--state", str(path), "--listen", listen)
        try:
            wait_for_chip(HOST, port)
        except TransportError:
            self._processes.check([name])
            raise
        return Held(f"atecc608:tcp={listen}")

    def _tpm(self, fleet: Fleet) -> Held:
        tpm = Swtpm(self._folder / "tpm")
        chain = tpm.make_certificates()
        self._stack.enter_context(tpm)
        where = f"tpm2:handle=0x{TPM_KEY:08x};ak=0x{TPM_AK:08x};tcti={tpm.tcti}"
        statement = attesters.vouch_here(fleet, "robot-tpm", where, (chain,))
        uri = f"{where};attester={statement}"
        Signer.create(uri).close()
        return Held(uri)

    def _token(self, number: int) -> Held:
        token = SoftHsm(self._folder / "token")
        token.make(LABEL, PIN)
        pin_file = self._folder / "token.pin"
        pin_file.touch(0o600)
        pin_file.write_text(f"{PIN}\n")
        uri = token.uri(LABEL, f"robot-{number}", pin_file)
        # Read when the library is loaded, so it must stand in our own environment too.
        os.environ.update(token.environment)
        Signer.create(uri).close()
        return Held(uri, token.environment)
