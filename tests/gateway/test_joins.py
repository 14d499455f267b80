"""The queue of devices that ask to join: what it takes, what it refuses, what it forgets."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.joinsite import Queue, ask, code_of, invite, let_in, order, robot
from tallystick.evidence import cbor, enrolmentrequest, joinrequest
from tallystick.evidence.errors import TallyError
from tallystick.evidence.invitation import Invitation
from tallystick.evidence.keys import b64u
from tallystick.gateway import limits, store
from tallystick.gateway.apply import Applier
from tallystick.gateway.gatewaylog import GatewayLog
from tallystick.gateway.joinchallenge import Challenges
from tallystick.gateway.joininbox import JoinInbox
from tallystick.gateway.status import status_of
from tallystick.gateway.store import Store

ACME, GLOBEX = Fleet("acme"), Fleet("globex")
# A session of tests may take long after this is read.
NOW_S = int(time.time())


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    made = Queue(tmp_path, ACME)
    yield made
    made.close()


def reason(function: object, *arguments: object) -> str:
    with pytest.raises(TallyError) as refused:
        function(*arguments)  # type: ignore[operator]
    return refused.value.reason


def test_a_device_asks_is_seen_and_gets_its_answer(queue: Queue) -> None:
    code, device = code_of(ACME), robot("a")
    assert queue.joins.take(invite(ACME, code)) is None
    assert queue.joins.root_line(code.name(), NOW_S) == ACME.root_line
    asked = ask(ACME, code, device)
    assert queue.joins.ask(asked.encode(), NOW_S) is None
    assert queue.waiting() == [asked.digest]
    answer = let_in(ACME, asked, device)
    assert queue.joins.take(answer) is None
    assert queue.learnt == [joinanswer_credential(answer)]
    assert queue.waiting() == []
    # Also after a restart, after the code's end, and as often as it asks.
    queue.close()
    queue.open()
    for _ in range(2):
        assert queue.joins.ask(asked.encode(), NOW_S + 10_000_000) == answer
    assert status_of(queue.path)["join"] == {"waiting": 0, "answered": 1, "codes": 1}


def joinanswer_credential(answer: bytes) -> list[bytes]:
    from tallystick.evidence import joinanswer  # used here only

    return joinanswer.parse(answer).credential


def test_who_has_no_code_asks_for_nothing(queue: Queue) -> None:
    code, other, device = code_of(ACME), code_of(ACME, "guessed"), robot("a")
    queue.joins.take(invite(ACME, code))
    unknown = ask(ACME, other, device)
    assert reason(queue.joins.ask, unknown.encode(), NOW_S) == "not-authorised"
    assert reason(queue.joins.root_line, other.name(), NOW_S) == "not-authorised"
    # The name of a code without the code.
    forged = joinrequest.JoinRequest(code.name(), bytes(16), b"x", unknown.door, unknown.fleet)
    assert reason(queue.joins.ask, forged.encode(), NOW_S) == "not-authorised"
    # Another's request under the own proof.
    good = ask(ACME, code, device)
    values = good.values()
    swapped = cbor.encode([*values[:3], unknown.request + b"", *values[4:]])
    assert joinrequest.parse(swapped).request == good.request
    theft = enrolmentrequest.make(robot("thief"), ACME.name).encode()
    swapped = cbor.encode([*values[:3], theft, *values[4:]])
    assert reason(queue.joins.ask, swapped, NOW_S) == "not-authorised"
    assert queue.waiting() == []


def test_a_code_ends_is_spent_and_is_withdrawn(queue: Queue) -> None:
    code, a, b = code_of(ACME), robot("a"), robot("b")
    queue.joins.take(invite(ACME, code, 1, (NOW_S - 10, NOW_S + 10)))
    asked = ask(ACME, code, a)
    for at_s in (NOW_S - 11, NOW_S + 11):
        assert reason(queue.joins.ask, asked.encode(), at_s) == "expired"
        assert reason(queue.joins.root_line, code.name(), at_s) == "expired"
    queue.joins.ask(asked.encode(), NOW_S)
    assert reason(queue.joins.ask, ask(ACME, code, b).encode(), NOW_S) == "over-quota"
    # The same key again is no other use, with the same request or another.
    queue.joins.ask(asked.encode(), NOW_S)
    again = ask(ACME, code, a, "another nonce")
    queue.joins.ask(again.encode(), NOW_S)
    assert queue.waiting() == [again.digest]
    second = code_of(ACME, "second")
    queue.joins.take(invite(ACME, second, 5))
    queue.joins.take(invite(ACME, second, 0))
    assert reason(queue.joins.ask, ask(ACME, second, b).encode(), NOW_S) == "not-authorised"
    # Replayed, the invitation does not bring it back.
    assert queue.joins.take(invite(ACME, second, 5)) is None
    assert reason(queue.joins.ask, ask(ACME, second, b).encode(), NOW_S) == "not-authorised"


def test_a_code_for_three_serves_three(queue: Queue) -> None:
    code = code_of(ACME)
    queue.joins.take(invite(ACME, code, 3))
    asked = [ask(ACME, code, robot(name)) for name in "abcd"]
    for one in asked[:3]:
        queue.joins.ask(one.encode(), NOW_S)
    assert reason(queue.joins.ask, asked[3].encode(), NOW_S) == "over-quota"
    assert queue.waiting() == [one.digest for one in asked[:3]]


def test_possession_and_enrolled_keys(queue: Queue) -> None:
    """A18: without possession, a weak key, a key that is enrolled otherwise."""
    code, device = code_of(ACME), robot("a")
    queue.joins.take(invite(ACME, code, 100))

    def asking(request: bytes) -> bytes:
        return joinrequest.make(code, bytes(16), request).encode()

    good = enrolmentrequest.make(device, ACME.name)
    values = good.values()
    unproven = cbor.encode([*values[:6], bytes(64), values[7]])
    assert reason(queue.joins.ask, asking(unproven), NOW_S) == "no-possession"
    weak = cbor.encode([*values[:3], {1: 1, -1: 6, -2: bytes(32)}, *values[4:]])
    assert reason(queue.joins.ask, asking(weak), NOW_S) == "weak-key"
    elsewhere = enrolmentrequest.make(device, GLOBEX.name).encode()
    assert reason(queue.joins.ask, asking(elsewhere), NOW_S) == "not-enrolled"
    rotating = enrolmentrequest.make(device, ACME.name, bytes(32)).encode()
    assert reason(queue.joins.ask, asking(rotating), NOW_S) == "wrong-device"
    thumbprint = device.public_key().thumbprint()
    with queue.store.write() as connection:
        connection.execute("INSERT INTO keys VALUES (?, ?)", (thumbprint, bytes(32)))
    assert reason(queue.joins.ask, asking(good.encode()), NOW_S) == "already-enrolled"
    with queue.store.write() as connection:
        connection.execute("UPDATE keys SET device = thumbprint")
        connection.execute(
            "INSERT INTO devices (device, iss, credential, digest, since_ms) "
            "VALUES (?, 'globex', x'00', x'00', 0)",
            (thumbprint,),
        )
    assert reason(queue.joins.ask, asking(good.encode()), NOW_S) == "already-enrolled"
    # Our own device that lost its configuration may ask again.
    with queue.store.write() as connection:
        connection.execute("UPDATE devices SET iss = 'acme'")
    assert queue.joins.ask(asking(good.encode()), NOW_S) is None


def test_only_the_own_root_invites_and_answers(queue: Queue) -> None:
    code, device = code_of(ACME), robot("a")
    foreign = Invitation(code.name(), code.door_key(), 1, (0, 2**40))
    assert queue.joins.take(foreign.sign(GLOBEX.root, "globex", b64u(code.name()))) == (
        "not-enrolled"
    )
    forged = foreign.sign(GLOBEX.root, "acme", b64u(code.name()))
    assert queue.joins.take(forged) == "wrong-key"
    queue.joins.take(invite(ACME, code))
    asked = ask(ACME, code, device)
    assert queue.joins.take(let_in(ACME, asked, device)) == "unknown-device"
    queue.joins.ask(asked.encode(), NOW_S)
    assert queue.joins.take(let_in(GLOBEX, asked, device)) == "not-enrolled"
    assert queue.joins.take(let_in(ACME, asked, robot("b"))) == "wrong-device"
    assert queue.joins.take(b"junk") == "bad-type"
    assert queue.learnt == [] and queue.waiting() == [asked.digest]
    first = let_in(ACME, asked, device)
    assert queue.joins.take(first[:-1] + bytes([first[-1] ^ 1])) == "bad-signature"
    assert queue.learnt == []
    assert queue.joins.take(first) is None and queue.joins.take(first) is None
    assert queue.joins.ask(asked.encode(), NOW_S) == first


def test_only_the_root_sees_who_waits_and_each_order_once(queue: Queue) -> None:
    challenge = queue.joins.challenge()
    good = order(ACME, challenge)
    assert reason(queue.joins.queue, order(GLOBEX, challenge)) == "not-enrolled"
    forged = order(Fleet("acme", -7), challenge)
    assert reason(queue.joins.queue, forged) in ("wrong-alg", "wrong-key")
    assert reason(queue.joins.queue, order(ACME, challenge, 0, bytes(32))) == "wrong-device"
    assert reason(queue.joins.queue, order(ACME, bytes(32))) == "not-authorised"
    assert queue.joins.queue(good) == ([], False)
    assert reason(queue.joins.queue, good) == "not-authorised"


def test_challenges_end_and_are_ours() -> None:
    made = Challenges()
    given = made.new(100.0)
    made.check(given, 100.0 + limits.CHALLENGE_S_MAX)
    assert reason(made.check, given, 101.0 + limits.CHALLENGE_S_MAX) == "not-authorised"
    assert reason(Challenges().check, given, 100.0) == "not-authorised"
    made.spend(given, 100.0)
    assert reason(made.check, given, 100.0) == "not-authorised"
    assert reason(made.spend, given, 100.0) == "not-authorised"


def test_the_queue_comes_in_pages_and_one_row_a_key(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOIN_PAGE_ROWS_MAX", 2)
    code = code_of(ACME)
    queue.joins.take(invite(ACME, code, 10))
    asked = [ask(ACME, code, robot(name)) for name in "abc"]
    for one in asked:
        queue.joins.ask(one.encode(), NOW_S)
    anew = [ask(ACME, code, robot("a"), f"nonce {n}") for n in range(limits.JOINS_PER_KEY_MAX)]
    for one in anew:
        queue.joins.ask(one.encode(), NOW_S)
    seen, after, more = [], 0, True
    while more:
        rows, more = queue.joins.queue(order(ACME, queue.joins.challenge(), after))
        assert len(rows) <= 2
        seen += [joinrequest.parse(row.data).digest for row in rows]
        after = rows[-1].number
    assert seen == [asked[1].digest, asked[2].digest, anew[-1].digest]
    rows_kept = queue.store.reader().execute("SELECT count(*) FROM join_requests").fetchone()
    assert rows_kept == (2 + limits.JOINS_PER_KEY_MAX,)


def test_the_queue_is_bounded(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOINS_QUEUED_MAX", 2)
    monkeypatch.setattr(limits, "INVITATIONS_MAX", 1)
    code = code_of(ACME)
    queue.joins.take(invite(ACME, code, 10))
    assert queue.joins.take(invite(ACME, code_of(ACME, "more"))) == "over-quota"
    for name in "ab":
        queue.joins.ask(ask(ACME, code, robot(name)).encode(), NOW_S)
    assert reason(queue.joins.ask, ask(ACME, code, robot("c")).encode(), NOW_S) == "store-full"
    # A refused request spends no use.
    used = queue.store.reader().execute("SELECT count(*) FROM invitation_uses").fetchone()
    assert used == (2,)


def test_what_is_brought_by_file_is_taken_once(queue: Queue, tmp_path: Path) -> None:
    folder = tmp_path / "join"
    folder.mkdir()
    code, device = code_of(ACME), robot("a")
    inbox = JoinInbox(folder, queue.joins)
    (folder / "1.statements").write_bytes(cbor.encode([invite(ACME, code), b"junk"]))
    (folder / "2.statements").write_bytes(b"no CBOR array")
    (folder / "partial").write_bytes(b"not yet renamed")
    assert inbox.read() == 1
    assert sorted(path.name for path in folder.iterdir()) == ["2.refused", "partial"]
    assert queue.joins.ask(ask(ACME, code, device).encode(), NOW_S) is None


def test_a_store_of_version_1_gets_the_queue(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(
        store._SCHEMAS[0].read_text()
        + f"PRAGMA application_id={store.APPLICATION_ID}; PRAGMA user_version=1;"
        "INSERT INTO meta VALUES ('name', x'6f6c64');"
    )
    connection.close()
    # Read while an older gateway still runs on it.
    assert status_of(path)["join"] == {}
    opened = Store(path)
    with opened.write() as connection:
        Applier(GatewayLog(connection))
        assert connection.execute("SELECT count(*) FROM join_requests").fetchone() == (0,)
    opened.close()
    found = status_of(path)
    assert found["name"] == "old" and found["join"]["waiting"] == 0
