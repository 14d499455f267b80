"""A witness never cosigns two heads of a log that contradict each other (C2SP tlog-witness)."""

import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.devices import Fleet
from support.otherlog import OtherLog
from support.validating import load, write_config
from tallystick.evidence import cosignature, note
from tallystick.evidence.cosignature import CosignerKey, cosigner_of
from tallystick.evidence.errors import Unverified
from tallystick.evidence.note import NoteKey
from tallystick.validator import config as configs
from tallystick.validator import schema, steps
from tallystick.validator.limits import COSIGN_SAME_S
from tallystick.validator.service import Service
from tallystick.verify.addcheckpoint import REQUEST_BYTES_MAX, SIZE_MEDIA, AddCheckpoint

OTHER = OtherLog()
TESTS = ("growing", "refuses", "zero", "split", "race", "two", "same", "time")


def peers_of(logs: Iterable[OtherLog]) -> str:
    """Peers that are away, whose logs are witnessed."""
    return "".join(
        f'\n[[peers]]\nname = "{log.origin}"\nurl = "http://127.0.0.1:1"\npoll_s = 3600.0\n'
        f'note_key = "{log.note_key.text()}"\n'
        for log in logs
    )


def named(name: str, story: str = "") -> OtherLog:
    """A test's own log."""
    return OtherLog(f"{name}.example/log", story)


CRASHING = Path(__file__).parent / "_witness_crashing.py"


class Witnessing:
    """A running validator that witnesses the other log."""

    def __init__(self, folder: Path, logs: Iterable[OtherLog] = (OTHER,)) -> None:
        path = write_config(folder, [Fleet("acme")])
        path.write_text(path.read_text() + peers_of(logs))
        self.service = Service(configs.load(path))
        self.http = httpx2.Client(base_url=self.service.start(), timeout=20)
        keys = self.service.sequencer.keys
        self.cosigner: CosignerKey = cosigner_of(NoteKey(keys.origin, keys.notes.public_key()))

    def post(self, data: bytes) -> httpx2.Response:
        return self.http.post("/add-checkpoint", content=data)

    def cosigned(self, log: OtherLog, old: int, size: int) -> int:
        """Ask; the time of the cosignature, verified."""
        answer = self.post(log.request(old, size))
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        signatures = cosignature.parse_lines(answer.text)
        assert len(signatures) == 1
        return self.cosigner.verify(log.checkpoint(size).body(), signatures)

    def stale(self, data: bytes) -> int:
        answer = self.post(data)
        assert answer.status_code == 409
        assert answer.headers["content-type"] == SIZE_MEDIA
        assert answer.text.endswith("\n")
        return int(answer.text)

    def refused(self, data: bytes) -> tuple[int, str]:
        answer = self.post(data)
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()["reason"]

    def log(self, log: OtherLog) -> Any:
        """What it tells of a log."""
        (one,) = (
            row
            for row in self.http.get("/v1/witnessed").json()["logs"]
            if row["origin"] == log.origin
        )
        return one

    def close(self) -> None:
        self.http.close()
        self.service.stop()


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessing]:
    made = Witnessing(tmp_path_factory.mktemp("witness"), [named(name) for name in TESTS])
    yield made
    made.close()


def test_a_growing_log_is_cosigned(witness: Witnessing) -> None:
    log = named("growing")
    times = [witness.cosigned(log, old, size) for old, size in ((0, 3), (3, 4), (4, 4), (4, 300))]
    assert times == sorted(times)
    one = witness.log(log)
    assert (one["origin"], one["size"], one["split"]) == (log.origin, 300, [])
    kept = note.parse(one["note"])
    assert kept.verify(log.note_key).root == log.checkpoint(300).root
    assert witness.cosigner.verify(kept.body(), kept.signatures) == one["time_s"]


def test_what_the_specification_refuses(witness: Witnessing) -> None:
    log = named("refuses")
    assert witness.stale(log.request(2, 3)) == 0
    witness.cosigned(log, 0, 5)
    assert witness.stale(log.request(0, 9)) == 5
    assert witness.stale(log.request(4, 9)) == 5
    assert witness.stale(log.request(7, 9)) == 5
    stranger = OtherLog("stranger.example/log")
    assert witness.refused(stranger.request(0, 3)) == (404, "wrong-key")
    impostor = OtherLog(log.origin, signer=Fleet("mallory").root)
    assert witness.refused(impostor.request(5, 9)) == (403, "wrong-key")
    changed = log.request(5, 9).replace(b"\n9\n", b"\n8\n")
    assert witness.refused(changed) == (403, "bad-signature")
    assert witness.refused(AddCheckpoint(10, (), log.checkpoint(9)).encode())[0] == 400
    good = AddCheckpoint(5, (), log.checkpoint(9)).encode()
    assert witness.refused(good) == (422, "bad-consistency-proof")
    long = AddCheckpoint(5, (bytes(32),), log.checkpoint(5)).encode()
    assert witness.refused(long) == (422, "bad-consistency-proof")
    assert witness.refused(b"old 05\n\n") == (400, "bad-number")
    assert witness.refused(b"\xff") == (400, "bad-utf8")
    assert witness.refused(b"x" * (REQUEST_BYTES_MAX + 1)) == (413, "too-large")
    gzip = {"Content-Encoding": "gzip"}
    answer = witness.http.post("/add-checkpoint", content=log.request(5, 9), headers=gzip)
    assert answer.status_code == 415
    # None of this moved it.
    witness.cosigned(log, 5, 9)


def test_old_zero_takes_no_proof_and_the_empty_tree_no_other_root(witness: Witnessing) -> None:
    log = named("zero")
    with_proof = AddCheckpoint(0, (bytes(32),), log.checkpoint(3)).encode()
    assert witness.refused(with_proof) == (422, "bad-consistency-proof")
    odd = note.Note(log.origin, 0, bytes(32), []).sign(log.signer, log.origin)
    assert witness.refused(AddCheckpoint(0, (), odd).encode()) == (422, "bad-consistency-proof")
    witness.cosigned(log, 0, 0)
    witness.cosigned(log, 0, 3)


def test_two_trees_of_one_size_are_refused_and_kept_as_a_proof(witness: Witnessing) -> None:
    log = named("split")
    witness.cosigned(log, 0, 8)
    forked = named("split", "x")
    assert witness.refused(forked.request(8, 8)) == (409, "fork")
    assert witness.stale(forked.request(5, 8)) == 8
    one = witness.log(log)
    (split,) = one["split"]
    ours, theirs = (note.parse(split[name]).verify(log.note_key) for name in ("ours", "theirs"))
    assert ours.size == theirs.size == 8
    assert ours.root != theirs.root
    # A head that nobody signed proves nothing and is not kept.
    unsigned = note.Note(log.origin, 8, bytes(32), log.checkpoint(8).signatures)
    assert witness.refused(AddCheckpoint(8, (), unsigned).encode()) == (403, "bad-signature")
    assert witness.log(log)["split"] == [split]


def at_once(witness: Witnessing, requests: list[bytes]) -> list[httpx2.Response]:
    answers: list[httpx2.Response] = []
    meet = threading.Barrier(len(requests))

    def send(data: bytes) -> None:
        meet.wait()
        answers.append(witness.post(data))

    threads = [threading.Thread(target=send, args=(data,)) for data in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_two_requests_at_once_one_wins(witness: Witnessing) -> None:
    """The race of the specification: a smaller tree must not replace a larger one."""
    log = named("race")
    size = 4
    witness.cosigned(log, 0, size)
    for _ in range(8):
        answers = at_once(witness, [log.request(size, size + 3), log.request(size, size + 2)])
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        one = witness.log(log)
        size = one["size"]


def test_of_two_trees_at_once_one_is_cosigned(witness: Witnessing) -> None:
    """Both extend what was cosigned last, and contradict each other."""
    log = named("two")
    witness.cosigned(log, 0, 5)
    trees = (log, named("two", "x"))
    answers = at_once(witness, [tree.request(5, 8) for tree in trees])
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    (line,) = (answer.text for answer in answers if answer.status_code == 200)
    found = 0
    for tree in trees:
        try:
            witness.cosigner.verify(tree.checkpoint(8).body(), cosignature.parse_lines(line))
        except Unverified:
            continue
        found += 1
    assert found == 1


def change_time(witness: Witnessing, log: OtherLog, by_s: int) -> None:
    sequencer = witness.service.sequencer
    table = schema.witnessed

    def change() -> None:
        later = table.update().where(table.c.origin == log.origin)
        with sequencer.store.write() as connection:
            connection.execute(later.values(time_s=table.c.time_s + by_s))

    sequencer.hand_in("test", change).result(60)


def test_the_same_again_costs_no_signature_until_it_is_old(witness: Witnessing) -> None:
    log = named("same")
    first = witness.cosigned(log, 0, 3)
    change_time(witness, log, 2 - COSIGN_SAME_S)
    assert witness.cosigned(log, 3, 3) == first
    change_time(witness, log, -2)
    assert witness.log(log)["time_s"] == first - COSIGN_SAME_S
    assert witness.cosigned(log, 3, 3) >= first
    assert witness.log(log)["time_s"] >= first


def test_the_time_of_a_cosignature_never_falls(witness: Witnessing) -> None:
    log = named("time")
    first = witness.cosigned(log, 0, 3)
    change_time(witness, log, 1_000)
    assert witness.cosigned(log, 3, 4) == first + 1_000


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    first = Witnessing(tmp_path / "witness")
    first.cosigned(OTHER, 0, 8)
    first.close()
    again = Witnessing(tmp_path / "witness")
    try:
        assert again.stale(OTHER.request(0, 9)) == 8
        assert again.refused(OtherLog(story="x").request(8, 8)) == (409, "fork")
        again.cosigned(OTHER, 8, 9)
    finally:
        again.close()


def test_a_crash_between_storing_and_signing_leaves_the_stored_head(tmp_path: Path) -> None:
    """The head counts, whether its cosignature left or not; sent again it is cosigned."""
    folder = tmp_path / "witness"
    path = write_config(folder, [Fleet("acme")])
    path.write_text(path.read_text() + peers_of([OTHER]))
    done = subprocess.run(
        [sys.executable, str(CRASHING), str(path), steps.WITNESSED],
        input=OTHER.request(0, 8),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (86, b"")
    again = Witnessing(folder)
    try:
        one = again.log(OTHER)
        assert one["size"] == 8
        with pytest.raises(Unverified):
            again.cosigner.verify(OTHER.checkpoint(8).body(), note.parse(one["note"]).signatures)
        assert again.stale(OtherLog(story="x").request(0, 9)) == 8
        again.cosigned(OTHER, 8, 8)
    finally:
        again.close()


def test_a_validator_without_peers_witnesses_nobody(tmp_path: Path, fleet: Fleet) -> None:
    service = Service(load(tmp_path / "alone", [fleet]))
    with httpx2.Client(base_url=service.start(), timeout=20) as http:
        assert http.post("/add-checkpoint", content=OTHER.request(0, 3)).status_code == 404
        assert http.get("/v1/witnessed").json() == {"logs": []}
    service.stop()
