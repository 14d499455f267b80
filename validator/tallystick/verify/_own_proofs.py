"""What an object shows by itself, without any key: paths, roots, edges, possession."""

from __future__ import annotations

from collections.abc import Callable

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import (
    custody_tpm2,
    enrolmentrequest,
    forkproof,
    keychange,
    keycustody,
    peerfile,
)
from tallystick.evidence import enrolment as enrolments
from tallystick.evidence import half as halves
from tallystick.evidence import leaf as leaves
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.proof import verify_inclusion
from tallystick.evidence.tree import Tree, fold
from tallystick.verify._text import printable

Shown = tuple[list[str], list[str]]
Holding = enrolments.Enrolment | keychange.Rotation | enrolmentrequest.EnrolmentRequest

NO_KEY = "signatures, for want of keys"


def shown_by(kind: int, data: bytes) -> Shown:
    """(verified, not verified) of an object that was parsed; Unverified when it refutes itself."""
    show = _SHOW.get(kind)
    return show(data) if show is not None else ([], [])


def _record(_data: bytes) -> Shown:
    return [], ["who recorded it: a record alone is bound to nothing"]


def _half(data: bytes) -> Shown:
    half = halves.parse(data)
    head = checkpoints.parse(half.checkpoint)
    leaf = leaves.leaf(half.salt, half.record)
    verify_inclusion(leaf, half.index, head.size, half.path, head.root)
    return ["the record is under the checkpoint's root"], ["the checkpoint's signature", "who"]


def _segment(data: bytes) -> Shown:
    segment = segments.parse(data)
    if segment.first and segment.edge is None:
        return [], ["its roots: it begins in the middle and carries no edge", NO_KEY]
    tree = Tree()
    if segment.edge is not None:
        head = checkpoints.parse(segment.edge.checkpoint)
        if head.size != segment.first or fold(segment.edge.hashes) != head.root:
            raise Unverified("bad-edge", "the edge does not fold to its checkpoint")
        tree = Tree(segment.first, segment.edge.hashes)
    for stretch in segment.stretches:
        at = stretch.first
        for item in stretch.items:
            if isinstance(item, bytes):
                tree.push(leaves.leaf(stretch.salt_of(at), item))
                at += 1
            else:
                tree.push_subtree(item[0], item[1])
                at += 1 << item[0]
        head = checkpoints.parse(stretch.checkpoint)
        if head.size != tree.size or head.root != tree.root():
            raise Unverified("bad-root", "the items do not give a checkpoint's root")
    return ["the items give the roots of its checkpoints"], [NO_KEY]


def _enrolment(data: bytes) -> Shown:
    enrolment = enrolments.parse(data)
    if enrolment.id != enrolment.key.thumbprint():
        raise Unverified("wrong-key", "the enrolment's id is not the thumbprint of its key")
    verified, left = _held(enrolment, enrolment.iss)
    return ["its id is that of its key", *verified], left


def _held(one: Holding, iss: str) -> Shown:
    """Possession, and what evidence of custody shows without the fleet root's key."""
    message = enrolments.possession_message(one.key.alg, one.id, iss)
    try:
        one.key.verify(one.possession, message)
    except TallyError:
        raise Unverified("no-possession", "the proof of possession is wrong") from None
    verified, left = ["its holder has the key"], []
    here = [item for item in one.evidence if item[0] != custody_tpm2.TYPE]
    if len(here) != len(one.evidence):
        left.append(f"{custody_tpm2.TYPE}, for want of the fleet root's key")
    # Only a TPM's evidence needs the root and the time, and that is left out here.
    counted = keycustody.count(one.key, one.id, iss, one.key, one.custody, here, 0)
    verified += [f"custody: {sentence}" for sentence in counted.shown]
    left += [f"custody: {sentence}" for sentence in counted.not_proven]
    left += [f"{printable(kind)}: {why}" for kind, why in counted.not_checked]
    return verified, left


def _key_change(data: bytes) -> Shown:
    change = keychange.parse(data)
    return _held(change, change.iss) if isinstance(change, keychange.Rotation) else ([], [])


def _request(data: bytes) -> Shown:
    request = enrolmentrequest.parse(data)
    verified, left = _held(request, request.iss)
    return verified, [*left, "who asks: nobody vouches for a request"]


def _fork(data: bytes) -> Shown:
    forkproof.parse(data)
    return ["the two heads contradict each other"], [NO_KEY]


def _misbehaviour(_data: bytes) -> Shown:
    # That it was parsed says it: what contradicts nothing is no proof.
    return ["what it holds cannot all be true"], [NO_KEY, "who: `tally verify --proof` does"]


def _score(_data: bytes) -> Shown:
    return [], ["its numbers: `tally score --check` computes them again from the logs"]


def _evidence(_data: bytes) -> Shown:
    return [], ["everything in it: `tally verify` does, against a policy"]


def _join(_data: bytes) -> Shown:
    return [], ["that its maker has the code: only the gateway and the fleet can tell"]


def _peer_file(data: bytes) -> Shown:
    file = peerfile.parse(data).verify()
    shown = [
        "signed by the first of its own roots, which vouch for everybody in it",
        f"its fingerprint: {file.spoken}",
    ]
    return shown, ["whose roots they are: compare the fingerprint by voice", "its validity"]


_SHOW: dict[int, Callable[[bytes], Shown]] = {
    0: _record,
    1: _record,
    2: _record,
    3: _record,
    6: _enrolment,
    7: _key_change,
    13: _segment,
    14: _half,
    22: _evidence,
    29: _request,
    30: _fork,
    32: _join,
    36: _misbehaviour,
    37: _score,
    38: _peer_file,
}
