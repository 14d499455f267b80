"""`tally proof`, `tally score`, `tally verify --proof`: over folders of tiles and saved logs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support import guilt
from support.devices import write_key
from support.story import Story, StoryValidator
from tallystick.evidence import score as scores
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.note import Note
from tallystick.evidence.root import format_root
from tallystick.tools import logsource
from tallystick.tools.main import cli
from tallystick.verify import tiles
from tallystick.verify.logcopy import LogCopy

PERIOD = ("--from", "1790000000", "--to", "2026-12-01T00:00:00Z")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def tiled(log: StoryValidator, folder: Path) -> Path:
    """The log as a folder of tiles."""
    size = len(log.entries)
    for tile in tiles.tiles_of(size):
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if tile.level is None:
            path.write_bytes(tiles.encode_bundle(log.entries[tile.first :][: tile.width]))
    (folder / "checkpoint").write_text(log.note())
    return folder


@pytest.fixture
def site(tmp_path: Path) -> tuple[Story, Path]:
    """A story whose second validator lied; its logs as folders, and a policy."""
    story = Story()
    log = story.validators[1]
    log.entries[-1] = guilt.said(log, guilt.lie(guilt.true_finding()), len(log.entries) - 2)
    for one in story.validators:
        tiled(one, tmp_path / one.name)
    (tmp_path / "policy.toml").write_text(story.policy)
    credentials, halves, profiles = guilt.claims_of(story)
    file = EvidenceFile(credentials, list(profiles), list(halves), [], [], [], None, [])
    (tmp_path / "claims.tally").write_bytes(file.encode())
    return story, tmp_path


def signing(folder: Path, out: Path) -> tuple[object, ...]:
    """Options that sign a score by a root of the policy."""
    signer = write_key(folder / "scorer.key")
    line = format_root("scorer", signer.public_key())
    policy = folder / "policy.toml"
    policy.write_text(policy.read_text().replace("roots = [", f'roots = ["{line}", ', 1))
    return ("--sign", f"file:{folder / 'scorer.key'}", "--name", "scorer", "--out", out)


def names(folder: Path) -> list[Path]:
    return [folder / name for name in ("insurer", "city", "lab")]


def test_proofs_are_found_written_and_verified(site: tuple[Story, Path]) -> None:
    story, folder = site
    policy, out = folder / "policy.toml", folder / "proofs"
    done = run("proof", *names(folder), "--policy", policy, "--out", out)
    assert done.exit_code == 1
    # Without the claims it shows that two differ, and not who is wrong.
    assert [path.name.rsplit("-", 1)[0] for path in sorted(out.iterdir())] == [
        "two-verdicts-on-equal-inputs"
    ] * 2
    done = run(
        *("proof", *names(folder), "--policy", policy, "--out", out),
        *("--evidence", folder / "claims.tally", "--json"),
    )
    (false,) = [one for one in json.loads(done.output)["proven"] if one["proof"] == "false verdict"]
    assert done.exit_code == 1
    assert false["who"] == "validator city"
    shown = run("verify", false["file"], "--policy", policy, "--proof")
    assert shown.exit_code == 0
    assert "Proven (1)" in shown.output
    assert "the inputs that it names give matched" in " ".join(shown.output.split())
    assert shown.output.rstrip().endswith("Misbehaviour is proven.")
    # Whether the handover may be relied on is another question.
    refused = run("verify", false["file"], "--policy", policy)
    assert refused.exit_code == 1
    assert "What it proves of somebody is checked with --proof." in refused.output
    assert run("inspect", false["file"]).exit_code == 0
    told = json.loads(run("verify", false["file"], "--policy", policy, "--proof", "--json").output)[
        "proven"
    ]
    assert told[0]["accused"] == false["accused"] != []
    assert story.validators[1].name == "city"


def test_honest_logs_prove_nothing(site: tuple[Story, Path]) -> None:
    _, folder = site
    done = run(
        "proof", folder / "insurer", folder / "lab", "--policy", folder / "policy.toml",
        "--out", folder / "none",
    )  # fmt: skip
    assert (done.exit_code, (folder / "none").exists()) == (0, False)
    assert "0 proven, from 2 logs." in done.output
    shown = run("verify", folder / "claims.tally", "--policy", folder / "policy.toml", "--proof")
    assert shown.exit_code == 1
    assert "no misbehaviour is proven" in shown.output


def test_what_a_policy_does_not_know_is_said_and_not_written(site: tuple[Story, Path]) -> None:
    story, folder = site
    (folder / "other.toml").write_text(story.policy.split("[validators]")[0])
    done = run("proof", *names(folder), "--policy", folder / "other.toml", "--out", folder / "none")
    assert (done.exit_code, (folder / "none").exists()) == (0, False)
    assert "Not proven: two verdicts on equal inputs: the policy accepts no" in done.output


def test_a_score_is_signed_and_checked_by_others(site: tuple[Story, Path]) -> None:
    _, folder = site
    policy, out = folder / "policy.toml", folder / "november.score"
    proof = folder / "ignored.tally"
    proof.write_bytes(guilt.ignored().file().encode())
    more = ("--policy", policy, "--proof", proof)
    done = run("score", *names(folder), *PERIOD, *more, *signing(folder, out))
    assert done.exit_code == 0, done.output
    assert "signed as scorer" in done.output
    assert "1 of 2" in done.output
    assert [one.against for one in scores.parse(out.read_bytes()).validators] == [0, 0, 1]
    checked = run("score", *names(folder), "--check", out, *more)
    assert "The numbers are what these logs give; the signature: by scorer." in checked.output
    lacking = run("score", *names(folder), "--check", out)
    assert lacking.exit_code == 1
    assert run("inspect", out, "--json").exit_code == 0


def test_inspect_computes_a_score_again(site: tuple[Story, Path]) -> None:
    _, folder = site
    out = folder / "short.score"
    assert run("score", folder / "insurer", *PERIOD, *signing(folder, out)).exit_code == 0
    shown = run("inspect", out, "--log", folder / "insurer", "--json")
    assert "its numbers: these logs give them" in json.loads(shown.output)["verified"]
    assert run("inspect", out, "--log", folder / "lab").exit_code == 1


def test_a_score_as_json_and_a_saved_log(site: tuple[Story, Path]) -> None:
    _, folder = site
    saved = folder / "saved.tally"
    assert run("score", folder / "insurer", "--save", saved).exit_code == 0
    one, other = (
        run("score", where, folder / "lab", *PERIOD, "--json").output
        for where in (folder / "insurer", saved)
    )
    assert one == other
    assert {row["verdicts"] for row in json.loads(one)["validators"]} == {1}
    table = run("score", saved, *PERIOD)
    assert "Not checked: who signed the checkpoints" in table.output


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--from", "1"),
        (*PERIOD, "--sign", "file:x"),
        (*PERIOD, "--proof", "checkpoint"),
        ("--from", "yesterday", "--to", "2"),
    ],
)
def test_what_does_not_go_together_is_used_wrongly(
    site: tuple[Story, Path], arguments: tuple[str, ...]
) -> None:
    _, folder = site
    given = [folder / "insurer" / one if one == "checkpoint" else one for one in arguments]
    assert run("score", folder / "insurer", *given).exit_code == 2


def test_a_checkpoint_by_another_validator_is_no_log_of_the_policy(
    site: tuple[Story, Path],
) -> None:
    story, folder = site
    log, liar = story.validators[0], story.validators[2]
    root = LogCopy(log.note(), log.entries).note.root
    for name in (liar.origin, log.origin):
        forged = Note(log.origin, len(log.entries), root, []).sign(liar.note_key, name)
        (folder / "insurer" / "checkpoint").write_text(forged.text())
        done = run("score", folder / "insurer", *PERIOD, "--policy", folder / "policy.toml")
        assert isinstance(done.exception, TallyError)
        assert done.exception.reason == "wrong-key"


def test_a_folder_that_holds_no_whole_log(tmp_path: Path) -> None:
    log = guilt.matched().validators[0]
    folder = tiled(log, tmp_path / "log")
    assert logsource.read_log(str(folder)).size == len(log.entries)
    bundle = next((folder / "tile" / "entries").rglob(str(len(log.entries))))
    changed = bytearray(bundle.read_bytes())
    changed[-1] ^= 1
    bundle.write_bytes(bytes(changed))
    with pytest.raises(TallyError) as caught:
        logsource.read_log(str(folder))
    assert caught.value.reason == "bad-root"
    bundle.unlink()
    with pytest.raises(TallyError) as caught:
        logsource.read_log(str(folder))
    assert caught.value.reason == "missing"


def test_a_full_tile_serves_for_a_partial_one(tmp_path: Path) -> None:
    log = StoryValidator(guilt.matched().validators[0].fleet)
    for _ in range(256):
        log.tick(1)
    folder = tiled(log, tmp_path / "log")
    log.entries = log.entries[:200]
    (folder / "checkpoint").write_text(log.note())
    assert logsource.read_log(str(folder)).size == 200
