"""Who sends a batch, found before it waits: the line of its fleet, or no place at all.

Only a signature shows it, so it is checked here, in the thread of the request: whoever claims to be
another fleet's gateway must not wait in that fleet's line.
"""

import threading

import sqlalchemy as sa

from tallystick.evidence import _shape as shape
from tallystick.evidence import cose, credential, statement
from tallystick.evidence.credential import Identity
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import device_from_text
from tallystick.evidence.limits import BATCH_BYTES_MAX, BATCH_CBOR_ITEMS_MAX
from tallystick.validator import body, schema
from tallystick.validator.config import Config
from tallystick.validator.lanes import STRANGERS
from tallystick.validator.limits import DOOR_GATEWAYS_CACHED_MAX
from tallystick.validator.store import Store
from tallystick.validator.work import Recent


class Door:
    """Finds a batch's lane; for any thread."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._lock = threading.Lock()
        self._known: Recent[tuple[bytes, bytes], Identity] = Recent(DOOR_GATEWAYS_CACHED_MAX)

    def lane(self, compressed: bytes) -> str:
        """The fleet of a known gateway that signed it, STRANGERS where that is not known yet.

        A bad signature by a known key is refused here: it costs the writer nothing.
        """
        data = body.decompress(compressed)
        shape.bounded(data, BATCH_CBOR_ITEMS_MAX, "batch")
        received = cose.parse(data, BATCH_BYTES_MAX)
        names = received.claim(statement.SUB), received.kid
        id_ = _id_of(names[0])
        if id_ is None or names[1] is None:
            return STRANGERS
        identity = self._identity(id_, names[1])
        if identity is None or identity.iss not in self._config.roots:
            return STRANGERS
        for period in identity.keys:
            if period.key.kid() == names[1]:
                received.verify(period.key)
                return identity.iss
        return STRANGERS

    def _identity(self, id_: bytes, kid: bytes) -> Identity | None:
        with self._lock:
            known = self._known.get((id_, kid))
        if known is not None:
            return known
        table = schema.identities
        with self._store.read() as connection:
            data = connection.execute(
                sa.select(table.c.credential).where(
                    table.c.id == id_, table.c.subject == SUBJECT_GATEWAY
                )
            ).scalar_one_or_none()
        if data is None:
            return None
        try:
            identity = credential.verify_credential(
                credential.parse(data), self._config.roots, None
            )
        except Unverified:
            return None
        if any(period.key.kid() == kid for period in identity.keys):
            with self._lock:
                self._known.put((id_, kid), identity)
        return identity


def _id_of(sub: object) -> bytes | None:
    try:
        return device_from_text(sub) if isinstance(sub, str) else None
    except TallyError:
        return None
