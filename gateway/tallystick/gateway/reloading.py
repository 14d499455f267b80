"""The configuration read again while the gateway runs (SIGHUP; docs/durability.md, section 7).

All of a new file comes into force, or nothing of it does: a file that cannot be read, or that
changes what only a restart can change, leaves everything as it was.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import structlog

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.gateway import configlines
from tallystick.gateway.config import Config, load
from tallystick.gateway.identity import own_identity, peer_of
from tallystick.gateway.peers import Peer

_log = structlog.get_logger("tallystick.gateway.reloading")
# What a running gateway takes over. The rest names keys, addresses and files that are open.
LIVE = frozenset(
    {
        *("retention", "roots", "store_bytes_max", "retry_s_max", "verdicts_poll_s"),
        *("validators", "shared_by"),
    }
)


def changes(old: Config, new: Config) -> set[str]:
    """The settings in which two configurations differ."""
    return {
        field.name
        for field in fields(Config)
        if field.compare and getattr(old, field.name) != getattr(new, field.name)
    }


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
        changed = changes(self._config, new)
        fixed = sorted(changed - LIVE)
        if fixed:
            where = configlines.of_setting(path.read_bytes(), fixed[0])
            raise Malformed(
                "bad-value", f"{path}: {', '.join(fixed)}{where}: only a restart changes this"
            )
        now_s = int(time.time())
        own_identity(new, now_s)
        peers = [peer_of(validator, new.roots, now_s) for validator in new.validators]
        if changed:
            self._apply(new, peers, changed)
            self._config = new
        return changed
