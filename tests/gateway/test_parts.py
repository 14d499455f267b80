"""Small parts: the inbox, rates, back-off, receipts, the enrolments folder, base64url."""

import threading
import time
from pathlib import Path

import pytest

from support.devices import Fleet
from support.site import Site
from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.gateway import limits
from tallystick.gateway.backoff import Backoff
from tallystick.gateway.down import Down
from tallystick.gateway.folder import Folder
from tallystick.gateway.identity import open_signing, peer_of
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Message
from tallystick.gateway.pace import Bounded, Bucket, Repeats
from tallystick.gateway.verdicts import _octets

ACME = Fleet("acme")


def delivery(size: int, mid: int = 1) -> Delivery:
    return Delivery(Message("t", bytes(size)), mid, 1, 1)


def test_a_full_inbox_makes_the_sender_wait() -> None:
    inbox = Inbox(bytes_max=100)
    beats: list[int] = []
    assert inbox.put(delivery(60), lambda: None)
    assert not inbox.offer(delivery(60))
    waiting = threading.Thread(
        target=inbox.put, args=(delivery(60, 2), lambda: beats.append(1)), daemon=True
    )
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive()
    assert beats
    assert [d.mid for d in inbox.take(0)] == [1]
    waiting.join(60)
    assert [d.mid for d in inbox.take(1)] == [2]
    # A message larger than the whole inbox goes through alone.
    assert inbox.put(delivery(500), lambda: None)
    assert len(inbox.take(0)) == 1


def test_a_closed_inbox_lets_everybody_go() -> None:
    inbox = Inbox(bytes_max=10)
    inbox.put(delivery(10), lambda: None)
    waiting = threading.Thread(target=inbox.put, args=(delivery(10), lambda: None), daemon=True)
    waiting.start()
    inbox.close()
    waiting.join(60)
    assert not waiting.is_alive()
    assert not inbox.put(delivery(1), lambda: None)


def test_a_group_is_bounded() -> None:
    inbox = Inbox()
    for n in range(limits.GROUP_MESSAGES_MAX + 5):
        inbox.put(delivery(1, n), lambda: None)
    assert len(inbox.take(0)) == limits.GROUP_MESSAGES_MAX
    assert len(inbox.take(0)) == 5


def test_what_goes_down_is_bounded_and_counted() -> None:
    down = Down(Inbox())
    down.put([(b"d", b"m")] * (limits.DOWN_MESSAGES_MAX + 3))
    assert len(down) == limits.DOWN_MESSAGES_MAX
    assert down.dropped == 3
    assert len(down.take(10)) == 10


def test_rates() -> None:
    bucket = Bucket(2.0, 3.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.empty(10.4)
    assert bucket.take(10.6)
    repeats: Repeats[str] = Repeats(1.0, 4.0, 10)
    said = [at / 4 for at in range(80) if repeats.allow("x", at / 4)]
    assert said == [0.0, 1.0, 3.0, 7.0, 11.0, 15.0, 19.0]
    bounded: Bounded[int, int] = Bounded(2)
    for n in (1, 2):
        bounded.put(n, n)
    bounded.get(1)
    bounded.put(3, 3)
    assert 2 not in bounded
    assert len(bounded) == 2


def test_backoff_is_bounded_and_jittered() -> None:
    backoff = Backoff(5.0)
    waits = [backoff.next_s() for _ in range(50)]
    assert all(0 < wait <= 5.0 for wait in waits)
    assert len(set(waits)) > 40
    assert waits[0] <= limits.RETRY_S_MIN
    backoff.reset()
    assert backoff.next_s() <= limits.RETRY_S_MIN


def test_the_enrolments_folder_gives_each_file_once(tmp_path: Path) -> None:
    robot = ACME.device()
    folder = Folder(tmp_path)
    assert folder.changed() == []
    (tmp_path / "robot.cbor").write_bytes(cbor.encode(list(robot.credential)))
    (tmp_path / "robot-2").mkdir()
    (tmp_path / "robot-2" / "credential.cbor").write_bytes(cbor.encode(list(robot.credential)))
    (tmp_path / "broken.cbor").write_bytes(b"\xff")
    assert folder.changed() == [robot.credential, robot.credential]
    assert folder.changed() == []
    assert Folder(None).changed() == []
    assert Folder(tmp_path / "absent").changed() == []


@pytest.mark.parametrize("text", ["A", "AB+=", "AB==", "A B", "AR", "Ä"])
def test_base64url_is_strict(text: str) -> None:
    with pytest.raises(Malformed):
        _octets(text)


def test_the_gateways_own_papers_are_checked(tmp_path: Path) -> None:
    from dataclasses import replace

    site = Site(tmp_path, ACME, 1883)
    config = site.config
    open_signing(config, int(time.time())).close()
    other = Site(tmp_path / "other", ACME, 1883, name="other")
    device = ACME.device()
    for wrong, reason in (
        (replace(config, credential=tuple(other.credential)), "wrong-key"),
        (replace(config, credential=tuple(device.credential)), "not-enrolled"),
        (replace(config, roots=Fleet("globex").roots), "not-enrolled"),
        (replace(config, fleet="globex"), "not-enrolled"),
    ):
        with pytest.raises(TallyError) as raised:
            open_signing(wrong, int(time.time()))
        assert raised.value.reason == reason
    with pytest.raises(TallyError) as raised:
        open_signing(config, 5_000_000_000)
    assert raised.value.reason == "expired"


def test_a_validators_credential_must_be_one(tmp_path: Path) -> None:
    from tallystick.gateway.validatorconfig import ValidatorConfig

    site = Site(tmp_path, ACME, 1883)
    posing = ValidatorConfig(name="v", url="http://x", credential=tuple(site.credential))
    with pytest.raises(TallyError) as raised:
        peer_of(posing, ACME.roots, int(time.time()))
    assert raised.value.reason == "not-enrolled"
