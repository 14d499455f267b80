"""A fleet on disk with a gateway whose join door is open, in this process, over a real broker."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from support.site import until
from tallystick.evidence import enrolmentrequest, joincode, joinrequest
from tallystick.evidence.digest import sha256
from tallystick.evidence.joinrequest import JoinRequest
from tallystick.gateway.config import load
from tallystick.gateway.service import Gateway
from tallystick.hw.signer import Signer
from tallystick.tools.fleet import fleet as fleet_command
from tallystick.tools.fleetdir import Fleet


class JoinFleet:
    """`acme` in a folder; `tally` runs a fleet command and expects its exit code."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder / "acme"
        self.broker = broker
        self.tally("init", str(self.folder), "--name", "acme")
        options = ["--kind", "gateway", "--broker", broker, "--join", "127.0.0.1:0"]
        self.tally("enroll", str(self.folder), "gw-1", *options)
        self.gateway = self.folder / "gateways" / "gw-1"

    def tally(self, *arguments: str, code: int = 0, given: str | None = None) -> Result:
        """Run `tally fleet ARGUMENTS`."""
        result = CliRunner().invoke(fleet_command, list(arguments), input=given)
        if result.exit_code != code:
            raise AssertionError((arguments, result.exit_code, result.output, result.exception))
        return result

    def opened(self) -> Fleet:
        """The fleet, as commands see it."""
        return Fleet.open(self.folder)

    @contextlib.contextmanager
    def running(self) -> Iterator[Gateway]:
        """The gateway in this process, connected, its door open."""
        gateway = Gateway(load(self.gateway / "gateway.toml"))
        stop = threading.Event()
        watch = threading.Thread(target=gateway.watch, args=(stop,), daemon=True)
        try:
            gateway.start()
            watch.start()
            until(lambda: gateway.broker.subscribed, "the subscription")
            yield gateway
        finally:
            stop.set()
            watch.join(60)
            gateway.stop()


def door_of(gateway: Gateway) -> str:
    """The URL of its door."""
    if gateway.joining is None:
        raise AssertionError(gateway.config)
    return gateway.joining.door.url


def asking(code: str, signer: Signer, nonce: str = "nonce", **details: Any) -> JoinRequest:
    """What a device with this key sends."""
    request = enrolmentrequest.make(signer, "acme", details=details)
    return joinrequest.make(joincode.parse(code), sha256(nonce.encode())[:16], request.encode())
