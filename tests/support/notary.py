"""A real validator on loopback, as gateways see it: it can be away, slow, and come back."""

from pathlib import Path
from typing import Any

from support.devices import Fleet
from support.validating import load
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.gateway.peers import Peer
from tallystick.gateway.validatorconfig import Send, ValidatorConfig
from tallystick.tools._ports import free_port
from tallystick.validator.service import Service


class Notary:
    """One validator; `start`, `stop`, and what a gateway is configured with."""

    def __init__(self, folder: Path, *fleets: Fleet, name: str = "notary", **settings: Any) -> None:
        self.name = name
        self.port = free_port()  # it may be away, and must find its own port again
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {"owner": name, "bind": f'"127.0.0.1:{self.port}"', **settings}
        self._config = load(folder, list(fleets), **settings)
        signer, self.credential = Fleet(name).member("validator", SUBJECT_VALIDATOR)
        self.key = signer.public_key()
        self.service: Service | None = None

    def start(self) -> "Notary":
        """Listen, on the same port each time."""
        service = Service(self._config)
        service.start()
        self.service = service
        return self

    def stop(self) -> None:
        """Be away."""
        if self.service is not None:
            self.service.stop()
            self.service = None

    def peer(self, send: Send = "full") -> Peer:
        """As a gateway knows it."""
        config = ValidatorConfig(name=self.name, url=self.url, key=(self.name, self.key), send=send)
        return Peer(config, self.name, self.key)

    @property
    def toml(self) -> str:
        """Its lines in a gateway's configuration."""
        from tallystick.evidence.root import format_root

        line = format_root(self.name, self.key)
        return (
            f'[[validators]]\nname = "{self.name}"\nurl = "{self.url}"\nkey = "{line}"\n'
            'send = "full"\n'
        )
