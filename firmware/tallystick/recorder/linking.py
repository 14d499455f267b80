# Puts together what a recorder with an uplink needs beside its ledger.

from tallystick.evidence.errors import Malformed
from tallystick.recorder.chipkeys import in_chip
from tallystick.recorder.downlink import Downlink
from tallystick.recorder.gateways import pinned_gateways
from tallystick.recorder.link import Link
from tallystick.recorder.sending import Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.uplink import Uplink

MS_PER_S = 1000


def open_link(
    uplink: "Uplink", ledger: "Ledger", credential: list[bytes], config: "dict[str, Any]"
) -> "tuple[Link, Sender, Downlink]":
    """Malformed when the device is not enrolled."""
    if not credential:
        raise Malformed("bad-config", "an uplink needs the credential of an enrolled device")
    sender = Sender(ledger, int(config["resend_s"] * MS_PER_S))
    link = Link(uplink, ledger, credential)
    gateways = pinned_gateways(config["gateways"])
    for kid, key in gateways.items():
        gateways[kid] = in_chip(ledger.signer, key)
    return link, sender, Downlink(ledger, sender, link, gateways, config)
