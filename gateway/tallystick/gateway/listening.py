"""Where a door of the gateway listens: an address from its configuration, and its socket."""

import ipaddress
import socket
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


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket; OSError where the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def url_of(listening: socket.socket, *, tls: bool) -> str:
    """With the port that was given where the configured one is 0."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
