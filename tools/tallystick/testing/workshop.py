"""A fleet for tests in a folder of its own: its root, its gateway, and robots ready to record."""

import os
from pathlib import Path
from typing import Any

from tallystick.evidence import cbor, enrolment
from tallystick.evidence.enrolment import Enrolment
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import ES256, b64u, device_text
from tallystick.evidence.root import format_root
from tallystick.hw import atecc608_commands as commands
from tallystick.hw.atecc608 import AteccKey
from tallystick.hw.atecc608_chip import Chip
from tallystick.hw.atecc608_open import ADDRESS
from tallystick.hw.atecc608_setup import Setup
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608 import Eeprom, Memory, VirtualAtecc608
from tallystick.testing.gateway import MemoryGateway
from tallystick.testing.recorder import BenchRecorder
from tallystick.verify import profiles
from tallystick.verify.profile_toml import parse_profile

FLEET = "testing"
NAMESPACE = "testing"
INTERVAL_S = 60
VALIDITY_S = [0, 1 << 40]
JOURNAL_BYTES = 16 << 20
UNIQUE_BYTES = 6
SLOT = 0


class QuickChip(Chip):
    """The driver of a chip that takes no time: it waits for none."""

    def step(self) -> None:
        """As Chip.step, and again at once."""
        super().step()
        self._due = 0


def new_chip_key() -> AteccKey:
    """The key of a new virtual ATECC608 in memory, set up as `tally key provision` does it."""
    bus = VirtualAtecc608(Memory(Eeprom.factory(os.urandom(UNIQUE_BYTES))), time_scale=0.0)
    chip = QuickChip(bus, ADDRESS)
    setup = Setup(chip, SLOT, chip.run(commands.read_config, chip))
    return AteccKey(chip, SLOT, setup.run(setup.serial, lambda _: None))


class Workshop:
    """Everything lies below `folder`; close() ends what was opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._profiles = folder / "profiles"
        self._profiles.mkdir(parents=True)
        self._root = Signer.create(f"file:{folder / 'root.key'}", alg=ES256)
        self._gateway = Signer.create(f"file:{folder / 'gateway.key'}", alg=ES256)
        self._open: dict[str, BenchRecorder] = {}
        for name in profiles.NAMES:
            self.use_profile(profiles.text(name))

    def use_profile(self, text: str) -> None:
        """Every robot here has this profile from now on, as `name@version`; from its TOML text."""
        profile = parse_profile(text)
        path = self._profiles / f"{profile.name}@{profile.version}.cbor"
        path.write_bytes(profile.device_profile().encode())

    def open(self, label: str, *, chip: bool = True, **settings: Any) -> BenchRecorder:
        """Enrol a robot and open its recorder; its key is in a virtual chip, or a software key.

        settings: of tallystick.json.
        """
        if label in self._open:
            raise Malformed("bad-value", f"{label} is open already")
        folder = self.folder / "robots" / label
        folder.mkdir(parents=True)
        signer: Any = new_chip_key() if chip else Signer.create(f"file:{folder / 'key'}")
        enrolled = self._enrol(signer, label, chip=chip)
        (folder / "credential.cbor").write_bytes(cbor.encode([enrolled]))
        gateway = MemoryGateway(self._gateway, FLEET, enrolled)
        made = BenchRecorder.open(self._config(folder, settings), uplink=gateway, signer=signer)
        if not isinstance(made, BenchRecorder):
            message = "TALLY=off is set, so nothing is recorded: there is nothing to test"
            raise TallyError("bad-config", message)
        made.gateway = gateway
        made.workshop = self
        self._open[label] = made
        return made

    def peer(self, label: str) -> BenchRecorder:
        """The robot of this name, with a software key; opened when it is not."""
        return self._open.get(label) or self.open(label, chip=False)

    def close(self) -> None:
        """Close every recorder."""
        for made in self._open.values():
            made.end()
        self._open.clear()

    def _enrol(self, signer: Any, label: str, *, chip: bool) -> bytes:
        key, possession = enrolment.request(signer, FLEET)
        held, evidence = enrolment.CUSTODY_SOFTWARE, []
        if chip:
            held = enrolment.CUSTODY_SECURE_ELEMENT
            evidence = signer.evidence(enrolment.custody_context(key, FLEET))
        enrolled = Enrolment(
            enrolment.SUBJECT_DEVICE,
            key.thumbprint(),
            key,
            held,
            evidence,
            {"label": label},
            [],
            INTERVAL_S,
            VALIDITY_S,
            possession,
        )
        return enrolled.sign(self._root, FLEET, key.thumbprint())

    def _config(self, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
        gateway = self._gateway.public_key()
        key = b64u(cbor.encode(gateway.cose_key()))
        pin = {"id": device_text(gateway.thumbprint()), "key": key}
        return {
            "fleet": FLEET,
            "key": f"file:{folder / 'key'}",
            "journal": str(folder / "journal"),
            "credential": str(folder / "credential.cbor"),
            "roots": [format_root(FLEET, self._root.public_key())],
            "gateways": [pin],
            "profiles": str(self._profiles),
            "namespace": NAMESPACE,
            "journal_bytes": JOURNAL_BYTES,
            **settings,
        }
