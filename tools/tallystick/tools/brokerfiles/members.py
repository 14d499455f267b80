"""A member's way to the broker: its certificate in its folder, the broker in its configuration."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tallystick.evidence.errors import Malformed
from tallystick.tools import brokertls, provision
from tallystick.tools._files import read_text
from tallystick.tools.brokerfiles import authority, settings
from tallystick.tools.brokertls import CA, CERT, KEY, BrokerTls
from tallystick.tools.fleetdir import Member, write_private

CONFIGURATION_BYTES_MAX = 1 << 20
# Beside gateway.toml: with these `tally doctor` looks at the broker under a name of its own.
DOCTOR_CERT, DOCTOR_KEY = "doctor.pem", "doctor.key"
_TLS = {"ca": CA, "cert": CERT, "key": KEY}


@dataclass(frozen=True)
class Brought:
    """What was done for one member."""

    member: Member
    issued: bool
    configured: bool

    @property
    def changed(self) -> bool:
        """Whether its folder holds anything new that must be brought to it."""
        return self.issued or self.configured


def bring(member: Member, tls: BrokerTls, url: str, valid_days: int) -> Brought | None:
    """Give a member what it lacks; None where it reaches its gateway without this broker."""
    path = member.path / provision.CONFIGS[member.kind]
    text = read_text(path, CONFIGURATION_BYTES_MAX) if path.is_file() else None
    changed = None if text is None else _configured(member.kind, path, text, url)
    if text is not None and changed is None:
        return None
    issued = _issue(member, tls, valid_days)
    if changed is None or text is None or changed == text:
        return Brought(member, issued, configured=False)
    if member.kind == "gateway":
        write_private(path, changed.encode())
    else:
        path.write_text(changed)
    return Brought(member, issued, configured=True)


def _issue(member: Member, tls: BrokerTls, valid_days: int) -> bool:
    issuer = tls.issuer
    if issuer is None:
        raise Malformed("bad-value", "an authority's key is needed to issue certificates")
    known = (member.path / CA).is_file() and (member.path / CA).read_bytes() == tls.ca
    issued = not known or not authority.good(member.path / CERT, issuer)
    if issued or not (member.path / KEY).is_file():
        tls.write(member, valid_days)
        issued = True
    if member.kind == "gateway" and not authority.good(member.path / DOCTOR_CERT, issuer):
        cert, key = issuer.issue(settings.DOCTOR, valid_days)
        (member.path / DOCTOR_CERT).write_bytes(cert)
        write_private(member.path / DOCTOR_KEY, key)
        issued = True
    return issued


def _configured(kind: str, path: Path, text: str, url: str) -> str | None:
    """Its configuration with this broker in it; None where it has another kind of uplink."""
    if kind == "gateway":
        return _table(path, text, {"url": url, **_TLS})
    try:
        config = json.loads(text)
        uplink = config["uplink"]
    except (ValueError, KeyError, TypeError):
        raise Malformed("bad-value", f"{path} is no device's configuration") from None
    if not str(uplink).startswith(("mqtt:", "mqtts:")):
        return None
    if uplink == url and config.get("tls") == _TLS:
        return text
    return json.dumps({**config, "uplink": url, "tls": _TLS}, indent=2) + "\n"


def _table(path: Path, text: str, values: Mapping[str, str]) -> str:
    """The `[broker]` table with these values, every other line as it was."""
    lines = text.splitlines()
    begin = next((n for n, line in enumerate(lines) if line.strip() == "[broker]"), None)
    if begin is None:
        raise Malformed("bad-value", f"{path} has no [broker] table")
    end = next(
        (n for n, line in enumerate(lines[begin + 1 :], begin + 1) if line.startswith("[")),
        len(lines),
    )
    table = lines[begin + 1 : end]
    for name, value in values.items():
        said = f"{name} = {json.dumps(value)}"
        at = next((n for n, line in enumerate(table) if line.split("=")[0].strip() == name), None)
        if at is None:
            # Before the blank line that parts it from the next table.
            table.insert(
                next((n for n, line in enumerate(table) if not line.strip()), len(table)), said
            )
        else:
            table[at] = said
    return "\n".join([*lines[: begin + 1], *table, *lines[end:]]) + "\n"


def issuer_of(ca: Path, ca_key: Path, url: str) -> BrokerTls:
    """The authority in these two files; Malformed where they do not fit."""
    found = brokertls.read(url, ca, ca_key, None, None)
    if found is None or found.issuer is None:
        raise Malformed("bad-value", f"{ca} and {ca_key} are no authority")
    return found
