"""Mosquitto's configuration and access list for one fleet, as text; docs/operations.md says why."""

from collections.abc import Iterable
from pathlib import Path

# A gateway that is away for a while: so much waits for it in the broker, and no more. What does not
# fit is dropped there and sent again by its device, which has no custody receipt for it.
QUEUED_MESSAGES_MAX = 100_000
QUEUED_BYTES_MAX = 512 << 20
# The largest segment is 256 KiB; nothing of ours comes near this.
PACKET_BYTES_MAX = 1 << 20
AUTOSAVE_S = 60
# So many messages are on their way to a gateway at once; what it commits together comes of these.
INFLIGHT_MESSAGES_MAX = 256
# A gateway that was replaced must not have messages kept for it for ever.
SESSION_LIFE = "30d"
PERSISTENCE = "/var/lib/mosquitto/"
# Who looks at the broker: `tally doctor`, whose certificate lies beside gateway.toml.
DOCTOR = "tally-doctor"
AUTHORITY, SERVER, SERVER_KEY = "ca.pem", "server.pem", "server.key"
CONFIGURATION, ACCESS = "mosquitto.conf", "acl"

_CONFIGURATION = """\
# Written by `tally gateway broker-config` for the fleet {fleet}; written anew by the next one.
per_listener_settings false
log_dest stderr
log_type error
log_type warning
log_type notice

# What waits for a gateway survives a restart, and most of it a power cut. Records do not rest on
# it: devices keep them until they have a gateway's custody receipt.
persistence true
persistence_location {persistence}
autosave_interval {autosave_s}
persistent_client_expiration {life}
max_queued_messages {messages}
max_queued_bytes {bytes}
queue_qos0_messages false
max_inflight_messages {inflight}
max_packet_size {packet}
# A retained message would be handed to whoever subscribes next: nobody here means that.
retain_available false
set_tcp_nodelay true

# Who connects shows a certificate of this authority. Its name is the user, and the client too: so
# nobody takes another's topics or connection. No password, no anonymous client.
allow_anonymous false
listener {port}{bind}
cafile {folder}/{authority}
certfile {folder}/{server}
keyfile {folder}/{key}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file {folder}/{access}
"""

_ACCESS = """\
# Written by `tally gateway broker-config` for the fleet {fleet}; written anew by the next one.
# A device has its own two topics and no other.
pattern write {prefix}/%u/up
pattern read {prefix}/%u/down

# `tally doctor` looks at a broker by topics of its own.
user {doctor}
topic readwrite {prefix}/{doctor}/#
topic read $SYS/broker/#
"""

_GATEWAY = """
# Gateway {label}
user {id}
topic read {prefix}/+/up
topic write {prefix}/+/down
topic read $SYS/broker/#
"""


def configuration(
    fleet: str, folder: str, port: int, bind: str | None, persistence: str = PERSISTENCE
) -> str:
    """The whole of mosquitto.conf.

    folder: where the broker finds the other files; bind: an address, all of them if None.
    """
    return _CONFIGURATION.format(
        fleet=fleet,
        folder=folder.rstrip("/"),
        port=port,
        bind="" if bind is None else f" {bind}",
        persistence=persistence.rstrip("/") + "/",
        autosave_s=AUTOSAVE_S,
        life=SESSION_LIFE,
        messages=QUEUED_MESSAGES_MAX,
        bytes=QUEUED_BYTES_MAX,
        packet=PACKET_BYTES_MAX,
        inflight=INFLIGHT_MESSAGES_MAX,
        authority=AUTHORITY,
        server=SERVER,
        key=SERVER_KEY,
        access=ACCESS,
    )


def access(fleet: str, prefix: str, gateways: Iterable[tuple[str, str]]) -> str:
    """The access list; gateways: (label, id as text)."""
    parts = [_ACCESS.format(fleet=fleet, prefix=prefix, doctor=DOCTOR)]
    parts += [_GATEWAY.format(label=label, id=id_, prefix=prefix) for label, id_ in gateways]
    return "".join(parts)


def fits(path: Path) -> bool:
    """Whether a path can stand in the configuration, where a blank would end it."""
    text = str(path)
    return text.isprintable() and not any(mark.isspace() or mark == "#" for mark in text)
