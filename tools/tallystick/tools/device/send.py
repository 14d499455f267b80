"""`tally device send`: hand what was pulled to a gateway, for a board that has no network."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from tallystick.evidence import credential as credentials
from tallystick.evidence import custody, kinds, notice, segment, welcome
from tallystick.evidence.credential import Credential, Identity
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.errors import Malformed, TallyError, TransportError
from tallystick.evidence.hello import Hello
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.recorder.gateways import pinned_gateways
from tallystick.recorder.mqtt_paho import Mqtt
from tallystick.recorder.uplink import Uplink
from tallystick.tools._files import read_bytes
from tallystick.tools.device import onboard
from tallystick.tools.device.pull import SEGMENTS

CUSTODY = "custody"
WINDOW_SEGMENTS_MAX = 16
HELLO_S = 2.0
LOOK_S = 0.01
CONFIG_BYTES_MAX = 65_536
CREDENTIAL_BYTES_MAX = 16_384
SEGMENT_BYTES_MAX = 1 << 20
STATEMENT = 0xD2
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(
    epilog="""\b
Examples:
  tally device pull robot-1
  tally device send robot-1 --broker mqtt://10.0.0.2:1883
""",
    short_help="Hand what was pulled to a gateway.",
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--broker", help="mqtt:// or mqtts://; else the uplink in the pulled tallystick.json."
)
@click.option("--tls-ca", type=FILE, help="What an mqtts:// broker's certificate is checked with.")
@click.option("--tls-cert", type=FILE, help="This computer's own certificate for the broker.")
@click.option("--tls-key", type=FILE, help="The key of --tls-cert.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the gateway's next answer at most.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def send(
    folder: Path,
    broker: str | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    wait_s: float,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Send FOLDER's segments to a gateway as the board itself would, and keep its receipts.

    What the gateway has already is not sent again. Custody receipts are verified with the gateways'
    keys of the pulled configuration and written to FOLDER/custody. The board is not told: it keeps
    its records until it has a receipt itself, or is wiped.
    """
    config = json.loads(read_bytes(folder / "tallystick.json", CONFIG_BYTES_MAX))
    credential = credentials.parse(read_bytes(folder / "credential.cbor", CREDENTIAL_BYTES_MAX))
    who = onboard.identity(config, credential.encode())
    tls = {"ca": tls_ca, "cert": tls_cert, "key": tls_key}
    uplink = _open(broker or config.get("uplink"), config, who, tls)
    try:
        sender = Sender(uplink, who, credential, config, wait_s)
        rows = [sender.epoch(folder, epoch, files) for epoch, files in _epochs(folder).items()]
    finally:
        uplink.close()
    if as_json:
        click.echo(json.dumps({"device": device_text(who.id), "epochs": rows}))
        return
    for row in rows:
        click.echo(f"epoch {row['epoch']}: {row['sent']} segments sent, in custody to {row['to']}")


def _open(url: str | None, config: dict[str, Any], who: Identity, tls: dict[str, Any]) -> Uplink:
    if not url or not url.startswith("mqtt"):
        message = "name the gateway's broker: --broker mqtt://HOST:PORT"
        raise Malformed("no-broker", message)
    files = {name: str(path) for name, path in tls.items() if path is not None}
    if url.startswith("mqtts:") and "ca" not in files:
        raise Malformed("no-ca", "an mqtts:// broker needs --tls-ca")
    words = {"uplink": url, "prefix": config.get("prefix", "tallystick/1"), "tls": files or None}
    return Mqtt(words, device_text(who.id))


def _epochs(folder: Path) -> dict[str, list[Path]]:
    """Files of segments by epoch, in the order in which they were signed."""
    found: dict[str, list[Path]] = {}
    for path in sorted((folder / SEGMENTS).glob("*.segment"), key=_ordinal):
        found.setdefault(path.name.partition("-")[0], []).append(path)
    if not found:
        raise Malformed("no-segments", f"{folder}: nothing was pulled into it")
    return found


def _ordinal(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


class Sender:
    """One device's segments on their way to a gateway."""

    def __init__(
        self,
        uplink: Uplink,
        who: Identity,
        credential: Credential,
        config: dict[str, Any],
        wait_s: float,
    ) -> None:
        self._uplink = uplink
        self._who = who
        self._credential = credential
        self._gateways: dict[bytes, PublicKey] = pinned_gateways(config.get("gateways", []))
        self._wait_s = wait_s
        self._epoch = b""
        self._welcomed = False
        self._receipt: CustodyReceipt | None = None
        self._refused = ""

    @property
    def _covered(self) -> int:
        return self._receipt.to if self._receipt is not None else 0

    def epoch(self, folder: Path, epoch: str, files: list[Path]) -> dict[str, Any]:
        """Send what of this epoch no receipt covers, until one does.

        :raises TransportError: the broker or the gateway does not answer, or refuses.
        """
        self._epoch, self._welcomed, self._receipt = bytes.fromhex(epoch), False, None
        rows = [segment.parse(read_bytes(path, SEGMENT_BYTES_MAX)) for path in files]
        hello = Hello(
            self._who.id, self._epoch, rows[0].first, rows[-1].to, self._credential.statements
        )
        self._greet(hello.encode())
        sent = 0
        for row in rows:
            if row.to <= self._covered:
                continue
            self._until(partial(self._room, rows, row.first), f"a receipt up to {row.first}")
            self._until(partial(self._uplink.publish, row.encode()), "the broker")
            sent += 1
        end = rows[-1].to
        self._until(lambda: self._covered >= end, f"a receipt up to record {end}")
        if self._receipt is not None:
            target = folder / CUSTODY
            target.mkdir(exist_ok=True)
            (target / f"{epoch}-{self._covered:012}.cbor").write_bytes(self._receipt.encode())
        return {"epoch": epoch, "sent": sent, "to": self._covered}

    def _room(self, rows: list[segment.Segment], before: int) -> bool:
        waiting = [row for row in rows if self._covered < row.to <= before]
        return len(waiting) < WINDOW_SEGMENTS_MAX

    def _greet(self, hello: bytes) -> None:
        again = 0.0
        limit = time.monotonic() + self._wait_s
        while not self._welcomed:
            now = time.monotonic()
            if not self._uplink.connected and not self._uplink.opening:
                self._uplink.connect()
            if self._uplink.connected and now >= again and self._uplink.publish(hello):
                again = now + HELLO_S
            self._turn(limit, "a gateway behind the broker")

    def _until(self, true: Callable[[], Any], what: str) -> None:
        limit = time.monotonic() + self._wait_s
        covered = self._covered
        while not true():
            if self._covered > covered:
                covered, limit = self._covered, time.monotonic() + self._wait_s
            self._turn(limit, what)

    def _turn(self, limit: float, what: str) -> None:
        """One round: hear what came, or wait a moment."""
        self._uplink.step()
        message = self._uplink.receive()
        if message is not None:
            self._hear(message)
            return
        if time.monotonic() > limit:
            why = f" (it said {self._refused})" if self._refused else ""
            message_ = f"waited {self._wait_s:.0f} s for {what}{why}; run this again to go on"
            raise TransportError("no-answer", message_)
        time.sleep(LOOK_S)

    def _hear(self, message: bytes) -> None:
        try:
            if message[0] == STATEMENT:
                self._custody(message)
                return
            kind = message[2] if message[1] == 0x18 else message[1]
            if kind == kinds.WELCOME:
                self._welcomed = True
                held = welcome.parse(message).custody
                if held is not None:
                    self._custody(held)
            elif kind == kinds.NOTICE:
                self._refused = notice.parse(message).reason
        except TallyError as error:
            # Verdicts come this way too, and another gateway's receipts.
            self._refused = self._refused or error.reason

    def _custody(self, data: bytes) -> None:
        receipt = custody.parse(data)
        if receipt.epoch != self._epoch or receipt.device != self._who.id:
            return
        key = self._gateways.get(receipt.received().kid)
        if key is None:
            message = "a custody receipt by a gateway that the board's configuration does not pin"
            raise Malformed("wrong-key", message)
        receipt.verify(key)
        if receipt.to > self._covered:
            self._receipt = receipt
