"""Under which rules this log admits statements, said in the log itself (protocol, 6.8)."""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import cose, registration
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import REGISTRATION_POLICY
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.evidence.registration import RegistrationPolicy
from tallystick.validator import schema
from tallystick.validator.log import LogKeys
from tallystick.validator.problem import Problem
from tallystick.validator.quotaconfig import Quota
from tallystick.validator.work import Work

# No other way leads a key into the log; whoever changes identities.py changes this.
ADMISSION = {"keys": "accepted-root", "possession": True}


class Policies:
    """Logs the registration policy when it is another one than the newest in the log."""

    def __init__(self, keys: LogKeys, profiles: Iterable[bytes], quotas: Mapping[str, Quota]):
        self._keys = keys
        self._profiles = sorted(profiles)
        self._quotas = {holder: quota.told() for holder, quota in quotas.items()}

    def log(self, work: Work, roots: Mapping[str, PublicKey], by: Mapping[str, bytes]) -> None:
        """To be called before anything is admitted under it.

        by: the digest of the peer file that brought a root, for those that one brought.
        """
        known = newest(work.connection)
        made = RegistrationPolicy(
            work.group.time_ms,
            None if known is None else known.digest,
            [[name, roots[name].thumbprint(), by.get(name)] for name in sorted(roots)],
            self._profiles,
            self._quotas,
            dict(ADMISSION),
        )
        if known is not None and known.says_as(made):
            return
        data = made.sign(self._keys.signer, self._keys.name, self._keys.id)
        sign1 = cose.parse(data, STATEMENT_BYTES_MAX)
        work.statement(REGISTRATION_POLICY, sign1, sign1.digest(), new=True)


def newest(connection: Connection, entry: int | None = None) -> RegistrationPolicy | None:
    """The newest policy of the log, or the one before an entry."""
    table = schema.entries
    query = sa.select(table.c.data).where(table.c.kind == REGISTRATION_POLICY)
    if entry is not None:
        query = query.where(table.c.entry < entry)
    data = connection.execute(query.order_by(table.c.entry.desc()).limit(1)).scalar_one_or_none()
    return None if data is None else registration.parse(data)


def place(connection: Connection, entry: int) -> int | None:
    """Where the policy stands that an entry was admitted under; None in logs of before."""
    table = schema.entries
    query = sa.select(sa.func.max(table.c.entry)).where(
        table.c.kind == REGISTRATION_POLICY, table.c.entry < entry
    )
    found: int | None = connection.execute(query).scalar_one()
    return found


def in_force(connection: Connection, entry: int | None) -> bytes:
    """The statement; Problem where there is none before that entry."""
    found = newest(connection, entry)
    if found is None:
        raise Problem("bad-value", "no registration policy stands before this entry", status=404)
    return found.encode()
