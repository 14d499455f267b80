"""A fleet, its devices' folders, and a small honest gateway that checks whatever reaches it.

It verifies every segment as a gateway does and keeps every checkpoint that left a device, so a test
can ask at its end whether a device ever contradicted itself.
"""

from pathlib import Path
from typing import Any

from tallystick.evidence import checkpoint, enrolment, hello, segment
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.deviceprofile import DeviceProfile
from tallystick.evidence.enrolment import Enrolment, request
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import EDDSA, b64u, device_text
from tallystick.evidence.resend import Resend
from tallystick.evidence.root import format_root
from tallystick.evidence.segment import VerifiedSegment, verify_segment
from tallystick.evidence.tree import Tree
from tallystick.evidence.welcome import Welcome
from tallystick.hw.signer import Signer

FLEET = "acme"
TIME_MS = 1_790_000_000_000
PROFILE = DeviceProfile(
    bytes(range(32)),
    "handover",
    1,
    {
        "giver": {
            "released": {
                "item": ["text", None, None, True],
                "position_m": ["numbers", "m", 3, True],
                "speed_m_s": ["number", "m/s", 3, False],
            }
        },
        "receiver": {
            "acquired": {
                "item": ["text", None, None, True],
                "position_m": ["numbers", "m", 3, True],
            }
        },
    },
)


class Fleet:
    """A fleet root and a gateway's key; `device(name)` makes a configuration."""

    def __init__(self, folder: Path, alg: int = EDDSA) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.root = Signer.create(f"file:{folder / 'root.key'}", alg=alg)
        self.gateway = Signer.create(f"file:{folder / 'gateway.key'}", alg=alg)

    @property
    def root_line(self) -> str:
        return format_root(FLEET, self.root.public_key())

    def device(
        self,
        name: str,
        alg: int = EDDSA,
        signer: Any = None,
        promised_s: int = 60,
        **settings: Any,
    ) -> dict[str, Any]:
        """A configuration as `tally fleet enroll` would write it; `signer` holds its key.

        promised_s: the enrolment's longest time between checkpoints.
        """
        folder = self.folder / name
        (folder / "profiles").mkdir(parents=True)
        signer = signer or Signer.create(f"file:{folder / 'key'}", alg=alg)
        key, possession = request(signer, FLEET)
        device = key.thumbprint()
        enrolled = Enrolment(
            0, device, key, 0, [], {"name": name}, [], promised_s, [0, 2**40], possession
        ).sign(self.root, FLEET, device)
        (folder / "credential.cbor").write_bytes(encode([enrolled]))
        (folder / "profiles" / "handover@1.cbor").write_bytes(PROFILE.encode())
        gateway = self.gateway.public_key()
        return {
            "fleet": FLEET,
            "key": f"file:{folder / 'key'}",
            "journal": str(folder / "journal"),
            "credential": str(folder / "credential.cbor"),
            "roots": [self.root_line],
            "gateways": [
                {"id": device_text(gateway.thumbprint()), "key": b64u(encode(gateway.cose_key()))}
            ],
            "profiles": str(folder / "profiles"),
            "namespace": "site-1",
            "checkpoint_records": 8,
            "checkpoint_s": 0.05,
            "interval_s": 60,
            "resend_s": 0.4,
            **settings,
        }


class Station:
    """One gateway for one device. `answer()` returns what it sends down for one message up."""

    def __init__(self, fleet: Fleet, credential: list[bytes]) -> None:
        self.fleet = fleet
        enrolled = enrolment.parse(credential[0])
        self.device = enrolled.id
        self.key = enrolled.key
        self.trees: dict[bytes, Tree] = {}
        self.records: dict[bytes, list[bytes]] = {}
        self.heads: list[checkpoint.VerifiedCheckpoint] = []
        self.receipts: dict[bytes, bytes] = {}
        self.newest: checkpoint.VerifiedCheckpoint | None = None
        self.hellos: list[hello.Hello] = []
        self.segments: list[VerifiedSegment] = []
        self.repeated = 0
        self.asked = 0
        self.silent = False
        self.time_ms = TIME_MS

    def answer(self, message: bytes) -> list[bytes]:
        """What goes down for this message."""
        kind = message[1]
        if kind == 15:
            greeting = hello.parse(message)
            assert greeting.device == self.device
            self.hellos.append(greeting)
            newest = self.newest.encode() if self.newest is not None else None
            receipt = self.receipts.get(greeting.epoch)
            return [Welcome(self.time_ms, newest, receipt).encode()]
        return self._segment(segment.parse(message))

    def _segment(self, received: segment.Segment) -> list[bytes]:
        tree = self.trees.get(received.epoch)
        known = tree.size if tree is not None else 0
        if received.to <= known and received.first < known:
            # Heads alone can be checked: this part is known.
            self.repeated += 1
            for part in received.stretches:
                self._head(checkpoint.parse(part.checkpoint).verify(self.key))
            return self._custody(received.epoch)
        if received.first > known and received.edge is None:
            self.asked += 1
            return [Resend(received.epoch, known, None).encode()]
        edge = tree if tree is not None and received.first == known else None
        verified = verify_segment(received, self.key, edge)
        self.segments.append(verified)
        for stretch in verified.stretches:
            self._head(stretch.checkpoint)
            self.records.setdefault(received.epoch, []).extend(
                item for item in stretch.items if isinstance(item, bytes)
            )
        self.trees[received.epoch] = verified.tree
        return self._custody(received.epoch)

    def _head(self, head: checkpoint.VerifiedCheckpoint) -> None:
        """No two heads of one size may differ in their root."""
        for other in self.heads:
            if other.epoch == head.epoch and other.size == head.size and other.root != head.root:
                raise Unverified("fork", "the device contradicted itself")
        self.heads.append(head)
        self.newest = head

    def _custody(self, epoch: bytes) -> list[bytes]:
        self.time_ms += 1
        tree = self.trees[epoch]
        receipt = CustodyReceipt(epoch, 0, tree.size, tree.root(), True, self.time_ms)
        self.receipts[epoch] = receipt.sign(self.fleet.gateway, FLEET, self.device)
        return [] if self.silent else [self.receipts[epoch]]


def read_credential(config: dict[str, Any]) -> list[bytes]:
    """The statements of a device's credential file."""
    statements: list[bytes] = decode(Path(config["credential"]).read_bytes())
    return statements
