"""Several validators that cosign one another's checkpoints, on loopback."""

from pathlib import Path

import httpx2

from support.devices import Device, Fleet
from support.validating import Gateway, compress, write_config
from tallystick.evidence.cosignature import CosignerKey, cosigner_of
from tallystick.evidence.note import NoteKey
from tallystick.hw.signer import Signer
from tallystick.tools._ports import free_port
from tallystick.validator import config as configs
from tallystick.validator.service import Service

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}


class Member:
    """One validator: it can be away, come back, and be put back."""

    def __init__(self, folder: Path, fleets: list[Fleet], name: str) -> None:
        self.name = name
        self.folder = folder
        self.port = free_port()  # it may be away, and must find its own port again
        self.url = f"http://127.0.0.1:{self.port}"
        self.path = write_config(
            folder,
            fleets,
            owner=name,
            bind=f'"127.0.0.1:{self.port}"',
            tiles='"tiles"',
        )
        note_signer = Signer.from_uri(f"file:{folder / 'note.key'}")
        self.note_key = NoteKey(f"{name}.example/log", note_signer.public_key())
        self.service: Service | None = None
        self.http = httpx2.Client(base_url=self.url, timeout=60)

    @property
    def cosigner(self) -> CosignerKey:
        return cosigner_of(self.note_key)

    def know(self, other: "Member", poll_s: float = 0.05) -> None:
        """Make another one a peer."""
        with self.path.open("a") as file:
            file.write(
                f'\n[[peers]]\nname = "{other.name}"\nurl = "{other.url}"\npoll_s = {poll_s}\n'
                f'note_key = "{other.note_key.text()}"\n'
            )

    def start(self) -> None:
        self.service = Service(configs.load(self.path))
        self.service.start()

    def stop(self) -> None:
        if self.service is not None:
            self.service.stop()
            self.service = None

    def close(self) -> None:
        self.http.close()
        self.stop()

    def checkpoint(self, path: str = "/checkpoint") -> str:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def post(self, gateway: Gateway, first: int, devices: list[Device]) -> httpx2.Response:
        data = gateway.batch(first, devices=devices)
        return self.http.post("/v1/batches", content=compress(data), headers=ZSTD)


def circle(folder: Path, fleet: Fleet, names: tuple[str, ...]) -> list[Member]:
    """Members that all know one another; not started."""
    members = [Member(folder / name, [fleet], name) for name in names]
    for one in members:
        for other in members:
            if other is not one:
                one.know(other)
    return members
