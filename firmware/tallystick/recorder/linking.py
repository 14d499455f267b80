# Puts together what a recorder with an uplink needs beside its ledger.

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
    """For a device that is enrolled."""
    sender = Sender(ledger, int(config["resend_s"] * MS_PER_S))
    if config["uplink_bytes_s"] is not None:
        from tallystick.recorder.pacing import Bucket  # noqa: PLC0415  # where there is a limit

        uplink.bucket = Bucket(config["uplink_bytes_s"])
    link = Link(uplink, ledger, credential)
    gateways = pinned_gateways(config["gateways"])
    for kid, key in gateways.items():
        gateways[kid] = in_chip(ledger.signer, key)
    return link, sender, Downlink(ledger, sender, link, gateways, config)
