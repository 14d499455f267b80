"""The WiFi that a board's program joins: its password is written to the board and shown nowhere."""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import click

from tallystick.evidence.errors import Malformed
from tallystick.hw import secret

PATH = "/wifi.json"
ENVIRONMENT = "TALLY_WIFI_PASSWORD"
SSID_BYTES_MAX = 32
PASSWORD_BYTES_MIN = 8
PASSWORD_BYTES_MAX = 64


@dataclass(frozen=True)
class Wifi:
    """ssid and password (empty where the network is open)."""

    ssid: str
    password: str = field(repr=False)

    def encode(self) -> bytes:
        """As it lies on the board."""
        return json.dumps({"ssid": self.ssid, "password": self.password}).encode()


def asked(ssid: str | None, password_file: Path | None) -> Wifi | None:
    """What --wifi-ssid asks for; the password never stands on a command line."""
    if ssid is None:
        if password_file is not None:
            message = "--wifi-password-file needs --wifi-ssid"
            raise click.UsageError(message)
        return None
    if not 1 <= len(ssid.encode()) <= SSID_BYTES_MAX:
        raise Malformed("bad-value", f"--wifi-ssid: 1 to {SSID_BYTES_MAX} bytes")
    password = _password(ssid, password_file)
    if password and not PASSWORD_BYTES_MIN <= len(password.encode()) <= PASSWORD_BYTES_MAX:
        raise Malformed(
            "bad-value", f"a WiFi password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes"
        )
    return Wifi(ssid, password)


def _password(ssid: str, file: Path | None) -> str:
    if file is not None:
        return secret.read_secret(str(file))
    kept = os.environ.get(ENVIRONMENT)
    if kept is not None:
        return kept
    if not sys.stdin.isatty():
        message = f"no password for {ssid}: --wifi-password-file, or {ENVIRONMENT} (empty: none)"
        raise click.UsageError(message)
    text: str = click.prompt(
        f"password of {ssid} (empty: none)", hide_input=True, err=True, default="",
        show_default=False,
    )  # fmt: skip  # three lines
    return text
