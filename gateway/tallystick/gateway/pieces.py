"""Pieces of segments: what of one is new, and what the gateway's log says of it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.segment import Edge, Segment, Stretch, VerifiedSegment, VerifiedStretch
from tallystick.evidence.tree import Tree
from tallystick.gateway.tracks import Track


@dataclass(slots=True)
class Piece:
    """Whole stretches that are new: verified heads over [first, to), and the tree at both ends."""

    first: int
    to: int
    before: Tree
    after: Tree
    data: bytes
    heads: list[VerifiedCheckpoint]
    records: int  # bodies
    elided: bool  # not all of it are bodies
    begin: bytes  # its first record; empty where that is elided, or was not asked for
    last: bytes  # how its last record begins, 2 bytes; empty where that is elided

    def named(self) -> bytes:
        """The digests of the custody receipts that its checkpoints name, joined, each once."""
        found = [head.custody for head in self.heads]
        return b"".join(dict.fromkeys(digest for digest in found if digest is not None))

    def continues(self, track: Track) -> bool:
        """Whether it begins where a track ends."""
        return track.size == self.first and track.root == self.before.root()

    def meets(self, track: Track) -> bool:
        """Whether it adds no track: what fills a hole joins what is before or behind it."""
        return self.to == track.began or self.continues(track)


def piece_of(
    first: int, to: int, trees: tuple[Tree, Tree], data: bytes, stretches: list[VerifiedStretch]
) -> Piece:
    """The piece of verified stretches; trees at `first` and at `to`."""
    begin, end = stretches[0].items[:1], stretches[-1].items[-1:]
    return Piece(
        first,
        to,
        *trees,
        data,
        [stretch.checkpoint for stretch in stretches],
        sum(len(stretch.items) - stretch.elided for stretch in stretches),
        any(stretch.elided for stretch in stretches),
        begin[0] if begin and isinstance(begin[0], bytes) else b"",
        end[0][:2] if end and isinstance(end[0], bytes) else b"",
    )


def uncovered(first: int, to: int, covered: Iterable[Track]) -> list[tuple[int, int]]:
    """The parts of [first, to) that no track covers."""
    gaps = []
    at = first
    for track in sorted(covered, key=lambda track: track.began):
        if track.began > at:
            gaps.append((at, min(track.began, to)))
        at = max(at, track.size)
        if at >= to:
            break
    if at < to:
        gaps.append((at, to))
    return [(begin, end) for begin, end in gaps if begin < end]


def late_heads(verified: VerifiedSegment, same: list[Track]) -> list[VerifiedStretch]:
    """Repeated heads at the end of what is known that are later than the newest one."""
    for track in same:
        if track.size == verified.to:
            return [
                stretch
                for stretch in verified.stretches
                if stretch.first == track.size
                and (stretch.checkpoint.boot, stretch.checkpoint.uptime_ms) > track.order
            ]
    return []


def cut(verified: VerifiedSegment, kept: list[VerifiedStretch], edge: Edge | None) -> bytes:
    """A segment's bytes with only some of its stretches, and another edge."""
    segment = verified.segment
    pairs = zip(segment.stretches, verified.stretches, strict=True)
    copies = [
        Stretch(s.items, s.secret, s.checkpoint, s.elided)
        for s, checked in pairs
        if checked in kept
    ]
    return Segment(segment.device, segment.epoch, kept[0].first, edge, copies).encode()
