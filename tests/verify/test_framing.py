"""An accepted validator that lies cannot have another one convicted by signing in its place."""

import pytest

from support import guilt
from support.proven import report
from support.story import StoryValidator
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.genesis import Genesis
from tallystick.evidence.headproofs import Equivocation
from tallystick.evidence.note import Note, NoteKey

STORY = guilt.matched()
HONEST, LIAR = STORY.validators[:2]


def genesis_naming(log: StoryValidator, name: str) -> bytes:
    """A genesis of a validator that gives its note key this name."""
    note_key = NoteKey(name, log.note_key.public_key())
    made = Genesis(log.name, log.origin, log.key.public_key(), note_key, {}, log.time_ms)
    return made.sign(log.key, log.name, log.id)


def checkpoint_of(origin: str, root: bytes, name: str) -> str:
    """A checkpoint of a log, by the liar's note key under a name."""
    bare = Note(origin, len(HONEST.entries), root, [])
    return bare.sign(LIAR.note_key, name).text()


def convicted(name: str, *notes: str) -> set[bytes]:
    """Whom two checkpoints convict, where the liar's genesis names its note key so."""
    # Its note key is not pinned: its own genesis says what it is.
    policy = STORY.policy.replace(f'note_key = "{LIAR.vkey}"\n', "")
    proof = Equivocation(notes[0], notes[1], None)
    genesis: list[tuple[bytes, list[bytes]]] = [
        (HONEST.entries[0], []),
        (genesis_naming(LIAR, name), []),
    ]
    file = EvidenceFile([], [], [], genesis, [], [], None, [], proofs=[proof.encode()])
    try:
        return set(report(file, policy).convicted)
    except TallyError as error:
        if error.reason != "no-contradiction":
            raise
        return set()


@pytest.mark.parametrize("name", [HONEST.origin, LIAR.origin])
def test_another_key_contradicts_no_log(name: str) -> None:
    forged = checkpoint_of(HONEST.origin, bytes(32), name)
    assert convicted(name, HONEST.note(), forged) == set()
    assert convicted(name, forged, HONEST.note()) == set()


def test_who_signs_twice_under_anothers_name_convicts_himself() -> None:
    name = HONEST.origin
    notes = [checkpoint_of(name, bytes([at]) * 32, name) for at in (1, 2)]
    assert convicted(name, *notes) == {LIAR.id}


def test_a_signature_beside_the_logs_own_changes_nothing() -> None:
    # The honest log's checkpoint, which the liar signed too, under its own name.
    size, root = len(HONEST.entries), bytes(32)
    mine = Note(LIAR.origin, size, root, []).sign(LIAR.note_key, LIAR.origin)
    both = mine.sign(HONEST.note_key, HONEST.origin).text()
    other = Note(LIAR.origin, size, b"\x01" * 32, []).sign(LIAR.note_key, LIAR.origin)
    assert convicted(LIAR.origin, both, other.text()) == {LIAR.id}
