"""Validators cosign one another's checkpoints, and a log that was put back is found (F12, F17)."""

import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.circle import Member, circle
from support.devices import Fleet, key
from support.site import until
from support.validating import Gateway, Room
from tallystick.evidence import cosignature, note
from tallystick.evidence.cosignature import cosigner_of
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.evidence.note import NoteKey
from tallystick.validator import cosigned, schema
from tallystick.validator.cosigning import Submission
from tallystick.validator.limits import COSIGN_AHEAD_S_MAX, COSIGN_LAG_MS_MAX
from tallystick.validator.peerclient import PeerClient
from tallystick.validator.receipts import newest_head
from tallystick.validator.statusread import cosignatures_of
from tallystick.validator.work import Work
from tallystick.verify import addcheckpoint
from tallystick.verify.addcheckpoint import SIZE_MEDIA

WITNESS = key("a witness")
WITNESS_KEY = NoteKey("witness.example", WITNESS.public_key())


def running(folder: Path, fleet: Fleet, *names: str) -> Iterator[list[Member]]:
    made = circle(folder, fleet, names)
    for member in made:
        member.start()
    yield made
    for member in made:
        member.close()


@pytest.fixture
def members(tmp_path: Path, fleet: Fleet) -> Iterator[list[Member]]:
    yield from running(tmp_path, fleet, "acme", "borealis", "civic")


@pytest.fixture
def pair(tmp_path: Path, fleet: Fleet) -> Iterator[list[Member]]:
    yield from running(tmp_path, fleet, "acme", "borealis")


def cosigners(text: str, of: Member, others: list[Member]) -> set[str]:
    """Who cosigned a checkpoint of a member, each verified."""
    found = note.parse(text)
    found.verify(of.note_key)
    names = {name for name, _, _ in found.signatures} - {of.note_key.name}
    for other in others:
        if other.note_key.name in names:
            other.cosigner.verify(found.body(), found.signatures)
    return names


def feed(member: Member, gateway: Gateway, fleet: Fleet, records: int = 3) -> None:
    device = fleet.device(f"device {len(gateway.items)}")
    device.record(records)
    first = len(gateway.items)
    gateway.take(*device.segments())
    answer = member.post(gateway, first, [device])
    assert answer.status_code == 200, answer.text


def test_each_checkpoint_gets_the_cosignatures_of_all_who_are_there(
    members: list[Member], fleet: Fleet
) -> None:
    one, *others = members
    gateway = Gateway(fleet)

    def all_of(member: Member) -> bool:
        rest = [other for other in members if other is not member]
        return len(cosigners(member.checkpoint(), member, rest)) == len(rest)

    def all_from(size: int) -> bool:
        return all_of(one) and note.parse(one.checkpoint()).size >= size

    for member in members:
        until(partial(all_of, member), "every cosignature")
    for _ in range(3):
        feed(one, gateway, fleet)
        size = one.http.get("/v1/status").json()["published"]
        until(partial(all_from, size), "cosignatures on the newest")
    assert len(cosigners(one.checkpoint("/v1/checkpoint"), one, others)) == len(others)
    # One of three is away: the others go on (F12).
    others[0].stop()
    feed(one, gateway, fleet)
    size = one.http.get("/v1/status").json()["published"]

    def by_the_other() -> bool:
        newest = one.checkpoint("/v1/checkpoint")
        return others[1].note_key.name in cosigners(newest, one, others)

    until(by_the_other, "the other one's cosignature")
    # What is served to readers is the one with both, while it is young.
    assert len(cosigners(one.checkpoint(), one, others)) == 2
    others[0].start()
    until(partial(all_from, size), "both again")


def test_a_store_that_was_put_back_is_not_run(pair: list[Member], fleet: Fleet) -> None:
    one, other = pair
    gateway = Gateway(fleet)
    feed(one, gateway, fleet)
    one.stop()
    old = one.folder.parent / "backup"
    shutil.copytree(one.folder, old)
    one.start()
    feed(one, gateway, fleet)
    size = one.http.get("/v1/status").json()["published"]

    def seen_by(member: Member) -> int:
        logs = member.http.get("/v1/witnessed").json()["logs"]
        return max((row["size"] for row in logs if row["origin"] == one.note_key.name), default=0)

    until(lambda: seen_by(other) >= size, "a cosignature")
    one.stop()
    newer = one.folder.parent / "newer"
    one.folder.rename(newer)
    shutil.copytree(old, one.folder)
    # A witness shows the newer checkpoint, so nothing is run.
    with pytest.raises(CouldNotCheck, match=r"the witness borealis.*was restored from an older"):
        one.start()
    # With every witness away it runs, and stops when one comes back.
    other.stop()
    one.start()
    assert one.http.get("/readyz").status_code == 200
    other.start()
    until(lambda: one.http.get("/readyz").status_code == 503, "the witness to tell")
    answer = one.post(Gateway(fleet, "late"), 0, [])
    assert (answer.status_code, answer.json()["reason"]) == (503, "put-back")
    assert "older copy" in one.http.get("/v1/status").json()["failure"]
    one.stop()
    # The newest copy is fine.
    shutil.rmtree(one.folder)
    newer.rename(one.folder)
    one.start()
    feed(one, gateway, fleet)


def test_a_put_back_store_that_was_written_again_is_found_too(
    pair: list[Member], fleet: Fleet
) -> None:
    """Its log is longer than what the witness has, and another one."""
    one, other = pair
    one.stop()
    old = one.folder.parent / "backup"
    shutil.copytree(one.folder, old)
    one.start()
    feed(one, Gateway(fleet), fleet)
    size = one.http.get("/v1/status").json()["published"]
    until(
        lambda: any(
            row["size"] >= size
            for row in other.http.get("/v1/witnessed").json()["logs"]
            if row["origin"] == one.note_key.name
        ),
        "a cosignature",
    )
    for member in pair:
        member.stop()
    shutil.rmtree(one.folder)
    shutil.copytree(old, one.folder)
    one.start()
    gateway = Gateway(fleet, "another")
    for _ in range(4):
        feed(one, gateway, fleet)
    one.stop()
    other.start()
    with pytest.raises(CouldNotCheck, match="give another root"):
        one.start()


# --- witnesses that lie ------------------------------------------------------------------------


class Liar:
    """A witness that answers what a test says; it keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[addcheckpoint.AddCheckpoint] = []
        self.says: Any = lambda _: (500, "text/plain", b"")
        self.shows: list[dict[str, Any]] = []
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                request = addcheckpoint.parse(data)
                liar.asked.append(request)
                self.give(*liar.says(request))

            def do_GET(self) -> None:
                data = json.dumps({"logs": liar.shows}).encode()
                self.give(200, "application/json", data)

            def give(self, status: int, media: str, data: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", media)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()
    yield made
    made.close()


@pytest.fixture
def asking(room: Room, liar: Liar) -> Submission:
    room.sequencer.start()
    return Submission(room.sequencer, PeerClient(liar.url), "liar", WITNESS_KEY)


def line(request: addcheckpoint.AddCheckpoint, time_s: int, signer: Any = WITNESS) -> bytes:
    made = cosignature.cosign(signer, WITNESS_KEY.name, request.note.body(), time_s)
    return cosignature.lines([made]).encode()


def test_what_a_witness_may_not_say(room: Room, liar: Liar, asking: Submission) -> None:
    with room.sequencer.store.read() as connection:
        head = newest_head(connection)
    assert head is not None
    now_s = room.clock.now_ms // 1000
    stranger = cosignature.lines([cosignature.cosign(key("x"), "x", "x\n1\n", 1)]).encode()
    other = head.note.replace(f"\n{head.size}\n", f"\n{head.size + 1}\n")
    shown = {
        "origin": head.note.split("\n")[0],
        "size": 99,
        "note": other,
        "time_s": 1,
        "split": [],
    }
    lies: list[tuple[Any, str]] = [
        ((200, "text/plain", b""), "bad-value"),
        ((200, "text/plain", b"\xff"), "bad-utf8"),
        ((200, "text/plain", stranger), "wrong-key"),
        (lambda r: (200, "text/plain", line(r, now_s, key("mallory"))), "wrong-key"),
        (lambda r: (200, "text/plain", line(r, now_s)[:-6] + b"AAAA=\n"), ""),
        (lambda r: (200, "text/plain", line(r, now_s + COSIGN_AHEAD_S_MAX + 1)), "expired"),
        ((403, "text/plain", b""), "refused"),
        ((302, "text/plain", b""), "refused"),
        ((409, "application/problem+json", b"{}"), "refused"),
        ((409, SIZE_MEDIA, b"0\n"), "refused"),
        ((409, SIZE_MEDIA, b"+5\n"), "bad-number"),
        ((409, SIZE_MEDIA, b"999\n"), "refused"),
        ((200, "text/plain", b"x" * (5 << 20)), "too-large"),
    ]
    liar.shows = [shown]
    for says, reason in lies:
        liar.says = says if callable(says) else lambda _, says=says: says
        with pytest.raises(TallyError) as error:
            asking.turn(head)
        assert error.value.reason != "put-back"
        if reason:
            assert error.value.reason == reason, says
    assert room.rows("SELECT count(*) FROM cosignatures") == [(0,)]
    assert room.sequencer.put_back is None
    # It says always something new: a bounded number of tries.
    sizes = iter(range(1, 100))
    liar.asked.clear()
    liar.says = lambda _: (409, SIZE_MEDIA, b"%d\n" % (next(sizes) % head.size))
    assert asking.turn(head) is False
    assert len(liar.asked) == 3
    # An honest answer, with a line of somebody else, is taken without that line.
    liar.says = lambda r: (200, "text/plain", stranger + line(r, now_s))
    while not asking.turn(head):
        pass
    ((kept,),) = room.rows("SELECT line FROM cosignatures")
    assert kept.encode() == line(liar.asked[-1], now_s)
    assert cosigner_of(WITNESS_KEY).verify(
        note.parse(head.note).body(), cosignature.parse_lines(kept)
    )


def test_a_second_validator_with_the_same_key_is_found_while_running(
    room: Room, liar: Liar, asking: Submission
) -> None:
    """The witness cosigned a larger tree by this key since it was asked first."""
    with room.sequencer.store.read() as connection:
        head = newest_head(connection)
    assert head is not None
    keys = room.sequencer.keys
    liar.says = lambda r: (200, "text/plain", line(r, 1))
    assert asking.turn(head)
    room.clock.now_ms += 3_600_000
    other = note.Note(keys.origin, 999, bytes(32), []).sign(keys.notes, keys.origin)
    shown = {"origin": keys.origin, "size": 999, "note": other.text(), "time_s": 1, "split": []}
    liar.shows = [shown]
    liar.says = lambda _: (409, SIZE_MEDIA, b"999\n")
    with pytest.raises(CouldNotCheck) as error:
        asking.turn(head)
    assert error.value.reason == "put-back"


def test_a_checkpoint_is_sent_again_for_a_new_time(
    room: Room, liar: Liar, asking: Submission
) -> None:
    with room.sequencer.store.read() as connection:
        head = newest_head(connection)
    assert head is not None
    liar.says = lambda r: (200, "text/plain", line(r, room.clock.now_ms // 1000))
    assert asking.turn(head)
    assert not asking.turn(head)
    room.clock.now_ms += 3_600_000
    assert asking.turn(head)
    assert [(one.old, one.note.size) for one in liar.asked] == [
        (0, head.size),
        (head.size, head.size),
    ]
    ((time_s,),) = room.rows(f"SELECT time_s FROM {schema.cosignatures.name}")
    assert time_s == room.clock.now_ms // 1000


def test_readers_get_a_cosigned_checkpoint_as_long_as_it_is_young(
    room: Room, liar: Liar, asking: Submission
) -> None:
    def served() -> tuple[int, int]:
        with room.sequencer.store.read() as connection:
            found = note.parse(cosigned.best_text(connection))
        return found.size, len(found.signatures)

    def grow() -> int:
        work = room.sequencer.hand_in("grow", lambda: room.sequencer.ingest.transaction(log_time))
        work.result(60)
        published = room.sequencer.hand_in("publish", room.sequencer.log.publish)
        return published.result(60).size

    def log_time(work: Work) -> None:
        work.group.add(TimeEntry(work.group.time_ms))

    with room.sequencer.store.read() as connection:
        head = newest_head(connection)
    assert head is not None
    liar.says = lambda r: (200, "text/plain", line(r, 1))
    assert served() == (head.size, 1)
    assert asking.turn(head)
    assert served() == (head.size, 2)
    size = grow()
    assert served() == (head.size, 2)
    with room.sequencer.store.read() as connection:
        # Evidence over a newer entry needs a newer checkpoint; over older ones the cosigned one.
        assert cosigned.head_above(connection, head.size)[0].size == size
        assert cosigned.head_above(connection, head.size - 1)[0].size == head.size
    room.clock.now_ms += COSIGN_LAG_MS_MAX + 1
    size = grow()
    assert served() == (size, 1)


def test_the_status_says_how_many_cosigned_and_who_is_behind(
    room: Room, liar: Liar, asking: Submission
) -> None:
    def told() -> tuple[int, int | None, bool]:
        with room.sequencer.store.read() as connection:
            found = cosignatures_of(connection, [WITNESS_KEY.name], room.clock.now_ms)
        (one,) = found.witnesses
        return found.newest, one.size, one.behind

    with room.sequencer.store.read() as connection:
        head = newest_head(connection)
    assert head is not None
    assert told() == (0, None, False)  # the checkpoint is young
    room.clock.now_ms += COSIGN_LAG_MS_MAX + 1
    assert told() == (0, None, True)
    liar.says = lambda r: (200, "text/plain", line(r, room.clock.now_ms // 1000))
    assert asking.turn(head)
    assert told() == (1, head.size, False)
