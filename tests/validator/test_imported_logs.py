"""Which validators of peer files are followed, and under which name their logs are witnessed."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support.devices import VALID_S, Device, Fleet, key
from support.keychanges import revoke
from support.otherlog import OtherLog
from support.validating import START_MS, Clock, Room
from tallystick.evidence import keychange, peerfile
from tallystick.evidence.credential import Credential
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.evidence.note import NoteKey
from tallystick.validator import schema
from tallystick.validator.config import PeerConfig
from tallystick.validator.peering import Peering
from tallystick.validator.peers import Follower

START_S = START_MS // 1000
VALID = [START_S - 60, START_S + 86_400]
AWAY = "http://127.0.0.1:9"
BOREALIS, CORAX, AARDVARK = Fleet("borealis"), Fleet("corax"), Fleet("aardvark")
ORIGIN = "borealis.example/log"


def validator(
    fleet: Fleet, origin: str, name: str = "v", valid_s: tuple[int, int] = VALID_S
) -> list[bytes]:
    """A credential of a validator, whose log has this name and a key of its own."""
    signer = key(f"{name} of {fleet.name}")
    details = {"note_key": note_key(fleet, origin, name).text()}
    return fleet.enrol(signer, SUBJECT_VALIDATOR, valid_s, details)


def note_key(fleet: Fleet, origin: str, name: str = "v") -> NoteKey:
    return NoteKey(origin, key(f"notes of {name} of {fleet.name}").public_key())


class Followed(Room):
    """A validator of acme with a peers folder, and what it follows."""

    def open(self) -> None:
        self.peers = self.folder / "peers"
        self.peers.mkdir(parents=True, exist_ok=True)
        self.settings["peer_files"] = '"peers"'
        super().open()
        self.peering = Peering(self.sequencer, threading.Event())

    def put(self, fleet: Fleet, *credentials: list[bytes]) -> None:
        at = {f"{AWAY}{number}": one for number, one in enumerate(credentials)}
        root = fleet.root.public_key()
        fields: Any = ("Ltd", START_MS, VALID, [(fleet.name, root)], [], list(at.items()))
        made = peerfile.PeerFile(*fields).sign(fleet.root, fleet.name, root.thumbprint())
        (self.peers / f"{fleet.name}.peer").write_bytes(made)
        plan = self.sequencer.circle.look()
        if plan is not None:
            self.sequencer.circle.apply(plan)

    def logs(self) -> list[tuple[str, NoteKey | None]]:
        """Who is followed, by its organisation, and the key of its log where it is witnessed."""
        wanted = self.peering._wanted().values()
        return [(peer.name.split(".")[0], peer.note_key) for peer in wanted]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Followed]:
    made = Followed(tmp_path / "v", [Fleet("acme")], Clock())
    yield made
    made.peering.join(5.0)
    made.close()


def test_no_peer_file_takes_the_name_of_another_log(room: Followed) -> None:
    """Of this validator's own, nor of a configured peer's, nor of another peer's."""
    other = OtherLog().note_key
    by_hand = PeerConfig(name="delta", url="http://127.0.0.1:1", note_key=other)
    room.sequencer.config = dataclasses.replace(room.sequencer.config, peers=(by_hand,))
    own = room.sequencer.keys.origin
    room.put(BOREALIS, *(
        validator(BOREALIS, origin, name)
        for name, origin in (("a", own), ("b", other.name), ("c", ORIGIN), ("d", ORIGIN))
    ))  # fmt: skip
    room.put(CORAX, validator(CORAX, ORIGIN))
    kept = note_key(BOREALIS, ORIGIN, "c")
    # All are asked for what they know; one of them is witnessed.
    assert room.logs() == [("borealis", None)] * 2 + [
        ("borealis", kept), ("borealis", None), ("corax", None),
    ]  # fmt: skip
    # The log of a configured peer at another address is not followed twice.
    room.put(AARDVARK, AARDVARK.enrol(
        key("x"), SUBJECT_VALIDATOR, details={"note_key": other.text()}
    ))  # fmt: skip
    assert "aardvark" not in dict(room.logs())


def test_who_is_followed_keeps_its_name_when_another_comes(room: Followed) -> None:
    honest = note_key(BOREALIS, ORIGIN)
    room.put(BOREALIS, validator(BOREALIS, ORIGIN))
    room.peering._follow()
    assert room.sequencer.witnessed_logs == {ORIGIN: honest}
    room.put(AARDVARK, validator(AARDVARK, ORIGIN))
    assert room.logs() == [("aardvark", None), ("borealis", honest)]
    room.peering._follow()
    assert room.sequencer.witnessed_logs == {ORIGIN: honest}
    # It goes, and takes nobody with it.
    (room.peers / "aardvark.peer").unlink()
    room.put(CORAX)
    room.peering._follow()
    assert room.sequencer.witnessed_logs == {ORIGIN: honest}
    # The name is free when whoever has it goes.
    (room.peers / "borealis.peer").unlink()
    room.put(AARDVARK, validator(AARDVARK, ORIGIN))
    room.peering._follow()
    assert room.sequencer.witnessed_logs == {ORIGIN: note_key(AARDVARK, ORIGIN)}


def test_after_a_restart_the_key_that_was_cosigned_keeps_the_name(room: Followed) -> None:
    room.put(BOREALIS, validator(BOREALIS, ORIGIN))
    room.put(AARDVARK, validator(AARDVARK, ORIGIN))
    assert room.logs() == [("aardvark", note_key(AARDVARK, ORIGIN)), ("borealis", None)]
    log = OtherLog(ORIGIN, signer=key("notes of v of borealis"))
    last = log.checkpoint(3)
    row = {"origin": ORIGIN, "size": 3, "root": last.root, "note": last.text(), "time_s": 1}
    with room.sequencer.store.write() as connection:
        connection.execute(sa.insert(schema.witnessed), row)
    assert room.logs() == [("aardvark", None), ("borealis", log.note_key)]


def test_a_follower_removes_no_key_but_its_own(room: Followed) -> None:
    honest, other = note_key(BOREALIS, ORIGIN), note_key(CORAX, ORIGIN)
    room.sequencer.witnessed_logs[ORIGIN] = honest
    stop = threading.Event()
    stop.set()
    peer = PeerConfig(name="corax.v", url=AWAY, note_key=other)
    follower = Follower(room.sequencer, peer, stop)
    follower.start()
    assert room.sequencer.witnessed_logs == {ORIGIN: honest}
    follower.join(60)
    assert room.sequencer.witnessed_logs == {ORIGIN: honest}


def revoked(fleet: Fleet, credential: list[bytes]) -> list[bytes]:
    return revoke(Device(fleet, key(f"v of {fleet.name}"), credential), keychange.LOST, None)


def test_who_is_revoked_in_its_file_is_not_followed(room: Followed) -> None:
    good = validator(BOREALIS, ORIGIN)
    room.put(BOREALIS, revoked(BOREALIS, good))
    assert room.logs() == []


def test_who_is_revoked_otherwise_is_left(room: Followed) -> None:
    good = validator(BOREALIS, ORIGIN)
    room.put(BOREALIS, good)
    room.peering._follow()
    assert ORIGIN in room.sequencer.witnessed_logs
    room.sequencer.ingest.publish([Credential(revoked(BOREALIS, good))])
    # No file changed.
    assert room.peering.turn() is False
    assert room.sequencer.witnessed_logs == {} and room.peering._followed == {}


def test_an_enrolment_ends_with_time_alone(room: Followed) -> None:
    room.put(BOREALIS, validator(BOREALIS, ORIGIN, valid_s=(START_S + 10, START_S + 100)))
    assert room.logs() == []
    for now_s, followed in ((10, 1), (100, 1), (101, 0)):
        room.clock.now_ms = START_MS + now_s * 1000
        room.peering.turn()
        assert len(room.sequencer.witnessed_logs) == followed, now_s
