"""The door for devices that join: the [join] table of gateway.toml."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from tallystick.evidence.errors import Malformed
from tallystick.gateway.listening import parse_bind

BIND = "127.0.0.1:8471"
# Files in the inbox that are complete.
INBOX_SUFFIX = ".statements"


class JoinTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """As it stands in the file."""

    bind: str = BIND
    cert: str | None = None
    key: str | None = None
    inbox: str = "join"


@dataclass(frozen=True, kw_only=True)
class JoinConfig:
    """Where devices ask; `cert` and `key` for TLS; `inbox`: what the operator brings by file."""

    host: str
    port: int
    inbox: Path
    cert: Path | None = None
    key: Path | None = None


def resolve(raw: JoinTable | None, folder: Path) -> JoinConfig | None:
    """With absolute paths; None where the door stays closed."""
    if raw is None:
        return None
    if (raw.cert is None) != (raw.key is None):
        raise Malformed("bad-value", "join.cert and join.key: both or neither")
    host, port = parse_bind(raw.bind, "join.bind")
    return JoinConfig(
        host=host,
        port=port,
        inbox=folder / raw.inbox,
        cert=None if raw.cert is None else folder / raw.cert,
        key=None if raw.key is None else folder / raw.key,
    )
