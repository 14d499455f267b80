"""The configuration read again while the gateway runs (SIGHUP; docs/durability.md, section 7).

All of a new file comes into force, or nothing of it does: a file that cannot be read, or that
changes what only a restart can change, leaves everything as it was. Certificates, keys and the
broker's password are read anew where their files changed.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import structlog

from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.gateway import configlines, namedfiles
from tallystick.gateway.config import Config, load
from tallystick.gateway.identity import own_identity, peer_of
from tallystick.gateway.peers import Peer

_log = structlog.get_logger("tallystick.gateway.reloading")
# What a running gateway takes over. The rest names keys, addresses and files that are open, or
# sizes of what is made at the start.
LIVE = frozenset(
    {
        *("retention", "roots", "store_bytes_max", "retry_s_max", "verdicts_poll_s"),
        *("validators", "shared_by", "peer_send", "enrolments", "credential"),
    }
)
# Of these tables in part: where the broker is, and how this gateway shows who it is there; who may
# see the page, by which certificate, and when its sentence speaks.
LIVE_OF = {
    "broker": {"host", "port", "tls", "protocol", "username", "password_file", "ca", "cert", "key"},
    "page": {"cert", "key", "token", "names", "thresholds"},
}
# Two of the page's together are one setting of the file.
_CALLED = {"page.host": "page.bind", "page.port": "page.bind"}


def changes(old: Config, new: Config) -> set[str]:
    """The settings in which two configurations differ."""
    return {
        field.name
        for field in fields(Config)
        if field.compare and getattr(old, field.name) != getattr(new, field.name)
    }


def fixed(old: Config, new: Config) -> list[str]:
    """The settings in which they differ and which only a restart changes, as the file says them."""
    found = changes(old, new) - LIVE - LIVE_OF.keys()
    for table, live in LIVE_OF.items():
        before, after = getattr(old, table), getattr(new, table)
        if before is None or after is None:
            found |= {table} if before is not after else set()
            continue
        names = {one.name for one in fields(before) if not _same(before, after, one.name)} - live
        found |= {_CALLED.get(f"{table}.{name}", f"{table}.{name}") for name in names}
    if old.page and new.page and (old.page.cert is None) != (new.page.cert is None):
        # A door speaks TLS or not for as long as it is there.
        found.add("page.cert")
    return sorted(found)


def _same(before: object, after: object, name: str) -> bool:
    return bool(getattr(before, name) == getattr(after, name))


def _key(config: Config) -> PublicKey:
    # That of a credential which has ended, too.
    return verify_credential(Credential(list(config.credential)), config.roots, None).key


class Reloading:
    """`turn` reads the file again; `error` says why the newest one is not in force."""

    def __init__(
        self,
        config: Config,
        apply: Callable[[Config, list[Peer], set[str]], None],
        read: Callable[[Path], Config] = load,
    ) -> None:
        """config: as the file says it; apply: brings another one into force, with its peers."""
        self._config = config
        self._contents = namedfiles.contents(config)
        self._apply = apply
        self._read = read
        self.error = ""

    def turn(self) -> None:
        """Take the file over, or say why not; never raises for what is in it."""
        try:
            changed = self._turn()
        except TallyError as error:
            self.error = error.message
            _log.error("the old configuration stays in force", error=error.message)
            return
        except (sqlite3.Error, OSError) as error:
            # A new validator's place could not be stored; the next SIGHUP goes on from here.
            self.error = f"not all of the new configuration is in force: {error}"
            _log.error("the store fails", error=str(error))
            return
        self.error = ""
        _log.info("the configuration was read again", changed=sorted(changed))

    def _turn(self) -> set[str]:
        path = self._config.source
        if path is None:
            raise Malformed("bad-value", "this gateway was not configured by a file")
        new = self._read(path)
        wanted = fixed(self._config, new)
        if wanted:
            where = configlines.of_setting(path.read_bytes(), wanted[0])
            raise Malformed(
                "bad-value", f"{path}: {', '.join(wanted)}{where}: only a restart changes this"
            )
        now_s = int(time.time())
        if own_identity(new, now_s).key != _key(self._config):
            where = configlines.of_setting(path.read_bytes(), "credential")
            message = f"{path}: credential{where}: only a restart changes the key"
            raise Malformed("bad-value", message)
        peers = [peer_of(validator, new.roots, now_s) for validator in new.validators]
        contents = namedfiles.contents(new)
        fresh = {part for part in contents if contents[part] != self._contents.get(part)}
        try:
            namedfiles.check(new, fresh, now_s)
        except TallyError as error:
            hint = configlines.hint(path.read_bytes(), error.message)
            raise Malformed(error.reason, f"{path}: {error.message}{hint}") from error
        changed = changes(self._config, new) | fresh
        if changed:
            self._apply(new, peers, changed)
            self._config, self._contents = new, contents
        return changed
