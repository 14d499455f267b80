"""What the operator sees: the [page] table of gateway.toml.

    [page]
    bind = "127.0.0.1:8472"     # beyond loopback only with cert, key and token_file
    cert = "page.pem"
    key = "page.key"
    token_file = "page.token"   # one line of at least 16 characters; mode 0600
    names = ["gw.acme.example"] # names under which browsers reach it, beside its address

The other settings are the thresholds of the conditions (conditions.py).
"""

import ipaddress
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tallystick.evidence.errors import Malformed
from tallystick.gateway import pagelimits
from tallystick.gateway.conditions import Thresholds
from tallystick.gateway.listening import parse_bind

BIND = "127.0.0.1:8472"
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_TOKEN = re.compile(r"[!-~]+")


class PageTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """As it stands in the file."""

    bind: str = BIND
    cert: str | None = None
    key: str | None = None
    token_file: str | None = None
    names: list[str] = msgspec.field(default_factory=list)
    broker_away_s: float = Thresholds.broker_away_s
    lag_s: float = Thresholds.lag_s
    silent_intervals: float = Thresholds.silent_intervals
    clock_off_s: float = Thresholds.clock_off_s
    expiring_days: float = Thresholds.expiring_days


@dataclass(frozen=True, kw_only=True)
class PageConfig:
    """Where the page is; `token` is asked for on everything that tells something."""

    host: str
    port: int
    cert: Path | None = None
    key: Path | None = None
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)


def resolve(raw: PageTable | None, folder: Path) -> PageConfig | None:
    """With absolute paths and the token read; None where there is no page.

    Malformed when a network could see the page without TLS and a token.
    """
    if raw is None:
        return None
    if (raw.cert is None) != (raw.key is None):
        raise Malformed("bad-value", "page.cert and page.key: both or neither")
    host, port = parse_bind(raw.bind, "page.bind")
    token = None if raw.token_file is None else _token(folder / raw.token_file)
    if not ipaddress.ip_address(host).is_loopback and (raw.cert is None or token is None):
        raise Malformed(
            "bad-value",
            f"page.bind: {host} can be reached from a network, so page.cert, page.key and "
            f"page.token_file are needed; or bind {BIND}",
        )
    if len(raw.names) > pagelimits.NAMES_MAX:
        raise Malformed("too-large", f"page.names: at most {pagelimits.NAMES_MAX}")
    for name in raw.names:
        if not _HOST.fullmatch(name):
            raise Malformed("bad-value", "page.names: host names in lower case, without a port")
    return PageConfig(
        host=host,
        port=port,
        cert=None if raw.cert is None else folder / raw.cert,
        key=None if raw.key is None else folder / raw.key,
        token=token,
        names=tuple(raw.names),
        thresholds=_thresholds(raw),
    )


def _token(path: Path) -> str:
    # Nothing of the file's content is ever said.
    with path.open("rb") as file:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise Malformed("bad-value", f"page.token_file: {path}: others may read it; chmod 600")
        text = file.read(pagelimits.TOKEN_CHARS_MAX + 2).decode("latin-1").strip()
    if not pagelimits.TOKEN_CHARS_MIN <= len(text) <= pagelimits.TOKEN_CHARS_MAX:
        raise Malformed(
            "bad-value",
            f"page.token_file: {path}: one line of {pagelimits.TOKEN_CHARS_MIN} to "
            f"{pagelimits.TOKEN_CHARS_MAX} characters",
        )
    if not _TOKEN.fullmatch(text):
        raise Malformed("bad-value", f"page.token_file: {path}: printable ASCII without blanks")
    return text


def _thresholds(raw: PageTable) -> Thresholds:
    for name, least, most in (
        ("broker_away_s", 0.0, pagelimits.THRESHOLD_S_MAX),
        ("lag_s", 0.0, pagelimits.THRESHOLD_S_MAX),
        ("silent_intervals", 1.0, pagelimits.SILENT_INTERVALS_MAX),
        ("clock_off_s", 1.0, pagelimits.THRESHOLD_S_MAX),
        ("expiring_days", 0.0, pagelimits.EXPIRING_DAYS_MAX),
    ):
        if not least <= getattr(raw, name) <= most:
            raise Malformed("bad-value", f"page.{name}: {least:g} to {most:g}")
    return Thresholds(
        broker_away_s=raw.broker_away_s,
        lag_s=raw.lag_s,
        silent_intervals=raw.silent_intervals,
        clock_off_s=raw.clock_off_s,
        expiring_days=raw.expiring_days,
    )
