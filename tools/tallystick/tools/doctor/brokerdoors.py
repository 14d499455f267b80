"""A Mosquitto's listeners, each with the options that hold there (mosquitto.conf(5)). Pure.

One listener's certificates keep nobody out of another, so what a file allows is judged listener by
listener: TLS is always a listener's own; who may do what is where per_listener_settings is true.
"""

from dataclasses import dataclass

Said = dict[str, list[str]]
Line = tuple[str, str]

_OF_A_LISTENER = frozenset(
    (
        *("cafile", "capath", "certfile", "keyfile", "crlfile", "dhparamfile", "ciphers"),
        *("ciphers_tls1.3", "tls_version", "tls_engine", "tls_keyform", "psk_hint"),
        *("require_certificate", "use_identity_as_username", "use_subject_as_username"),
        *("use_username_as_clientid", "bind_address", "bind_interface", "mount_point", "port"),
        *("protocol", "socket_domain"),
    )
)
_OF_WHO_MAY = frozenset(
    ("allow_anonymous", "acl_file", "password_file", "psk_file", "plugin", "auth_plugin")
)
_LOOPBACK = ("127.", "::1", "localhost", "/")
_DEFAULT_PORT = "1883"


@dataclass(frozen=True)
class Door:
    """One listener: its port, whether only this machine reaches it, and what holds there."""

    port: str
    local: bool
    said: Said


def merged(lines: list[Line]) -> Said:
    """Every option with its values, in order."""
    found: Said = {}
    for name, value in lines:
        found.setdefault(name, []).append(value)
    return found


def doors(lines: list[Line]) -> list[Door]:
    """Every listener of a file, at least one: without any Mosquitto listens on loopback alone."""
    own = _OF_A_LISTENER
    if merged(lines).get("per_listener_settings", ["false"])[-1].lower() == "true":
        own = own | _OF_WHO_MAY
    everywhere = [line for line in lines if line[0] not in own and line[0] != "listener"]
    # What stands before the first `listener` is of the default one; an option of TLS makes one.
    parts: list[tuple[str, list[Line]]] = [("", [])]
    for name, value in lines:
        if name == "listener":
            parts.append((value, []))
        elif name in own:
            parts[-1][1].append((name, value))
    default, *named = parts
    found = [_door(where, [*everywhere, *lines_]) for where, lines_ in named]
    made = any(name in _OF_A_LISTENER for name, _ in default[1])
    if made or not found:
        said = merged([*everywhere, *default[1]])
        address = said.get("bind_address", [""])[-1]
        if not made:
            # Nobody said where: local only, and open unless the file says otherwise.
            address = "localhost"
            said.setdefault("allow_anonymous", ["true"])
        port = said.get("port", [_DEFAULT_PORT])[-1]
        found.insert(0, Door(port, address.startswith(_LOOPBACK), said))
    return found


def _door(where: str, lines: list[Line]) -> Door:
    port, _, address = where.partition(" ")
    return Door(port, address.strip().startswith(_LOOPBACK), merged(lines))
