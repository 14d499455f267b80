"""`tally bench validate | reconcile | audit`: what is measured is what is said. No times."""

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from support.benches import check_object, printed
from tallystick.evidence import batchanswer, segment
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.segment import verify_segment
from tallystick.evidence.tree import Tree
from tallystick.tools.bench import (
    audit,
    handovers,
    peer_validator,
    reconcile,
    sampling,
    sending,
)
from tallystick.tools.bench.cli import bench
from tallystick.tools.bench.notary import Notary, server
from tallystick.tools.bench.opened import Opened
from tallystick.tools.bench.peers import checked
from tallystick.tools.bench.reconcile_result import COSTS, ReconcileResult
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Fleet
from tallystick.validator import body, schema
from tallystick.validator.sequencer import Sequencer, wall_ms
from tallystick.verify import profiles

PEERS = {"libsodium", "scitt-cose", "agent-receipts"}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "fleet", "bench")


@pytest.fixture
def opened(fleet: Fleet) -> Any:
    sequencer = Sequencer(Notary(fleet, "notary").config())
    yield Opened(sequencer, fleet, "robot")
    sequencer.stop()


def texts(picture: Path) -> str:
    return " ".join("".join(one.itertext()) for one in ET.parse(picture).iter(f"{SVG}text"))


# --- what is sent ----------------------------------------------------------------------------


def test_every_claim_that_is_sent_finds_its_counterpart(fleet: Fleet) -> None:
    members = [fleet.enrol("device", f"device-{at}") for at in range(4)]
    pairs = handovers.pairs(fleet, members)
    made = handovers.logs(pairs, 1_024, 64, 32)
    assert len(made) == 1_024 // 64
    gateway = handovers.Gateway(fleet, fleet.enrol("gateway", "gateway"))
    batches = [gateway.hello(members), *gateway.batches(made)]
    sequencer = Sequencer(Notary(fleet, "notary").config())
    try:
        for compressed in batches:
            answer = batchanswer.parse(sequencer.ingest.batch(body.decompress(compressed)))
            assert not answer.refused
        while sequencer.reconciler.tick():
            pass
        with sequencer.store.read() as connection:
            states = connection.execute(sa.select(schema.party_sets.c.state)).scalars().all()
    finally:
        sequencer.stop()
    # Two claims a segment; every second segment is the other party's.
    assert states == ["matched"] * (len(made) // 2 * 2)


def test_segments_verify_and_count_their_claims(fleet: Fleet) -> None:
    members = [fleet.enrol("device", f"device-{at}") for at in range(2)]
    (pair,) = handovers.pairs(fleet, members)
    handovers.logs([pair], 512, 64, 16)
    for load in (pair.giver, pair.receiver):
        tree = Tree()
        for nth, data in enumerate(load.segments, 1):
            verified = verify_segment(segment.parse(data), load.member.identity, tree)
            assert verified.checkpoint.claims == 4 * nth
            tree = verified.tree


def test_a_missing_or_refused_segment_is_no_result() -> None:
    empty = batchanswer.BatchAnswer(1, [], []).encode()
    with pytest.raises(BenchFailed, match="1 checkpoints got no receipt"):
        sending.check([empty], {b"digest": b"statement"}, "bench", None)  # type: ignore[arg-type]
    refused = batchanswer.BatchAnswer(1, [], [(0, "over-quota")]).encode()
    with pytest.raises(BenchFailed, match="over-quota"):
        sending.check([refused], {}, "bench", None)  # type: ignore[arg-type]


def test_an_answer_with_another_validators_receipts_is_no_result(fleet: Fleet) -> None:
    members = [fleet.enrol("device", f"device-{at}") for at in range(2)]
    pairs = handovers.pairs(fleet, members)
    made = handovers.logs(pairs, 128, 64, 64)
    gateway = handovers.Gateway(fleet, fleet.enrol("gateway", "gateway"))
    batches = [gateway.hello(members), *gateway.batches(made)]
    notary = Notary(fleet, "notary")
    sequencer = Sequencer(notary.config())
    try:
        answers = [sequencer.ingest.batch(body.decompress(one)) for one in batches]
    finally:
        sequencer.stop()
    statements = {}
    for data in made:
        received = segment.parse(data)
        verified = received.stretches[-1].checkpoint
        statements[digest(verified)] = verified
    key = notary.member.identity.key
    sending.check(answers, statements, fleet.name, key)
    other: PublicKey = members[0].identity.key
    with pytest.raises(TallyError):
        sending.check(answers, statements, fleet.name, other)


def digest(statement: bytes) -> bytes:
    from tallystick.evidence import checkpoint

    return checkpoint.parse(statement).digest


def test_the_peers_validator_takes_what_is_signed_and_refuses_what_is_not(tmp_path: Path) -> None:
    import cbor2
    import zstandard

    peer = checked("libsodium", peer_validator.SEED)
    rows = peer_validator.SqliteRows(tmp_path / "peer.sqlite")
    validator = peer_validator.PeerValidator(peer, rows)
    signed = [peer.sign(one) for one in handovers.records(0, 128, 64)]
    validator.take(zstandard.compress(cbor2.dumps(signed)))
    counts = [
        rows.database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("batches", "claims")
    ]
    assert counts == [1, 2]
    signed[5] = signed[5][:-1] + bytes([signed[5][-1] ^ 1])
    with pytest.raises(Exception):  # noqa: B017, PT011 - libsodium's own
        validator.take(zstandard.compress(cbor2.dumps(signed)))


# --- open interactions -------------------------------------------------------------------------


def rows_of(opened: Opened) -> dict[str, list[tuple[Any, ...]]]:
    with opened.sequencer.store.read() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for table in schema.metadata.sorted_tables
            if table.name not in {"heads", "meta"}
        }


def test_a_set_that_nobody_ticked_is_as_one_that_was_found_pending(opened: Opened) -> None:
    opened.grow(40)
    assert opened.settled()
    unticked = rows_of(opened)
    with opened.sequencer.store.write() as connection:
        connection.execute(sa.update(schema.party_sets).values(dirty=True))
    while opened.sequencer.reconciler.tick():
        pass
    assert rows_of(opened) == unticked
    assert opened.states() == {"pending": 40}


def test_answers_are_of_open_interactions_and_end_them(opened: Opened) -> None:
    opened.grow(30)
    opened.take(opened.answers(10))
    assert not opened.settled()
    while opened.sequencer.reconciler.tick():
        pass
    assert opened.states() == {"matched": 10, "pending": 20}
    assert len(opened.open) == 20
    opened.grow(30)
    assert opened.states() == {"matched": 10, "pending": 30}


def test_nothing_falls_due_while_a_million_are_opened(fleet: Fleet) -> None:
    late_ms = 0
    sequencer = Sequencer(Notary(fleet, "notary").config(), lambda: wall_ms() + late_ms)
    try:
        opened = Opened(sequencer, fleet, "robot")
        opened.grow(20)
        late_ms = 3_600_000
        opened.take(opened.answers(5))
        while sequencer.reconciler.tick():
            pass
        assert opened.states() == {"matched": 5, "pending": 15}
    finally:
        sequencer.stop()


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1_000, [1_000]),
        (5_000, [1_000, 5_000]),
        (10_000, [1_000, 10_000]),
        (1_000_000, [1_000, 10_000, 100_000, 1_000_000]),
    ],
)
def test_steps_are_by_tens(most: int, expected: list[int]) -> None:
    assert reconcile.sizes(most) == expected


# --- sampling ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/x/firmware/tallystick/evidence/leaf.py", "hash"),
        ("/x/site-packages/nacl/signing.py", "signature"),
        ("/x/site-packages/sqlalchemy/engine/base.py", "SQL and disk"),
        ("/x/firmware/tallystick/evidence/cbor.py", "decode and encode"),
        ("/x/validator/tallystick/verify/reconcile.py", "findings"),
        ("/x/validator/tallystick/validator/records.py", sampling.OTHER),
        ("/usr/lib/python3.11/queue.py", None),
    ],
)
def test_time_in_a_file_counts_as(name: str, kind: str | None) -> None:
    assert sampling.kind_of(name) == kind


def test_every_named_file_of_ours_is_there() -> None:
    here = Path(handovers.__file__).parents[4]
    ours = [part for parts in sampling.KINDS.values() for part in parts if part.endswith(".py")]
    for part in ours:
        assert list(here.glob(f"*/tallystick/{part}")), part


def test_the_sampler_sees_what_is_done() -> None:
    tree = Tree()
    with sampling.Sampler() as sampler:
        while sampler.counts.total() < 20:
            tree.push(bytes(32))
    assert sampler.counts["hash"] > 0
    shares = sampler.shares()
    assert set(shares) == set(sampling.NAMES)
    assert sum(shares.values()) == pytest.approx(1, abs=0.01)


# --- the commands ------------------------------------------------------------------------------


def test_validate_measures_every_way(tmp_path: Path) -> None:
    picture = tmp_path / "shares.svg"
    found = printed(
        "validate", "--store", "sqlite", "--records", "2048", "--devices", "4", "--seconds",
        "0.05", "--rounds", "1", "--json", "--picture", str(picture),
    )  # fmt: skip
    check_object(found, PEERS)
    (store,) = found["stores"]
    assert store["store"] == "sqlite"
    assert [one["records_a_segment"] for one in store["segments"]] == [64, 256]
    for one in store["segments"]:
        best = max(store["peers"].values())
        assert one["ratio_to_best_peer"] == pytest.approx(one["ours_per_s"] / best, abs=0.01)
        assert sum(one["shares"].values()) == pytest.approx(1, abs=0.01)
    assert found["ours_per_s"] == store["segments"][0]["ours_per_s"]
    assert {"hash", "signature", "findings"} <= set(texts(picture).split())


def test_reconcile_measures_engine_store_and_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "MEASURED", 64)
    picture = tmp_path / "cost.svg"
    arguments = ["reconcile", "--open", "1000", "--seconds", "0.05", "--workers", "0",
                 "--workers", "1", "--backlog", "64", "--picture", str(picture)]  # fmt: skip
    done = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "of the goal" in done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["goal_per_s"] == 20_000
    assert min(found["ours_per_s"], found["with_reading_and_writing_per_s"]) > 0
    assert [one["store"] for one in found["stores"]] == ["sqlite", "postgresql"]
    for store in found["stores"]:
        (point,) = store["points"]
        assert point["open"] == 1_000
        assert min(point[name] for name in COSTS) > 0
        assert point["resident_bytes"] > 1 << 20
    assert [one["workers"] for one in found["workers"]] == [0, 1]
    assert "open interactions" in texts(picture)


def test_audit_measures_one_core_all_and_shards(tmp_path: Path) -> None:
    picture = tmp_path / "audit.svg"
    found = printed(
        "audit", "--entries", "512", "--seconds", "0.05", "--shards", "2", "--json",
        "--picture", str(picture),
    )  # fmt: skip
    assert found["entries"] >= 512
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["shards"] == len(found["shard_s"]) == 2
    assert found["ratio_to_bound"] == pytest.approx(
        found["ours_per_s"] / found["bound_per_s"], abs=0.0001
    )
    assert "ratio_to_best_peer" not in found
    assert "entries/s" in texts(picture)


def test_an_audit_that_finds_something_wrong_is_no_result(tmp_path: Path) -> None:
    tiles = audit.make_log(tmp_path, audit.ENTRIES_MIN)
    bundle = next(path for path in sorted(tiles.rglob("entries/*")) if path.is_file())
    data = bytearray(bundle.read_bytes())
    data[-1] ^= 1
    bundle.write_bytes(bytes(data))
    with pytest.raises(BenchFailed, match="tally audit"):
        audit.audited(tiles, None, "--jobs", "1")


def test_a_store_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.tools.postgres.Path", lambda _: Path("/nowhere"))
    monkeypatch.setenv("PATH", "/nowhere")
    with server() as why:
        assert isinstance(why, str)
        assert "PostgreSQL is not installed" in why
    engine = {"find": 2.0, "parse_find_encode": 1.0, "bound": 4.0}
    point = dict.fromkeys(["open", "resident_bytes", *COSTS], 1_000)
    result = ReconcileResult(engine, {"sqlite": [point]}, [], {"postgresql": why})
    assert result.object()["not_measured"] == {"postgresql": why}


def test_the_notarys_profile_is_the_packaged_one_but_for_its_deadline(fleet: Fleet) -> None:
    ((_, text),) = Notary(fleet, "notary").config().profiles
    assert text == handovers.TEXT
    lines = zip(text.splitlines(), profiles.text("handover").splitlines(), strict=True)
    assert [pair for pair in lines if pair[0] != pair[1]] == [
        ('deadline = "86400 s"', 'deadline = "60 s"')
    ]
