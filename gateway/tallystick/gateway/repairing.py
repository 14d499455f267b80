"""Segments that come again for those whose stored bytes are damaged. Pure: reads the view, decides.

A device sends its stretches one by one, and a stored segment may hold several: what came of one is
remembered, in order, until it is whole.
"""

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError
from tallystick.evidence.segment import Edge, Segment, Stretch, VerifiedSegment, verify_segment
from tallystick.evidence.tree import Tree
from tallystick.gateway.decisions import Repaired
from tallystick.gateway.history import tree_in
from tallystick.gateway.placing import Early, Placer
from tallystick.gateway.tracks import Log, edge_bytes
from tallystick.gateway.view import Damaged, View

_REMEMBERED_MAX = 64  # damaged segments of which a part came: 16 MiB at most


class _Partly:
    # What came of one damaged segment so far, and the trees before it and behind what came.
    def __init__(self, edge: bytes, carried: Edge | None) -> None:
        self.edge = edge
        self.carried = carried
        self.stretches: list[Stretch] = []
        self.bodies = 0
        self.tree = Tree()


class Repairs:
    """For the core: what a known segment's repetition repairs."""

    def __init__(self, view: View, placer: Placer) -> None:
        self._view = view
        self._placer = placer
        self._partly: dict[int, _Partly] = {}

    def part(self, log: Log, segment: Segment, identity: Identity) -> list[Repaired] | None:
        """What this segment brings back; None when it is about nothing that is damaged."""
        damaged = self._view.damaged(
            log.device, log.epoch, segment.first, min(segment.to, log.known_to())
        )
        if not damaged:
            return None
        found = None
        for one in damaged:
            try:
                verified, base = self._verified(log, segment, identity, one)
            except (TallyError, Early):
                continue  # it repairs nothing, and is judged like any other
            found = found or []
            found += self._take(one, segment, verified, base)
        return found

    def _verified(
        self, log: Log, segment: Segment, identity: Identity, one: Damaged
    ) -> tuple[VerifiedSegment, Tree]:
        # What begins inside is compared with what came before it, not with what is damaged.
        partly = self._partly.get(one.at)
        if partly is not None and one.first < segment.first == partly.tree.size:
            return verify_segment(segment, identity, partly.tree), partly.tree.copy()
        return self._placer.verify(log, segment, identity)

    def _take(
        self, one: Damaged, segment: Segment, verified: VerifiedSegment, base: Tree
    ) -> list[Repaired]:
        if segment.first <= one.first:
            before = tree_in(base, verified, one.first)
            if before is None:
                return []
            carried = segment.edge if segment.first == one.first else None
            self._forget_one()
            self._partly[one.at] = _Partly(edge_bytes(before), carried)
            self._partly[one.at].tree = before
        partly = self._partly.get(one.at)
        if partly is None:
            return []  # it begins inside, and nothing came of what is before it
        for stretch, checked in zip(segment.stretches, verified.stretches, strict=True):
            # A head alone takes part only as the end.
            last = checked.checkpoint.digest == one.checkpoint
            if checked.first != partly.tree.size or not (stretch.items or last):
                continue
            if checked.to > one.until:
                break
            after = tree_in(base, verified, checked.to)
            if after is None:
                break
            partly.tree = after
            partly.stretches.append(stretch)
            partly.bodies += len(checked.items) - checked.elided
        whole = _whole(one, segment, partly)
        if whole is None:
            return []
        del self._partly[one.at]
        return [whole]

    def _forget_one(self) -> None:
        if len(self._partly) >= _REMEMBERED_MAX:
            del self._partly[next(iter(self._partly))]


def _whole(one: Damaged, segment: Segment, partly: _Partly) -> Repaired | None:
    kept = partly.stretches
    if not kept or partly.tree.size != one.until or partly.tree.root() != one.root:
        return None
    if checkpoints.parse(kept[-1].checkpoint).digest != one.checkpoint:
        return None
    if not one.pruned and partly.bodies < one.records:
        return None  # hashes do not take the place of bodies
    copies = [Stretch(s.items, s.secret, s.checkpoint, s.elided) for s in kept]
    data = Segment(segment.device, segment.epoch, one.first, partly.carried, copies).encode()
    return Repaired(one.at, one.track, partly.edge, len(kept[-1].checkpoint), data)
