"""One validator in the gateway's configuration: where it is, whom it is, what it gets.

[[validators]]
name = "insurer"
url = "https://validator.insurer.example"
key = "insurer+pAEBIAY..."              # or: credential = "trusted/insurer.cbor"
send = "full"                           # or "claims", "hashes"
bytes_s_max = 250_000                   # of the link to it; no limit unless given
batch_age_s = 0.2                       # how long segments wait for more; 0: they go at once
ca = "insurer-ca.pem"                   # who signed its certificate; else the system's
cert = "insurer-client.pem"             # what it asks of us, where it does
cert_key = "insurer-client.key"
"""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from tallystick.evidence import cbor, enrolment, root
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.gateway import limits

Send = Literal["full", "claims", "hashes"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class ValidatorTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The table as it stands in the file."""

    name: str
    url: str
    key: str | None = None
    credential: str | None = None
    send: Send | None = None
    bytes_s_max: int | None = None
    batch_age_s: float = limits.BATCH_AGE_S
    ca: str | None = None
    cert: str | None = None
    cert_key: str | None = None


@dataclass(frozen=True)
class Tls:
    """Files for a validator's https: its authority, our certificate and its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What checks the validator's name and shows our certificate; OSError, ssl.SSLError."""
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key, _no_passphrase)
        return context


def _no_passphrase() -> str:
    # Else OpenSSL asks for one at the terminal.
    message = "the key has a passphrase; its file must be one without"
    raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class ValidatorConfig:
    """One validator: its address, what its answers must be signed with, what it may see."""

    name: str
    url: str
    # Exactly one of the two: a pinned key, or a credential that one of the roots vouches for.
    key: tuple[str, PublicKey] | None = None
    credential: tuple[bytes, ...] | None = None
    send: Send = "full"
    bytes_s_max: int | None = None
    # 0: a batch goes as soon as there is something to send.
    batch_age_s: float = 0.0
    tls: Tls | None = None


def resolve(raw: ValidatorTable, folder: Path, fleet: str) -> ValidatorConfig:
    """The table with paths resolved and everything checked; Malformed names the field.

    fleet: the gateway's. Another organisation's validator gets claims only, unless `send` says.
    """
    if not _NAME.fullmatch(raw.name):
        raise Malformed("bad-value", f"validators: name: A-Z a-z 0-9 . _ - and not {raw.name!r}")
    url = urlsplit(raw.url)
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
        raise Malformed("bad-value", f"validators.{raw.name}.url: http://HOST:PORT or https://HOST")
    if url.username or url.password:
        raise Malformed("bad-value", f"validators.{raw.name}.url: no user or password in it")
    if (raw.key is None) == (raw.credential is None):
        raise Malformed(
            "bad-value",
            f"validators.{raw.name}: either key (a line of `tally fleet list`) or credential",
        )
    rate = raw.bytes_s_max
    if rate is not None and rate < limits.LINK_BYTES_S_MIN:
        raise Malformed(
            "bad-value",
            f"validators.{raw.name}.bytes_s_max: at least {limits.LINK_BYTES_S_MIN} bytes a second",
        )
    if not 0 <= raw.batch_age_s <= limits.BATCH_AGE_S_MAX:
        raise Malformed(
            "bad-value",
            f"validators.{raw.name}.batch_age_s: 0 to {limits.BATCH_AGE_S_MAX:g} seconds",
        )
    key = None if raw.key is None else root.parse_root(raw.key)
    credential = None if raw.credential is None else read_credential(folder / raw.credential)
    return ValidatorConfig(
        name=raw.name,
        url=raw.url.rstrip("/"),
        key=key,
        credential=credential,
        send=raw.send or default_send(_organisation(key, credential), fleet),
        bytes_s_max=rate,
        batch_age_s=raw.batch_age_s,
        tls=_tls(raw, url.scheme, folder),
    )


def default_send(organisation: str, fleet: str) -> Send:
    """What a validator gets of a fleet unless somebody says: all of it stays within one house."""
    return "full" if organisation == fleet else "claims"


def _organisation(key: tuple[str, PublicKey] | None, credential: tuple[bytes, ...] | None) -> str:
    if key is not None:
        return key[0]
    # Who vouches for it is verified when it is used (identity.peer_of).
    return enrolment.parse((credential or (b"",))[0]).iss


def _tls(raw: ValidatorTable, scheme: str, folder: Path) -> Tls | None:
    names = (raw.ca, raw.cert, raw.cert_key)
    if names == (None, None, None):
        return None
    where = f"validators.{raw.name}"
    if scheme != "https":
        raise Malformed("bad-value", f"{where}.ca, cert and cert_key: need an https:// url")
    if (raw.cert is None) != (raw.cert_key is None):
        raise Malformed("bad-value", f"{where}.cert and cert_key: both or neither")
    found = Tls(*(None if name is None else folder / name for name in names))
    try:
        # Before anything runs: a file that is missing, or a key that is another certificate's.
        found.context()
    except (OSError, ValueError) as error:
        raise Malformed("bad-value", f"{where}.ca, cert, cert_key: {error}") from None
    return found


def read_credential(path: Path) -> tuple[bytes, ...]:
    """The statements of a credential file: an enrolment, and the key changes after it."""
    with path.open("rb") as file:
        data = file.read(limits.CREDENTIAL_BYTES_MAX + 1)
    if len(data) > limits.CREDENTIAL_BYTES_MAX:
        raise Malformed("too-large", f"{path} is no credential: it is too long")
    try:
        statements = cbor.decode(data)
    except TallyError as error:
        raise Malformed(error.reason, f"{path} is no credential: {error.message}") from error
    if not isinstance(statements, list) or not all(isinstance(s, bytes) for s in statements):
        raise Malformed("bad-type", f"{path} is no credential; `tally fleet enroll` makes one")
    return tuple(statements)
