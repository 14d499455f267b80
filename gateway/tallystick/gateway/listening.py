"""Where a door of the gateway listens: an address from its configuration."""

import ipaddress
from urllib.parse import urlsplit

from tallystick.evidence.errors import Malformed


def parse_bind(text: str, setting: str) -> tuple[str, int]:
    """(address, port); Malformed that names the setting. Names are not looked up."""
    wrong = Malformed("bad-value", f"{setting}: ADDRESS:PORT, such as 127.0.0.1:8471")
    try:
        split = urlsplit(f"//{text}")
        host, port = split.hostname, split.port
        ipaddress.ip_address(host or "")
    except ValueError:
        raise wrong from None
    if host is None or port is None or split.path or split.query or split.username:
        raise wrong
    return host, port
