"""`tally audit`: on more than one core, in shards, for people and for scripts."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.devices import Fleet
from support.tiledlog import publish
from tallystick.evidence import genesis
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.errors import Unverified
from tallystick.evidence.note import NoteKey
from tallystick.tools import audit

ORIGIN = "notary.example/log"
SIZE = 3 * 256 * 64 + 5  # four units of work


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NoteKey]:
    """A log of a genesis and time entries."""
    fleet = Fleet("notary")
    signer, _ = fleet.member("key", 2)
    notes, _ = fleet.member("notes", 2)
    key = NoteKey(ORIGIN, notes.public_key())
    made = genesis.Genesis("notary", ORIGIN, signer.public_key(), key, {}, 1)
    first = made.sign(signer, "notary", signer.public_key().thumbprint())
    folder = tmp_path_factory.mktemp("tiles")
    entries = [first, *(TimeEntry(n).encode() for n in range(1, SIZE))]
    publish(folder, entries, notes, ORIGIN)
    return folder, key


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(audit.audit, [str(one) for one in arguments])


def test_two_processes_find_what_one_finds(tiles: tuple[Path, NoteKey]) -> None:
    folder, key = tiles
    one = run(folder, "--jobs", "1", "--json", "--key", key.text())
    two = run(folder, "--jobs", "2", "--json", "--key", key.text())
    assert (one.exit_code, two.exit_code) == (0, 0)
    assert one.stdout == two.stdout
    found = json.loads(one.stdout)
    assert found["good"] is True
    assert found["entries"] == found["size"] == SIZE
    assert found["counts"] == {"genesis": 1, "times": SIZE - 1}
    assert found["not_checked"] == {}


def test_shards_add_up_and_one_tells_what_is_wrong(
    tiles: tuple[Path, NoteKey], tmp_path: Path
) -> None:
    folder, _ = tiles
    path = folder / "tile/entries/130"
    good = path.read_bytes()
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_bytes((folder / "checkpoint").read_bytes())
    try:
        path.write_bytes(good[:-1] + b"\x00")
        done = [
            run(folder, "--shard", f"{n}/3", "--jobs", "1", "--checkpoint", checkpoint)
            for n in (1, 2, 3)
        ]
    finally:
        path.write_bytes(good)
    assert [one.exit_code for one in done] == [0, 0, 1]
    assert "WRONG entry 33,280: tile/entries/130 has other entries" in done[2].stdout
    assert "not all of it holds" in done[2].stdout
    assert "not checked: whose log it is" in done[0].stdout
    read = [int(one.stdout.split(": ")[1].split()[0].replace(",", "")) for one in done]
    assert sum(read) == SIZE - 256


def test_what_was_given_wrongly_is_said(tiles: tuple[Path, NoteKey]) -> None:
    folder, key = tiles
    for wrong in ("0/3", "4/3", "1", "1/0", "1/1000000", "a/b", "1/3/5"):
        ran = run(folder, "--shard", wrong)
        assert ran.exit_code == 2
        assert "i from 1 to n" in ran.output
    other = NoteKey("other.example/log", key.key)
    ran = run(folder, "--key", other.text())
    assert isinstance(ran.exception, Unverified)
    assert ran.exception.reason == "wrong-key"


def test_a_checkpoint_by_another_key_is_refused(tiles: tuple[Path, NoteKey]) -> None:
    folder, _ = tiles
    stranger, _ = Fleet("stranger").member("notes", 2)
    ran = run(folder, "--jobs", "1", "--key", NoteKey(ORIGIN, stranger.public_key()).text())
    assert isinstance(ran.exception, Unverified)
