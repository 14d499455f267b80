"""The peers folder: imports, renewals, removals while it runs; the policy in the log."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.devices import Fleet
from support.site import until
from support.validating import (
    START_MS,
    Clock,
    Gateway,
    Room,
    handover,
    load,
    write_config,
)
from tallystick.evidence import peerfile, registration
from tallystick.evidence.enrolment import SUBJECT_GATEWAY, SUBJECT_VALIDATOR
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.validator import circle as circles
from tallystick.validator import config as configs
from tallystick.validator.peering import Peering
from tallystick.validator.service import Service

START_S = START_MS // 1000
DAY_S = 86_400
VALID = [START_S - 60, START_S + 90 * DAY_S]


def file_of(fleet: Fleet, **changed: Any) -> bytes:
    """An organisation's peer file, with a gateway and a validator."""
    fields: dict[str, Any] = {
        "organisation": f"{fleet.name} Ltd",
        "made_ms": START_MS,
        "validity": VALID,
        "roots": [(fleet.name, fleet.root.public_key())],
        "gateways": [fleet.member("gateway", SUBJECT_GATEWAY)[1]],
        "validators": [("http://127.0.0.1:9", fleet.member("v", SUBJECT_VALIDATOR)[1])],
        **changed,
    }
    root = fleet.root
    made = peerfile.PeerFile(**fields)
    return made.sign(root, fleet.name, root.public_key().thumbprint())


class Imports(Room):
    """A validator of acme with a peers folder; `look` is what its thread does each second."""

    def open(self) -> None:
        self.peers = self.folder / "peers"
        self.peers.mkdir(parents=True, exist_ok=True)
        self.settings["peer_files"] = '"peers"'
        super().open()

    def put(self, fleet: Fleet, data: bytes | None = None, name: str | None = None) -> None:
        path = self.peers / f"{name or fleet.name}.peer"
        partial = path.with_suffix(".partial")
        partial.write_bytes(file_of(fleet) if data is None else data)
        partial.replace(path)

    def look(self) -> bool:
        circle = self.sequencer.circle
        plan = circle.look()
        if plan is not None:
            circle.apply(plan)
        return plan is not None

    def roots(self) -> dict[str, PublicKey]:
        return dict(self.sequencer.config.roots)

    def told(self) -> dict[str, tuple[str, str | None]]:
        return {row.name: (row.state, row.problem) for row in self.sequencer.circle.told()}

    def policies(self) -> list[registration.RegistrationPolicy]:
        rows = self.rows("SELECT data FROM entries WHERE kind = 40 ORDER BY entry")
        return [registration.parse(data) for (data,) in rows]


BOREALIS = Fleet("borealis")


@pytest.fixture
def room(tmp_path: Path, store: str) -> Iterator[Imports]:
    made = Imports(tmp_path / "v", [Fleet("acme")], Clock(), store=store)
    yield made
    made.close()


def sent(room: Room, task: str, gateway: Gateway, fleet: Fleet) -> list[tuple[int, str]]:
    giver, receiver = fleet.device(f"g{task}"), fleet.device(f"r{task}")
    handover(giver, receiver, task)
    first = len(gateway.items)
    gateway.take(giver.segment(), receiver.segment())
    return room.send(gateway.batch(first, devices=[giver, receiver])).refused


def reason_of(room: Room, gateway: Gateway) -> str:
    with pytest.raises(TallyError) as refused:
        room.send(gateway.batch())
    return refused.value.reason


def test_an_import_takes_effect_while_it_runs(room: Imports) -> None:
    gateway = Gateway(BOREALIS)
    assert reason_of(room, gateway) == "not-enrolled"
    room.put(BOREALIS)
    assert room.look()
    assert room.told() == {"borealis": ("in-force", None)}
    assert sent(room, "1", gateway, BOREALIS) == []
    assert not room.look(), "nothing is new"
    known = {row[0] for row in room.rows("SELECT id FROM identities WHERE iss = 'borealis'")}
    assert {
        gateway.id,
        BOREALIS.member("v", SUBJECT_VALIDATOR)[0].public_key().thumbprint(),
    } <= known


def test_a_removed_peer_is_as_unknown_as_before_and_its_evidence_stays(room: Imports) -> None:
    room.put(BOREALIS)
    room.look()
    gateway = Gateway(BOREALIS)
    sent(room, "1", gateway, BOREALIS)
    room.settle()
    verdicts = room.rows("SELECT data FROM entries WHERE kind = 10")
    assert room.states() == {"matched": 1} and len(verdicts) == 1
    (room.peers / "borealis.peer").unlink()
    assert room.look()
    assert room.told() == {} and "borealis" not in room.roots()
    assert reason_of(room, gateway) == "not-enrolled"
    # Nothing that was logged changes, and no verdict is taken back.
    room.settle()
    assert room.rows("SELECT data FROM entries WHERE kind = 10") == verdicts
    # It can come again.
    room.put(BOREALIS)
    room.look()
    assert sent(room, "2", gateway, BOREALIS) == []


def bad_files() -> list[tuple[str, bytes, str]]:
    good = file_of(BOREALIS)
    older = file_of(BOREALIS, made_ms=START_MS - 1)
    twin = file_of(BOREALIS, organisation="Other")
    imposter = Fleet("borealis", -7)
    return [
        ("half-written", good[: len(good) // 2], "truncated"),
        ("empty", b"", "truncated|tag"),
        ("forged", good[:-1] + bytes([good[-1] ^ 1]), "bad-signature"),
        ("older", older, "replayed"),
        ("of the same time", twin, "replayed"),
        ("by another key", file_of(imposter, made_ms=START_MS + 1), "wrong-key"),
        ("of another peer", file_of(Fleet("corax")), "name it corax.peer"),
        ("too large", good + bytes(300_000), "too-large"),
    ]


@pytest.mark.parametrize(("data", "why"), [(d, w) for _, d, w in bad_files()],
                         ids=[name for name, _, _ in bad_files()])  # fmt: skip
def test_a_bad_file_changes_nothing_and_is_told(room: Imports, data: bytes, why: str) -> None:
    import re

    room.put(BOREALIS)
    room.look()
    before = room.roots()
    size = room.sequencer.log.tree.size
    room.put(BOREALIS, data)
    assert not room.look()
    state, problem = room.told()["borealis"]
    assert state == "in-force" and re.search(why, problem or "")
    # Nor after a restart: the good file is in the store.
    room.close()
    room.open()
    assert room.roots() == before
    assert room.told()["borealis"][0] == "in-force"
    assert room.rows("SELECT count(*) FROM entries") == [(size,)]
    assert sent(room, "1", Gateway(BOREALIS), BOREALIS) == []


def test_a_bad_first_file_imports_nobody(room: Imports) -> None:
    room.put(BOREALIS, file_of(BOREALIS)[:-1])
    assert not room.look()
    assert room.told()["borealis.peer"][0] == "refused"
    assert set(room.roots()) == {"notary", "acme"}


def test_a_folder_that_is_away_removes_nobody(room: Imports) -> None:
    room.put(BOREALIS)
    room.look()
    shutil.move(room.peers, room.folder / "elsewhere")
    assert not room.look()
    assert "borealis" in room.roots()
    assert any("stays" in (problem or "") for _, problem in room.told().values())


def test_a_newer_file_of_the_same_key_replaces(room: Imports) -> None:
    room.put(BOREALIS)
    room.look()
    second = Gateway(BOREALIS, "second")
    newer = file_of(BOREALIS, made_ms=START_MS + 1, gateways=[second.credential])
    room.put(BOREALIS, newer)
    assert room.look()
    assert [file.digest for file in room.sequencer.circle.in_force()] == [
        peerfile.parse(newer).digest
    ]
    # The one before it is not taken again, also after a restart.
    room.put(BOREALIS)
    assert not room.look()
    room.close()
    room.open()
    assert room.told()["borealis"][1] is not None
    assert [file.made_ms for file in room.sequencer.circle.in_force()] == [START_MS + 1]


def test_validity_passes_with_time_alone(room: Imports) -> None:
    """F27 of a circle: a stale peer. Its end is told before it comes."""
    room.put(BOREALIS, file_of(BOREALIS, validity=[START_S + 10, START_S + 40 * DAY_S]))
    room.look()
    assert room.told()["borealis"][0] == "not-yet" and "borealis" not in room.roots()
    room.clock.now_ms += 10_000
    assert room.look() and "borealis" in room.roots()
    room.clock.now_ms = (START_S + 11 * DAY_S) * 1000
    assert not room.look()
    assert room.told()["borealis"][0] == "expires-soon"
    room.clock.now_ms = (START_S + 40 * DAY_S + 1) * 1000
    assert room.look()
    assert room.told()["borealis"][0] == "expired" and "borealis" not in room.roots()
    assert reason_of(room, Gateway(BOREALIS)) == "not-enrolled"


def test_no_file_puts_another_key_under_a_known_name(room: Imports) -> None:
    """Neither under a configured root's, nor under another peer's."""
    acme = Fleet("acme", -7)
    room.put(acme, file_of(acme))
    room.put(BOREALIS)
    corax = Fleet("corax")
    roots = [("corax", corax.root.public_key()), ("borealis", corax.root.public_key())]
    room.put(corax, file_of(corax, roots=roots))
    room.look()
    assert {name: state for name, (state, _) in room.told().items()} == {
        "acme.peer": "refused", "borealis": "in-force", "corax.peer": "refused",
    }  # fmt: skip
    assert room.roots()["acme"] == Fleet("acme").root.public_key()
    assert room.roots()["borealis"] == BOREALIS.root.public_key()


def test_an_import_that_fails_half_way_leaves_the_old_state(
    room: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it or nothing: here the log refuses in the middle."""

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    room.put(BOREALIS)
    size = room.sequencer.log.tree.size
    with monkeypatch.context() as patched:
        patched.setattr(circles.Circle, "_learn", fail)
        with pytest.raises(OSError, match="Input/output"):
            room.look()
    assert "borealis" not in room.roots()
    assert room.sequencer.log.tree.size == size
    assert reason_of(room, Gateway(BOREALIS)) == "not-enrolled"
    assert room.look() and "borealis" in room.roots(), "and it is tried again"


# --- the registration policy ---------------------------------------------------------------


def test_every_change_of_the_rules_is_in_the_log_before_what_it_admits(room: Imports) -> None:
    (first,) = room.policies()
    assert [name for name, _, _ in first.roots] == ["acme", "notary"]
    assert first.quotas["device"]["records_per_s"] == 2_000
    assert first.admission == {"keys": "accepted-root", "possession": True}
    keys = room.sequencer.keys
    first.verify(keys.signer.public_key(), keys.id)
    room.put(BOREALIS)
    room.look()
    _, second = room.policies()
    by = {name: digest for name, _, digest in second.roots}
    assert by["borealis"] == peerfile.parse(file_of(BOREALIS)).digest and by["acme"] is None
    assert second.previous == first.digest
    # What the import admits stands after the policy that admits it.
    rows = room.rows("SELECT entry, kind FROM entries ORDER BY entry")
    at = max(entry for entry, kind in rows if kind == 40)
    enrolled = [entry for entry, kind in rows if kind == 6]
    assert sum(entry > at for entry in enrolled) == 2
    # A restart with the same rules says nothing new; with others it does.
    room.close()
    room.open()
    assert len(room.policies()) == 2
    (room.peers / "borealis.peer").unlink()
    room.look()
    assert [name for name, _, _ in room.policies()[-1].roots] == ["acme", "notary"]


def test_the_first_policy_stands_right_after_the_genesis(room: Imports) -> None:
    rows = room.rows("SELECT kind FROM entries ORDER BY entry LIMIT 3")
    assert [kind for (kind,) in rows] == [12, 17, 40]


# --- the thread and the door ----------------------------------------------------------------


def test_a_running_validator_follows_the_validators_of_its_peers(tmp_path: Path) -> None:
    """The whole way, over HTTP: import, status, policy, exchange, removal."""
    import httpx2

    from tallystick.evidence.cbor import decode

    clock_valid = [0, 1 << 40]
    other = Service(load(tmp_path / "b", [BOREALIS], owner="borealis"))
    url = other.start()
    path = write_config(tmp_path / "a", [Fleet("acme")], peer_files='"peers"')
    (tmp_path / "a" / "peers").mkdir()
    service = Service(configs.load(path))
    try:
        with httpx2.Client(base_url=service.start(), timeout=20) as http:
            credential = (tmp_path / "b" / "credential.cbor").read_bytes()
            data = file_of(BOREALIS, validity=clock_valid, validators=[(url, decode(credential))])
            assert http.get("/v1/status").json()["circle"] == []
            before = http.get("/v1/policy").content
            (tmp_path / "a" / "peers" / "borealis.peer").write_bytes(data)
            until(lambda: "answers" in http.get("/v1/status").json()["peers"].values(), "an answer")
            (row,) = http.get("/v1/status").json()["circle"]
            assert (row["name"], row["state"], row["problem"]) == ("borealis", "in-force", None)
            policy = registration.parse(http.get("/v1/policy").content)
            assert policy.previous == registration.parse(before).digest
            assert http.get("/v1/policy", params={"entry": 3}).content == before
            assert http.get("/v1/policy", params={"entry": 1}).status_code == 404
            (tmp_path / "a" / "peers" / "borealis.peer").unlink()
            until(lambda: not http.get("/v1/status").json()["circle"], "its removal")
            until(lambda: not http.get("/v1/status").json()["peers"], "nobody is asked any more")
    finally:
        service.stop()
        other.stop()


def test_who_is_configured_by_hand_is_not_followed_twice(room: Imports) -> None:
    import dataclasses
    import threading

    peering = Peering(room.sequencer, threading.Event())
    room.put(BOREALIS)
    room.look()
    assert [peer.url for peer in peering._wanted().values()] == ["http://127.0.0.1:9"]
    config = room.sequencer.config
    by_hand = configs.PeerConfig(name="theirs", url="http://127.0.0.1:9")
    room.sequencer.config = dataclasses.replace(config, peers=(by_hand,))
    assert peering._wanted() == {}
    room.sequencer.config = config
