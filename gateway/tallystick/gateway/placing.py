"""Where a segment belongs in its device's log. Pure: reads the view, changes tracks, decides.

It extends what is known, repeats it, overlaps with it, comes early, or contradicts it. The common
case, a segment that starts where the log's one track ends, costs one verification.
Else roots of one size are compared (docs/protocol.md, 2.3): different ones are a fork.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.folded import Folded, gateway_leaf, verify_folded
from tallystick.evidence.gatewaylog import GatewayLeaf
from tallystick.evidence.segment import Segment, VerifiedSegment, verify_segment
from tallystick.evidence.tree import Tree
from tallystick.gateway.decisions import Appended, Decision, Forked, Merged, Suspected
from tallystick.gateway.history import History, tree_in
from tallystick.gateway.leaving import Logs, revived
from tallystick.gateway.limits import TRACKS_PER_LOG_MAX
from tallystick.gateway.pieces import Piece, cut, late_heads, piece_of, uncovered
from tallystick.gateway.tracks import Log, Track, edge_bytes
from tallystick.gateway.urgency import is_urgent
from tallystick.gateway.view import View


class Early(Exception):
    """The segment starts beyond what is known and carries no edge."""


@dataclass(slots=True)
class Placed:
    """What became of one segment."""

    decisions: list[Decision] = field(default_factory=list)
    touched: list[Track] = field(default_factory=list)
    repeats: Track | None = None  # it is known already, as part of this track
    first_record: bytes | None = None  # of the epoch, when it is seen for the first time
    forked: bool = False


class Placer:
    """Places segments into logs; `next_track` gives a free number, `logs` a device's epochs."""

    def __init__(self, view: View, next_track: Callable[[], int], logs: Logs) -> None:
        self._view = view
        self._logs = logs
        self._history = History(view)
        self._next_track = next_track

    def place(self, log: Log, segment: Segment, identity: Identity) -> Placed:
        """Early, or a TallyError when it is refused; nothing is changed then."""
        known = self._repeated(log, segment)
        if known is not None:
            return Placed(repeats=known)
        track = _only_extends(log, segment)
        if track is not None:
            try:
                verified = verify_segment(segment, identity, track.tree)
            except Unverified as error:
                # It may be the other side of a fork; that is found below, or refused again.
                if error.reason not in {"bad-root", "fork"}:
                    raise
            else:
                if segment.first == segment.to and not _newer(verified, track):
                    return Placed(repeats=track)
                return self._extend(log, track, verified)
        return self._compare(log, segment, identity)

    # --- known already ----------------------------------------------------------------------

    def _repeated(self, log: Log, segment: Segment) -> Track | None:
        # By the digest of its last checkpoint alone: no signature is checked, and the answer says
        # only what was said before.
        digest = None
        for track in log.tracks:
            if track.covers(segment.first, segment.to):
                if digest is None:
                    digest = checkpoints.parse(segment.stretches[-1].checkpoint).digest
                if digest == track.head_digest or self._view.has_checkpoint(
                    track.track, segment.to, digest
                ):
                    return track
        return None

    # --- the common case --------------------------------------------------------------------

    def folded(self, log: Log, folded: Folded, data: bytes, identity: Identity) -> Placed | None:
        """As place() where a folded segment only extends its log; None: look at it as a whole."""
        track = _only_extends(log, folded)
        # It is not an epoch's beginning, since no track ends at 0. Of an epoch that its device
        # left, heads are looked at more closely.
        if track is None or log.frozen_at is not None:
            return None
        crc = zlib.crc32(data)
        # What was found of other bytes says nothing of these, which are stored.
        if crc != folded.crc:
            return None
        try:
            after = verify_folded(folded, identity, track.tree)
        except TallyError:
            return None
        appended = appended_folded(track, folded, data, crc)
        head = folded.stretches[-1].head
        track.tree = after
        track.set_head(head.data, head.digest, (head.boot, head.uptime_ms), head.root)
        return Placed([appended], [track])

    def _extend(self, log: Log, track: Track, verified: VerifiedSegment) -> Placed:
        placed = Placed()
        piece = piece_of(
            verified.first,
            verified.to,
            (track.tree, verified.tree),
            verified.segment.encode(),
            verified.stretches,
        )
        self._append(log, track, piece, placed)
        return placed

    def _append(self, log: Log, track: Track, piece: Piece, placed: Placed) -> None:
        head = piece.heads[-1]
        leaf = GatewayLeaf(
            log.device, log.epoch, piece.first, piece.to, head.root, head.digest
        ).leaf_hash()
        placed.decisions.append(
            Appended(
                track.track,
                piece.first,
                piece.to,
                head.root,
                head.digest,
                edge_bytes(piece.before),
                piece.named(),
                len(head.encode()),
                piece.records,
                piece.data,
                zlib.crc32(piece.data),
                leaf,
                is_urgent(piece.last),
            )
        )
        if piece.first == 0 and not log.begun:
            log.begun = True
            placed.first_record = piece.begin
        if revived(self._view, self._logs, log, piece.to, piece.heads):
            placed.decisions.append(Suspected(log.device, "frozen-epoch"))
        track.tree = piece.after
        track.set_head(head.encode(), head.digest, (head.boot, head.uptime_ms), head.root)
        if piece.elided:
            track.bodies_from = piece.to
        if track not in placed.touched:
            placed.touched.append(track)

    # --- everything else --------------------------------------------------------------------

    def _compare(self, log: Log, segment: Segment, identity: Identity) -> Placed:
        verified, base = self.verify(log, segment, identity)
        same, against = self._relations(log, verified, base, identity)
        pieces = self._pieces(log, verified, base, same, identity)
        if not pieces:
            return Placed(repeats=same[0])
        added = sum(not any(piece.meets(track) for track in same) for piece in pieces)
        if len(log.tracks) + added > TRACKS_PER_LOG_MAX:
            raise Unverified(
                "over-quota", f"{TRACKS_PER_LOG_MAX} pieces of one log do not touch; fill a hole"
            )
        placed = Placed()
        used = [self._put(log, piece, same, placed) for piece in pieces]
        for track, size in against:
            self._fork(log, track, used[-1], size, identity, placed)
        self._join(log, placed)
        return placed

    def verify(
        self, log: Log, segment: Segment, identity: Identity
    ) -> tuple[VerifiedSegment, Tree]:
        """A segment, verified against what is known before it, and the tree there."""
        if segment.first == 0 or segment.edge is not None:
            base = Tree() if segment.edge is None else Tree(segment.first, segment.edge.hashes)
            return verify_segment(segment, identity), base
        failure: Unverified | None = None
        for track in log.tracks:
            if not track.began <= segment.first <= track.size:
                continue
            known = self._history.tree_at(track, segment.first, identity)
            if known is None:
                continue
            try:
                return verify_segment(segment, identity, known), known
            except Unverified as error:
                if error.reason != "bad-root":
                    raise
                failure = error
        if failure is None:
            raise Early
        raise failure

    def _relations(
        self, log: Log, verified: VerifiedSegment, base: Tree, identity: Identity
    ) -> tuple[list[Track], list[tuple[Track, int]]]:
        same: list[Track] = []
        against: list[tuple[Track, int]] = []
        for track in log.tracks:
            low = max(verified.first, track.began)
            high = min(verified.to, track.size)
            if high < low:
                continue
            for size in (high, low):
                theirs = tree_in(base, verified, size)
                ours = None if theirs is None else self._history.root_at(track, size, identity)
                if theirs is None or ours is None:
                    continue
                if ours == theirs.root():
                    same.append(track)
                else:
                    against.append((track, size))
                break
            else:
                raise Unverified("bad-stretch", "an elided subtree crosses a size known before")
        return same, against

    def _pieces(
        self,
        log: Log,
        verified: VerifiedSegment,
        base: Tree,
        same: list[Track],
        identity: Identity,
    ) -> list[Piece]:
        # What is new of a segment: the ranges that no track of its own history covers.
        ranges = uncovered(verified.first, verified.to, same)
        if not ranges:
            late = late_heads(verified, same)
            if same and not late:
                return []
            ranges = [(verified.to, verified.to)]
            chosen = [late or verified.stretches]
        else:
            chosen = [
                [s for s in verified.stretches if s.first >= first and s.to <= to]
                for first, to in ranges
            ]
        pieces = []
        for (first, to), stretches in zip(ranges, chosen, strict=True):
            before = tree_in(base, verified, first)
            after = tree_in(base, verified, to)
            whole = stretches and stretches[0].first == first and stretches[-1].to == to
            if not whole or before is None or after is None:
                raise Unverified(
                    "bad-stretch", "the segment's stretches do not meet the sizes known before"
                )
            data = verified.segment.encode()
            piece = piece_of(first, to, (before, after), data, stretches)
            edge = verified.segment.edge if first == verified.first else None
            if edge is None and first and not any(piece.continues(track) for track in same):
                # A branch begins here: validators without history must be able to follow it.
                edge = self._history.edge_for(log, before, identity)
            if edge is not verified.segment.edge or len(stretches) != len(verified.stretches):
                piece.data = cut(verified, stretches, edge)
            pieces.append(piece)
        return pieces

    def _put(self, log: Log, piece: Piece, same: list[Track], placed: Placed) -> Track:
        # Puts a piece at the end of the track that it continues, or makes one.
        # A head that was known alone is a track of no width: it must not stay behind.
        found = [track for track in same if piece.continues(track)]
        if found:
            track = max(found, key=lambda track: track.began)
            self._append(log, track, piece, placed)
            return track
        track = Track(
            track=self._next_track(),
            device=log.device,
            epoch=log.epoch,
            began=piece.first,
            base_root=piece.before.root(),
            tree=piece.before,
            root=piece.before.root(),
            head=b"",
            bodies_from=piece.first,
        )
        log.tracks.append(track)
        self._append(log, track, piece, placed)
        return track

    def _fork(
        self,
        log: Log,
        ours: Track,
        theirs: Track,
        size: int,
        identity: Identity,
        placed: Placed,
    ) -> None:
        pair = (ours.track, theirs.track)
        if ours is theirs or pair in log.contradicting or pair[::-1] in log.contradicting:
            return
        log.contradicting.add(pair)
        placed.forked = True
        head = self._history.checkpoint_at(ours, size, identity) or ours.head
        placed.decisions.append(
            Forked(log.device, log.epoch, *pair, size, head, theirs.head),
        )
        # What an ended key wrote beyond its end proves nothing against another key, nor does what
        # a compromised one wrote anywhere.
        if not any(_is_beyond(identity, track.head) for track in (ours, theirs)):
            placed.decisions.append(Suspected(log.device, "fork"))

    def _join(self, log: Log, placed: Placed) -> None:
        # Pieces that touch now become one. Bounded: each turn takes one track away.
        joined = True
        while joined:
            joined = False
            for track in log.tracks:
                gone = next((other for other in log.tracks if _touch(track, other)), None)
                if gone is None:
                    continue
                track.absorb(gone)
                log.tracks.remove(gone)
                log.contradicting = {
                    (
                        track.track if a == gone.track else a,
                        track.track if b == gone.track else b,
                    )
                    for a, b in log.contradicting
                }
                placed.decisions.append(Merged(track, gone))
                placed.touched = [t for t in placed.touched if t not in {track, gone}] + [track]
                joined = True
                break


def appended_folded(track: Track, folded: Folded, data: bytes, crc: int) -> Appended:
    """What is stored of a segment that was folded elsewhere; `track` is as it was before it."""
    head = folded.stretches[-1].head
    named = [stretch.head.custody for stretch in folded.stretches]
    return Appended(
        track.track,
        folded.first,
        folded.to,
        head.root,
        head.digest,
        edge_bytes(track.tree),
        b"".join(dict.fromkeys(digest for digest in named if digest is not None)),
        len(head.data),
        sum(stretch.records for stretch in folded.stretches),
        data,
        crc,
        gateway_leaf(folded),
        is_urgent(folded.last),
    )


def _is_beyond(identity: Identity, signed: bytes) -> bool:
    head = checkpoints.parse(signed)
    return identity.status_at(head, identity.own_key_of(head)) in {"suspect", "compromised"}


def _only_extends(log: Log, segment: Segment | Folded) -> Track | None:
    # The track that ends where the segment begins, when no other one is near.
    found = None
    for track in log.tracks:
        if track.size == segment.first and found is None:
            found = track
        elif track.began <= segment.to and track.size >= segment.first:
            return None
    return found


def _newer(verified: VerifiedSegment, track: Track) -> bool:
    # A repeated head is worth keeping when it is later than the one before; a replay is not.
    head = verified.checkpoint
    return (head.boot, head.uptime_ms) > track.order


def _touch(track: Track, other: Track) -> bool:
    return other is not track and track.size == other.began and track.root == other.base_root
