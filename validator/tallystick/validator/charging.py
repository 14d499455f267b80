"""What a batch costs, and whom; and the signed refusal where that is too much (protocol, 6.7)."""

import math

from tallystick.evidence.batch import VerifiedBatch
from tallystick.evidence.quotarefusal import DEVICE, FLEET, GATEWAY
from tallystick.validator.identities import COUNTED, Identities, Known
from tallystick.validator.limits import (
    IDENTITIES_CACHED_MAX,
    REFUSAL_SIGNED_MS_MIN,
    REFUSALS_PER_BATCH_MAX,
)
from tallystick.validator.log import LogKeys
from tallystick.validator.problem import Problem
from tallystick.validator.quotas import Holder, Over, Quotas, device_of
from tallystick.validator.work import Recent, Work


class Charging:
    """Checks and charges batches."""

    def __init__(self, quotas: Quotas, keys: LogKeys, identities: Identities) -> None:
        self.quotas = quotas
        self._keys = keys
        self._identities = identities
        # A signature may cost a tenth of a second in hardware: who does not obey gets no other one.
        self._signed: Recent[bytes, int] = Recent(IDENTITIES_CACHED_MAX)

    def check(self, work: Work, verified: VerifiedBatch, gateway: Known) -> None:
        """Problem("over-quota") when the sender, its fleet or a device in the batch must wait.

        Nothing of a segment was looked at but the device that it names.
        """
        holders = self._senders(gateway)
        for _, data in verified.segments:
            device = device_of(data)
            if device is not None:
                holders.append((DEVICE, device))
        over = self.quotas.over(work, holders)
        if over:
            raise self._refusal(work, verified, gateway, over[:REFUSALS_PER_BATCH_MAX])

    def _senders(self, gateway: Known) -> list[Holder]:
        identity = gateway.identity
        found = [(GATEWAY, identity.id)]
        root = self._identities.roots.get(identity.iss)
        if root is not None:
            found.append((FLEET, root.thumbprint()))
        return found

    def _refusal(
        self, work: Work, verified: VerifiedBatch, gateway: Known, over: list[Over]
    ) -> Problem:
        now_ms = work.group.time_ms
        refusals = []
        id_ = gateway.identity.id
        if now_ms - (self._signed.get(id_) or 0) >= REFUSAL_SIGNED_MS_MIN:
            self._signed.put(id_, now_ms)
            refusals = [
                one.refusal(verified.digest, now_ms).sign(self._keys.signer, self._keys.name, id_)
                for one in over
            ]
        said = ", ".join(sorted({f"{one.quota} of a {one.holder}" for one in over}))
        wait_s = (max(one.until_ms for one in over) - now_ms) / 1000
        return Problem(
            "over-quota",
            f"{said} is used up, for {wait_s:.1f} s at most",
            refusals=refusals,
            retry_s=math.ceil(wait_s),
        )

    def begin(self, work: Work, gateway: Known) -> "Count":
        """Count a batch."""
        return Count(work, self.quotas, self._senders(gateway))


class Count:
    """What one batch costs: made first, `before`, `took` around each segment, `end` charges."""

    def __init__(self, work: Work, quotas: Quotas, senders: list[Holder]) -> None:
        self._work = work
        self._quotas = quotas
        self._senders = senders
        self._charges: dict[Holder, tuple[int, int]] = {}
        self._records = 0
        self._before = (0, 0)
        self._began = work.group.tree.size

    def before(self, data: bytes) -> None:
        """A segment is about to be taken."""
        self._before = self._counted(data), self._work.group.tree.size

    def took(self, data: bytes, checkpoint: bytes) -> None:
        """It was taken; `checkpoint` is the digest of its last one."""
        device = device_of(data)
        counted, size = self._before
        entry = self._work.entry_of(checkpoint)
        # One that is logged already is a repetition: whoever replays it, its device pays nothing.
        if device is None or entry is None or entry < size:
            return
        records = self._counted(data) - counted + 1
        known = self._charges.get((DEVICE, device), (0, 0))
        self._charges[DEVICE, device] = (known[0] + records, known[1] + len(data))
        self._records += records

    def _counted(self, data: bytes) -> int:
        known = self._work.known.get(device_of(data) or b"")
        return 0 if known is None else sum(known.counted[name] for name in COUNTED)

    def end(self, size: int, *, extends: bool) -> None:
        """Charge everybody; `size` is the batch's, in bytes; `extends`: the gateway's log grew."""
        # Other validators have a gateway's batches and can send them here again, long after the
        # answers were forgotten. One that brings nothing new costs its gateway nothing.
        if extends or self._work.group.tree.size > self._began:
            for sender in self._senders:
                self._charges[sender] = (self._records, size)
        self._quotas.charge(self._work, self._charges)
