"""What a validator's answer to a batch changes in the store, in one transaction."""

import structlog

from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.errors import TransportError
from tallystick.evidence.notarised import Notarised
from tallystick.gateway import delivered
from tallystick.gateway.apply import add_refusals
from tallystick.gateway.aside import Aside
from tallystick.gateway.batching import Builder
from tallystick.gateway.built import Built
from tallystick.gateway.down import Down
from tallystick.gateway.overtaking import Overtaking
from tallystick.gateway.peers import Peer
from tallystick.gateway.quotas import Holding, wall_ms
from tallystick.gateway.receipts import Receipts
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.forward")


class Answers:
    """For the thread of one validator's forwarder."""

    def __init__(
        self,
        peer: Peer,
        store: Store,
        builder: Builder,
        holding: Holding,
        aside: Aside,
        ahead: Overtaking,
        down: Down,
    ) -> None:
        self.name = peer.config.name
        self._store = store
        self._builder = builder
        self._holding = holding
        self._aside = aside
        self._ahead = ahead
        self._down = down
        self._receipts = Receipts(peer.iss, peer.key)
        # Whether the last one took everything in its turn, and gave each receipt that was due.
        self.as_expected = False

    def accept(self, built: Built, answer: BatchAnswer, before: int) -> int:
        """Keep what it says; the cursor after it, which was `before`."""
        now_ms = wall_ms()
        good, notarised, wrong = self._check_receipts(built, answer)
        refused = dict(answer.refused)
        if built.ahead is not None:
            # What it does not take of these comes again in its order, and is judged then.
            refused, cursor = {}, before
        else:
            cursor = self._without_history(refused, built.to)
        if built.late is not None:
            # What is still without history is sent again, with its edge; the rest is done.
            built.sent -= {at for at in built.sent if at >= cursor}
            cursor = before
        if answer.size < built.to:
            raise TransportError(
                "bad-answer", f"a batch up to {built.to} was answered with size {answer.size}"
            )
        in_turn = built.late is None and built.ahead is None
        with self._store.write_aside() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)",
                [(self.name, digest, data) for digest, data in good],
            )
            add_refusals(
                connection,
                [(why, b"", 1, now_ms, f"a receipt of validator {self.name}") for why in wrong],
            )
            if built.ahead is None:
                self._aside.answered(connection, built, cursor, refused, now_ms)
            self._ahead.keep(connection, built)
            if in_turn and cursor == built.to:
                delivered.keep_root(connection, self.name, cursor, built.root)
                self._builder.root_of = (cursor, built.root)
            connection.executemany(
                "INSERT OR REPLACE INTO told VALUES (?, ?, ?)",
                [(self.name, device, digest) for device, digest in built.told.items()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO notarised VALUES (?, ?, ?, ?, ?)",
                [
                    (self.name, device, epoch, size, message)
                    for (device, epoch), (size, message) in notarised.items()
                ],
            )
            self._holding.note(connection, [(who, at) for who, at in built.held if at < cursor])
            drained = built.late
            if built.late is not None and self._holding.sent(connection, built.late, built.sent):
                drained = None
            connection.execute(
                "UPDATE validators SET cursor = ?, batches = batches + 1, answered_ms = ?, "
                "error = NULL, error_ms = NULL WHERE name = ?",
                (cursor, now_ms, self.name),
            )
        self._holding.answered(built.held, drained)
        done = range(built.first, cursor) if in_turn else built.sent
        self._builder.edged = {at for at in self._builder.edged if at not in done}
        receipted = {digest for digest, _ in good}
        self._ahead.answered(built, receipted)
        clean = cursor == built.to and not (answer.refused or built.damaged)
        self.as_expected = in_turn and clean and receipted.issuperset(built.custody)
        self._ahead.passed(cursor)
        for at, reason in refused.items():
            _log.warning("a segment is set aside", validator=self.name, at=at, reason=reason)
        self._down.put([(device, message) for (device, _), (_, message) in notarised.items()])
        # Not answer.size: after a crash the validator may have more, and what it has is sent again
        # for its receipts.
        return cursor

    def _without_history(self, refused: dict[int, str], to: int) -> int:
        # Behind a segment that it did not take, a validator cannot follow. It can with the edge, so
        # those are sent again, once, with theirs; the others of the batch are known to it then.
        lacking = [at for at, reason in refused.items() if reason == "no-history"]
        lacking = [at for at in lacking if at not in self._builder.edged]
        for at in lacking:
            del refused[at]
        self._builder.edged.update(lacking)
        return min(lacking, default=to)

    def _check_receipts(
        self, built: Built, answer: BatchAnswer
    ) -> tuple[list[tuple[bytes, bytes]], dict[tuple[bytes, bytes], tuple[int, bytes]], list[str]]:
        good: list[tuple[bytes, bytes]] = []
        wrong: list[str] = []
        newest: dict[tuple[bytes, bytes], tuple[int, bytes]] = {}
        for digest, data in answer.receipts:
            head = built.heads.get(digest)
            statement = head.statement if head is not None else built.custody.get(digest)
            if statement is None:
                continue  # of a credential: nothing here rests on it
            reason = self._receipts.reason(data, statement)
            if reason is not None:
                _log.error("a receipt is refused", validator=self.name, reason=reason)
                wrong.append(reason)
                continue
            good.append((digest, data))
            if head is not None:
                log = (head.device, head.epoch)
                if log not in newest or newest[log][0] <= head.size:
                    newest[log] = (head.size, Notarised(head.epoch, head.size, data).encode())
        return good, newest, wrong
