"""A gateway's doors, each made where its configuration has a table for it."""

from typing import TYPE_CHECKING

from tallystick.evidence.errors import Unverified

if TYPE_CHECKING:
    from tallystick.gateway.joining import Joining
    from tallystick.gateway.pageserver import Page
    from tallystick.gateway.service import Gateway


def joining_of(gateway: "Gateway") -> "Joining | None":
    """For devices that join."""
    config = gateway.config
    if config.join is None:
        return None
    if config.fleet not in config.roots:
        raise Unverified("wrong-key", f"join: `roots` must have the root of {config.fleet}")
    # Imported where it is used: most gateways have no door.
    from tallystick.gateway.joining import Joining  # noqa: PLC0415

    made = Joining(
        config.join,
        gateway.store,
        (config.fleet, config.roots[config.fleet]),
        gateway.signing.gateway,
        config.name,
        gateway.worker.add_credential,
    )
    made.joins.full = lambda: gateway.worker.capacity.level == "full"
    return made


def page_of(gateway: "Gateway") -> "Page | None":
    """The operator's page; it is not started."""
    if gateway.config.page is None:
        return None
    # Imported where it is used, as above.
    from tallystick.gateway.live import GatewayLive  # noqa: PLC0415
    from tallystick.gateway.pageserver import Page  # noqa: PLC0415

    return Page(gateway.config, gateway.config.page, gateway.store, GatewayLive(gateway))
