"""Who is asked at the start whether the store was put back: imported witnesses too, and no longer
than it may take (F17; docs/protocol.md, 8.5)."""

import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from support.circle import Member
from support.devices import Fleet, key
from support.otherlog import OtherLog
from support.site import until
from support.validating import Gateway, Room, write_config
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.evidence.errors import CouldNotCheck
from tallystick.evidence.note import NoteKey
from tallystick.evidence.peerfile import PeerFile
from tallystick.validator import config as configs
from tallystick.validator import putback
from tallystick.validator.config import PeerConfig
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.service import Service

BOREALIS = Fleet("borealis")
WITNESS_KEY = NoteKey("witness.example", key("a witness").public_key())


def file_of(member: Member) -> bytes:
    """The peer file of the organisation borealis, with its validator and that one's note key."""
    signer, _ = BOREALIS.member("validator", SUBJECT_VALIDATOR)
    details = {"note_key": member.note_key.text()}
    made = PeerFile(
        organisation="Borealis Ltd",
        made_ms=1,
        validity=[0, 1 << 40],
        roots=[("borealis", BOREALIS.root.public_key())],
        gateways=[],
        validators=[(member.url, BOREALIS.enrol(signer, SUBJECT_VALIDATOR, details=details))],
    )
    return made.sign(BOREALIS.root, "borealis", BOREALIS.root.public_key().thumbprint())


@pytest.fixture
def pair(tmp_path: Path, fleet: Fleet) -> Iterator[tuple[Member, Member]]:
    """A validator with a peers folder, and one that witnesses it and is not configured there."""
    one, other = (Member(tmp_path / name, [fleet], name) for name in ("acme", "borealis"))
    text = one.path.read_text()
    one.path.write_text(f'peer_files = "peers"\n{text}')
    (one.folder / "peers").mkdir()
    other.know(one)
    for member in (one, other):
        member.start()
    yield one, other
    for member in (one, other):
        member.close()


def feed(one: Member, gateway: Gateway, fleet: Fleet) -> None:
    device = fleet.device("robot")
    device.record(3)
    gateway.take(*device.segments())
    assert one.post(gateway, 0, [device]).status_code == 200


def entries(member: Member) -> int:
    with sqlite3.connect(member.folder / "validator.sqlite") as connection:
        found: int = connection.execute("SELECT count(*) FROM entries").fetchone()[0]
    return found


def test_a_witness_that_came_by_a_peer_file_is_asked_before_anything_is_added(
    pair: tuple[Member, Member], fleet: Fleet
) -> None:
    one, other = pair
    one.stop()
    old = one.folder.parent / "backup"
    shutil.copytree(one.folder, old)
    (one.folder / "peers" / "borealis.peer").write_bytes(file_of(other))
    one.start()
    feed(one, Gateway(fleet), fleet)
    size = one.http.get("/v1/status").json()["published"]

    def seen() -> bool:
        logs = other.http.get("/v1/witnessed").json()["logs"]
        return any(row["size"] >= size for row in logs if row["origin"] == one.note_key.name)

    until(seen, "a cosignature")
    one.stop()
    shutil.rmtree(one.folder)
    shutil.copytree(old, one.folder)
    # The folder brings the witness to the older store, too; what that logs would contradict.
    (one.folder / "peers" / "borealis.peer").write_bytes(file_of(other))
    before = entries(one)
    with pytest.raises(CouldNotCheck, match=r"the witness borealis\..*restored from an older"):
        one.start()
    assert entries(one) == before


def test_what_it_forgot_as_a_witness_of_others_is_not_noticed(tmp_path: Path) -> None:
    """The limit that 8.5 states: when this fails, take it out there and in docs/operations.md."""
    logs = [OtherLog("lying.example/log", story) for story in ("one", "another")]
    path = write_config(tmp_path / "v", [Fleet("acme")], tiles='"tiles"')
    key_text = logs[0].note_key.text()
    peer = f'[[peers]]\nname = "lying"\nurl = "http://127.0.0.1:1"\nnote_key = "{key_text}"\n'
    path.write_text(f"{path.read_text()}\n{peer}")
    Sequencer(configs.load(path)).stop()
    shutil.copytree(tmp_path / "v", tmp_path / "backup")
    sizes = set()
    for log in logs:
        service = Service(configs.load(path))
        with httpx2.Client(base_url=service.start(), timeout=20) as http:
            assert http.post("/add-checkpoint", content=log.request(0, 10)).status_code == 200
            sizes.add(http.get("/v1/status").json()["size"])
        service.stop()
        shutil.rmtree(tmp_path / "v")
        shutil.copytree(tmp_path / "backup", tmp_path / "v")
    assert logs[0].checkpoint(10).root != logs[1].checkpoint(10).root
    # Cosigning added nothing to its own log, so there is nothing that tells.
    assert len(sizes) == 1


class Dripping:
    """A server that gives a byte of its answer now and then, and never all of it."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.ending = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(60)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        connection, _ = self._listening.accept()
        with connection, suppress(OSError):
            self.asked.set()
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
            while not self.ending.wait(0.05):
                connection.sendall(b"x")

    def close(self) -> None:
        self.ending.set()
        self._thread.join()
        self._listening.close()


def test_a_witness_that_answers_without_end_does_not_hold_up_the_start(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(putback, "PUT_BACK_WAIT_S_MAX", 0.5)
    monkeypatch.setattr(putback, "PUT_BACK_ASK_S_MAX", 600.0)
    dripping = Dripping()
    try:
        peer = PeerConfig(name="slow", url=dripping.url, note_key=WITNESS_KEY)
        room.sequencer.published.ask_all([peer])
        assert dripping.asked.wait(60) and not dripping.ending.is_set()
    finally:
        dripping.close()
