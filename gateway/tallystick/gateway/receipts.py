"""Checks a validator's receipts against what was sent, with one signature check a root."""

from tallystick.evidence import cose
from tallystick.evidence import receipt as receipts
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.evidence.proof import root_from_inclusion
from tallystick.evidence.tree import leaf_hash

ROOTS_REMEMBERED_MAX = 64


class Receipts:
    """A validator's receipts: all of one answer share a root, and so a signature."""

    def __init__(self, iss: str, key: PublicKey) -> None:
        self._iss = iss
        self._key = key
        self._good: list[tuple[bytes, bytes, bytes]] = []

    def check(self, data: bytes, statement: bytes) -> None:
        """Unverified unless the validator's key signed a root over a tree with this statement."""
        received = receipts.parse(data)
        if received.iss != self._iss:
            raise Unverified("wrong-key", "a receipt that names another validator")
        entry = cose.parse(statement, STATEMENT_BYTES_MAX).statement_bytes()
        root = root_from_inclusion(leaf_hash(entry), received.index, received.size, received.path)
        signed = (received.sign1.protected, root, received.sign1.signature)
        if signed in self._good:
            return
        received.verify(entry, self._key)
        self._good = [*self._good[1 - ROOTS_REMEMBERED_MAX :], signed]

    def reason(self, data: bytes, statement: bytes) -> str | None:
        """Why a receipt is not kept; None when it is good."""
        try:
            self.check(data, statement)
        except TallyError as error:
            return error.reason
        return None
