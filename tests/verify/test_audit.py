"""An audit of a log from its tiles: in parts that need nothing of each other, none lies unseen."""

import random
from collections import Counter
from pathlib import Path

import pytest

from support import circles
from support import examples as ex
from support.devices import Fleet
from support.tiledlog import publish
from support.validating import Gateway, Room, handover
from tallystick.evidence import entry, genesis, registration
from tallystick.evidence.entry import LoggedClaim, TimeEntry, parse_entry
from tallystick.evidence.errors import TransportError, Unverified
from tallystick.evidence.kinds import VERDICT
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.tree import leaf_hash
from tallystick.tools.log_source import LogSource
from tallystick.verify import audit, tiles
from tallystick.verify.audit import Part, Tiled
from tallystick.verify.tiles import WIDTH

HOURS_MS = 48 * 3_600_000


class Log:
    """Entries of a real validator: 160 handovers, each eighth with one side only and closed."""

    def __init__(self, folder: Path) -> None:
        fleet = Fleet("acme")
        room = Room(folder / "validator", [fleet])
        giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
        for n in range(160):
            handover(giver, receiver, f"order-{n}", sides="g" if n % 8 == 0 else "gr")
            if n % 10 == 9:
                giver.record(1)
        gateway.take(*giver.segments(), *receiver.segments())
        assert room.send(gateway.batch(devices=[giver, receiver])).refused == []
        room.settle()
        room.clock.now_ms += HOURS_MS
        room.settle()
        self.entries = [row[0] for row in room.rows("SELECT data FROM entries ORDER BY entry")]
        self.keys = room.sequencer.keys
        self.key = NoteKey(self.keys.origin, self.keys.notes.public_key())
        room.close()

    def publish(self, folder: Path, entries: list[bytes] | None = None) -> Note:
        made = self.entries if entries is None else entries
        return publish(folder, made, self.keys.notes, self.keys.origin)

    def where(self, wanted: type) -> list[int]:
        return [at for at, data in enumerate(self.entries) if type(parse_entry(data)) is wanted]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return Log(tmp_path_factory.mktemp("log"))


def audited(folder: Path, note: Note, key: NoteKey, shards: int = 1) -> Part:
    found = Part()
    for number in range(1, shards + 1):
        log = Tiled(LogSource(str(folder)).fetch, note)
        for unit in audit.parts(audit.shard(note.size, number, shards)):
            found.add(audit.audit_part(log, key, unit))
    return found


def test_shards_are_all_and_none_twice() -> None:
    rng = random.Random(5)
    for size in [0, 1, 255, 256, 257, *(rng.randrange(1 << 40) for _ in range(50))]:
        of = rng.randrange(1, 50)
        shards = [audit.shard(size, number, of) for number in range(1, of + 1)]
        ends = [0, *(one.stop for one in shards)]
        assert [one.start for one in shards] == ends[:-1]
        assert ends[-1] == (size + WIDTH - 1) // WIDTH
        lengths = Counter(map(len, shards))
        assert max(lengths) - min(lengths) <= 1
    units = list(audit.parts(range(3, 200)))
    assert [n for unit in units for n in unit] == list(range(3, 200))
    assert max(map(len, units)) == audit.BUNDLES_PER_PART


def test_a_good_log_holds_in_one_and_in_every_shard(tmp_path: Path, log: Log) -> None:
    note = log.publish(tmp_path)
    assert note.size > 2 * WIDTH
    whole = audited(tmp_path, note, log.key)
    assert whole.problems == []
    assert whole.entries == note.size
    assert whole.counts["claims"] == 160 + 140
    assert whole.counts["closings"] == 20
    assert whole.counts["verdicts"] == 160
    assert not whole.not_checked
    # Claims and closings name what lies in other shards: looked up, and nothing is left out.
    shards = audited(tmp_path, note, log.key, shards=audit.bundles(note.size))
    assert (shards.entries, shards.counts, shards.not_checked) == (
        whole.entries,
        whole.counts,
        whole.not_checked,
    )
    assert shards.problems == []


def changed(log: Log, at: int, made: entry._Entry) -> list[bytes]:
    entries = list(log.entries)
    entries[at] = made.encode()
    return entries


@pytest.mark.parametrize("shards", [1, 3])
def test_what_cannot_stand_where_it_stands_is_found(tmp_path: Path, log: Log, shards: int) -> None:
    claims = log.where(LoggedClaim)
    closing = log.where(entry.Closing)[-1]
    late = claims[-1]
    good = parse_entry(log.entries[late])
    assert isinstance(good, LoggedClaim)
    shut = parse_entry(log.entries[closing])
    assert isinstance(shut, entry.Closing)
    times = log.where(TimeEntry)
    path = [bytes(32), *good.path[1:]] if good.path else [bytes(32)]
    cases: list[tuple[int, entry._Entry, str]] = [
        (late, LoggedClaim(good.device, good.epoch, good.index, good.leaf, good.checkpoint, path),
         "bad-inclusion-proof"),
        (late, LoggedClaim(good.device, bytes(8), good.index, good.leaf, good.checkpoint,
                           good.path), "bad-inclusion-proof"),
        (late, LoggedClaim(good.device, good.epoch, good.index, good.leaf, claims[0], good.path),
         "bad-inclusion-proof"),
        (times[-1], TimeEntry(5), "bad-value"),
        (closing, entry.Closing(shut.namespace, shut.interaction, shut.party_set, shut.first,
                                10 * HOURS_MS), "bad-value"),
        (closing, entry.Closing(shut.namespace, shut.interaction, shut.party_set, times[0],
                                shut.deadline_ms), "bad-value"),
    ]  # fmt: skip
    for n, (at, made, reason) in enumerate(cases):
        folder = tmp_path / str(n)
        note = log.publish(folder, changed(log, at, made))
        found = audited(folder, note, log.key, shards)
        assert (at, reason) in [(one.entry, one.reason) for one in found.problems], (n, found)


def test_a_verdict_that_another_key_signed_is_found(tmp_path: Path, log: Log) -> None:
    at = next(
        at for at, data in reversed(list(enumerate(log.entries)))
        if data[:1] == b"\xd2" and parse_entry(data).payload[1] == VERDICT  # type: ignore[union-attr]
    )  # fmt: skip
    entries = list(log.entries)
    entries[at] = entries[at][:-1] + bytes([entries[at][-1] ^ 1])
    note = log.publish(tmp_path, entries)
    for shards in (1, 3):
        found = audited(tmp_path, note, log.key, shards)
        assert [(one.entry, one.reason) for one in found.problems] == [(at, "bad-signature")]


def test_bytes_that_are_not_under_the_root_are_found_wherever_they_are(
    tmp_path: Path, log: Log
) -> None:
    note = log.publish(tmp_path)
    files = [path for path in (tmp_path / "tile").rglob("*") if path.is_file()]
    assert len(files) == len(list(tiles.tiles_of(note.size)))
    for path in files:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        try:
            reasons = {one.reason for one in audited(tmp_path, note, log.key, 2).problems}
        except Unverified as error:
            reasons = {error.reason}
        assert "bad-root" in reasons, path
        path.write_bytes(data)
    assert audited(tmp_path, note, log.key).problems == []


def test_what_is_missing_is_no_verdict(tmp_path: Path, log: Log) -> None:
    note = log.publish(tmp_path)
    (tmp_path / tiles.Tile(None, 1).path).unlink()
    with pytest.raises(TransportError):
        audited(tmp_path, note, log.key)


def test_a_log_of_another_origin_or_genesis_key_does_not_hold(tmp_path: Path, log: Log) -> None:
    note = log.publish(tmp_path)
    other = Note("other.example/log", note.size, note.root, note.signatures)
    for shards in (1, 2):
        found = audited(tmp_path, other, log.key, shards)
        assert found.problems[0].reason == "wrong-key"
    stranger = NoteKey(log.keys.origin, genesis.parse(log.entries[0]).receipt_key)
    assert audited(tmp_path, note, stranger).problems[0].reason == "wrong-key"


def test_an_older_checkpoint_is_audited_where_only_full_tiles_are_left(
    tmp_path: Path, log: Log
) -> None:
    old = log.publish(tmp_path / "old", log.entries[:300])
    log.publish(tmp_path / "new", log.entries[:512])
    found = audited(tmp_path / "new", old, log.key, shards=2)
    assert (found.entries, found.problems) == (300, [])


def test_time_that_goes_back_between_two_shards_is_found(tmp_path: Path, log: Log) -> None:
    begin = HOURS_MS * 12_000
    entries = [log.entries[0], *(TimeEntry(begin + n).encode() for n in range(255))]
    entries += [TimeEntry(begin + 100).encode(), TimeEntry(begin + 300).encode()]
    note = log.publish(tmp_path, entries)
    for shards in (1, 2):
        found = audited(tmp_path, note, log.key, shards)
        assert [(one.entry, one.reason) for one in found.problems] == [(256, "bad-value")]


def policies() -> list[bytes]:
    """Three registration policies, each after the one before."""
    made: list[bytes] = []
    for n in range(3):
        before = registration.parse(made[-1]).digest if made else None
        made.append(circles.policy(previous=before, time_ms=ex.TIME_MS + n))
    return made


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    ("order", "wrong"),
    [((0, 1, 2), []), ((0, 2, 1), [256, 512]), ((1, 2, None), [1]), ((0, 0, 1), [256])],
)
def test_registration_policies_are_one_chain_through_all_shards(
    tmp_path: Path, log: Log, shards: int, order: tuple[int | None, ...], wrong: list[int]
) -> None:
    made = policies()
    entries = [ex.validator_log()[0]]
    entries += [TimeEntry(ex.TIME_MS + n).encode() for n in range(1, 2 * WIDTH + 9)]
    for at, which in zip((1, WIDTH, 2 * WIDTH), order, strict=True):
        if which is not None:
            entries[at] = made[which]
    note = publish(tmp_path, entries, log.keys.notes, ex.ORIGIN)
    found = audited(tmp_path, note, ex.note_key(), shards)
    assert [one.entry for one in found.problems] == wrong
    assert found.policy_before is None
    assert not found.not_checked


def test_a_shard_alone_says_that_it_does_not_know_the_policy_before_it(
    tmp_path: Path, log: Log
) -> None:
    entries = [ex.validator_log()[0], policies()[0]]
    entries += [TimeEntry(ex.TIME_MS + n).encode() for n in range(2, WIDTH)] + [policies()[1]]
    note = publish(tmp_path, entries, log.keys.notes, ex.ORIGIN)
    tiled = Tiled(LogSource(str(tmp_path)).fetch, note)
    part = audit.audit_part(tiled, ex.note_key(), range(1, 2))
    assert part.problems == []
    assert part.policy_before == (WIDTH, registration.parse(policies()[0]).digest)


def test_three_levels_of_tiles(tmp_path: Path, log: Log) -> None:
    size = 66_000
    entries = [log.entries[0]]
    entries += [TimeEntry(HOURS_MS * 12_000 + n).encode() for n in range(size - 1)]
    note = log.publish(tmp_path, entries)
    assert tmp_path.joinpath("tile/2/000.p/1").exists()
    found = audited(tmp_path, note, log.key, shards=3)
    assert (found.entries, found.problems, found.counts["times"]) == (size, [], size - 1)
    # A whole level-1 tile that is changed, and the leaves under it: seen by the tile above.
    source = LogSource(str(tmp_path))
    path = tmp_path / "tile/1/000"
    data = path.read_bytes()
    path.write_bytes(bytes(32) + data[32:])
    # Its own root is not what the tile above says, so nothing under it is believed.
    part = audit.audit_part(Tiled(source.fetch, note), log.key, range(3))
    assert {one.reason for one in part.problems} == {"bad-root"}
    assert part.entries == 0


def test_an_empty_log_and_a_log_of_one(tmp_path: Path, log: Log) -> None:
    empty = log.publish(tmp_path / "empty", [])
    assert audited(tmp_path / "empty", empty, log.key).entries == 0
    one = log.publish(tmp_path / "one", log.entries[:1])
    found = audited(tmp_path / "one", one, log.key)
    assert (found.entries, found.problems) == (1, [])
    wrong = Note(empty.origin, 0, leaf_hash(b""), empty.signatures)
    with pytest.raises(Unverified):
        audited(tmp_path / "empty", wrong, log.key)


def test_problems_are_counted_and_only_so_many_kept(tmp_path: Path, log: Log) -> None:
    entries = [log.entries[0], *([b"\xff"] * 300)]
    note = log.publish(tmp_path, entries)
    found = audited(tmp_path, note, log.key)
    assert found.problems_found == 300
    assert len(found.problems) == audit.PROBLEMS_KEPT_MAX
