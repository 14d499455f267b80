# Puts together what a recorder with an uplink needs beside its ledger.

from tallystick.recorder.downlink import Downlink
from tallystick.recorder.files import forget
from tallystick.recorder.link import Link
from tallystick.recorder.sending import Sender

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.uplink import Uplink

MS_PER_S = 1000
PINNED = ("recorder.gateways", "recorder.chipkeys")
# A chip's gateways need none of it; without one their keys are such objects themselves.
KEYS = ("evidence.keys", "evidence._text")


def open_link(
    uplink: "Uplink", ledger: "Ledger", credential: list[bytes], config: "dict[str, Any]"
) -> "tuple[Link, Sender, Downlink]":
    """For a device that is enrolled."""
    sender = Sender(ledger, int(config["resend_s"] * MS_PER_S))
    if config["uplink_bytes_s"] is not None:
        from tallystick.recorder.pacing import Bucket  # noqa: PLC0415  # where there is a limit

        uplink.bucket = Bucket(config["uplink_bytes_s"])
    link = Link(uplink, ledger, credential)
    gateways = _pinned(ledger.signer, config)
    forget(PINNED)
    if hasattr(ledger.signer, "verifier"):
        forget(KEYS)
    # Known by now, and some hundred bytes each.
    config["gateways"] = ()
    return link, sender, Downlink(ledger, sender, link, gateways, config)


def _pinned(signer: "Any", config: "dict[str, Any]") -> "dict[bytes, PublicKey]":
    from tallystick.recorder.chipkeys import in_chip  # noqa: PLC0415  # forgotten again
    from tallystick.recorder.gateways import pinned_gateways  # noqa: PLC0415  # forgotten again

    return {kid: in_chip(signer, key) for kid, key in pinned_gateways(config["gateways"]).items()}
