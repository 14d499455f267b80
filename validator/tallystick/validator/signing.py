"""Verdicts: what a set came to is signed where it changed, and written with the set."""

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from tallystick.evidence import cbor, cose, statement
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import b64u
from tallystick.evidence.kinds import VERDICT
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.validator import schema
from tallystick.validator.findings import PENDING, Computed, Conclusion, Row, due_ms
from tallystick.validator.limits import PARTIES_CACHED_MAX
from tallystick.validator.log import Log
from tallystick.validator.nearby import used_erased
from tallystick.validator.work import Work
from tallystick.verify.partysets import uninvited

ARRAY = 4  # CBOR's major type


class Concluded:
    """What a set came to, before anything is signed."""

    def __init__(
        self, row: Row, found: Conclusion | None, closing: int | None, computed: Computed
    ) -> None:
        self.row = row
        self.found = found
        self.closing = closing
        self.erased = computed.erased
        self.siblings = computed.siblings


class Made(statement.Signed):
    """A verdict around the bytes of its finding, as evidence.verdict.Verdict is encoded.

    Most of what a verdict costs would be to read a finding and to write the same bytes again.
    """

    def __init__(
        self,
        interaction: bytes,
        finding: bytes,
        size: int,
        supersedes: bytes | None,
        uninvited: list[bytes],
        time_ms: int,
    ) -> None:
        self._interaction = interaction
        rest = [size, supersedes, sorted(uninvited), time_ms]
        self._payload = b"".join(
            [
                cbor.head(ARRAY, 2 + len(rest)),
                cbor.encode(VERDICT),
                finding,
                *map(cbor.encode, rest),
            ]
        )

    def payload(self) -> bytes:
        """What is signed."""
        return self._payload

    def subject(self) -> str:
        """What `sub` must be: the interaction id as text."""
        return b64u(self._interaction)


@lru_cache(PARTIES_CACHED_MAX)
def _devices(parties: bytes) -> tuple[bytes, ...]:
    # The same few meet again and again.
    found = cbor.decode(parties)
    return tuple(sorted({device for devices in found.values() for device in devices}))


class Signing:
    """Verdicts of one tick, over the log as it was at `size`."""

    def __init__(self, work: Work, log: Log, size: int) -> None:
        self._work = work
        self._log = log
        self._size = size

    def sign_if_changed(self, one: Concluded) -> dict[str, Any]:
        """What to write of a set."""
        row, found = one.row, one.found
        state = row.state if found is None else found.state
        pending = found is not None and state == PENDING and one.closing is None
        change: dict[str, Any] = {
            "number": row.party_set,
            "to_state": state,
            "to_closing": one.closing,
            # Complete, or closed: nothing falls due any more. Nor where nothing could be found:
            # a new claim makes it due, and its deadline is where it was.
            "to_due": due_ms(row) if pending else None,
            "to_finding": row.finding,
            "to_verdict": row.verdict,
            "to_entry": row.verdict_entry,
        }
        if found is None or found.state == PENDING:
            return change
        self._wait_for(row, found.unheard)
        digest = found.digest()
        if one.erased and row.verdict is not None:
            # Else a party would have its claim erased, and say something else in its place.
            return change | {"to_state": row.state}
        if digest == row.finding:
            return change
        if row.verdict_entry is not None and used_erased(self._work, row.verdict_entry):
            # As above: what speaks against a party in another interaction may have been erased.
            return change | {"to_state": row.state}
        return change | self._signed(one, found, digest)

    def _signed(self, one: Concluded, found: Conclusion, digest: bytes) -> dict[str, Any]:
        row, work = one.row, self._work
        made = Made(
            row.interaction,
            found.data or b"",
            self._size,
            row.verdict,
            uninvited(row.parties_digest, one.siblings),
            work.group.time_ms,
        )
        try:
            signed, at = self._sign(made)
        except Malformed as error:
            work.refuse(error.reason)
            return {}
        work.insert(
            schema.verdicts, entry=at, party_set=row.party_set, digest=signed, state=found.state
        )
        for device in _devices(row.parties):
            work.insert(schema.verdict_parties, device=device, entry=at)
        return {"to_finding": digest, "to_verdict": signed, "to_entry": at}

    def _sign(self, made: "Made") -> tuple[bytes, int]:
        keys = self._log.keys
        data = made.sign(keys.signer, keys.name, made.subject())
        sign1 = cose.parse(data, STATEMENT_BYTES_MAX)
        return sign1.digest(), self._work.group.add_statement(VERDICT, sign1)

    def _wait_for(self, row: Row, unheard: list[bytes]) -> None:
        """Who is unheard may turn out to be silent, when its log arrives past the deadline."""
        if row.deadline_ms is None:
            return
        work = self._work
        due = row.first_ms + row.deadline_ms
        for device in unheard:
            table = schema.unheard
            # A set that is closed only now cannot wait already.
            if row.closing is not None:
                known = work.connection.execute(
                    sa.select(table.c.device).where(
                        table.c.device == device,
                        table.c.due_ms == due,
                        table.c.party_set == row.party_set,
                    )
                )
                if known.first() is not None:
                    continue
            work.insert(table, device=device, due_ms=due, party_set=row.party_set)
            work.heard.add(device)
