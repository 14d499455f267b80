"""The witnesses that peer files bring, as they are asked at the start (docs/protocol.md, 8.5)."""

from collections.abc import Iterable

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_text
from tallystick.evidence.note import NoteKey, parse_key
from tallystick.evidence.peerfile import VerifiedPeerFile
from tallystick.validator.config import PeerConfig
from tallystick.validator.limits import PEERS_MAX

ID_CHARS = 8


def witnesses_of(files: Iterable[VerifiedPeerFile], own: bytes) -> list[PeerConfig]:
    """Each validator with a note key; `own` is this one's id.

    Also one whose enrolment is over, or whose log has another's name: it gets no checkpoint
    (peering.py), and what it shows by this log's own signature is as good as from anybody.
    """
    found: list[PeerConfig] = []
    for file in files:
        for (url, _), identity in zip(file.validators, file.validator_ids, strict=True):
            note_key = note_key_of(identity.enrolment.details.get("note_key"))
            if note_key is None or identity.id == own:
                continue
            name = f"{file.iss}.{device_text(identity.id)[:ID_CHARS]}"
            found.append(PeerConfig(name=name, url=url, note_key=note_key))
    return found[:PEERS_MAX]


def note_key_of(text: object) -> NoteKey | None:
    """What an enrolment says of the key of a validator's log; None where it says nothing good."""
    try:
        return parse_key(text) if isinstance(text, str) else None
    except Malformed:
        return None
