"""One TOML file, checked before anything is opened; secrets stay out of sight."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.devices import Fleet
from support.validating import TOKEN, write_config
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.tools.main import cli
from tallystick.validator import config as configs

BAD = [
    ({"name": '"Acme Inc"'}, "name: 1 to 20"),
    ({"origin": '"a b"'}, "origin: 1 to 64"),
    ({"origin": '"a+b"'}, "origin: 1 to 64"),
    ({"bind": '"8470"'}, "bind: an address and a port"),
    ({"bind": '"127.0.0.1:99999"'}, "bind: an address and a port"),
    ({"bind": "8470"}, "bind"),
    ({"key": '"key"'}, "key: a URI"),
    ({"roots": "[]"}, "roots: at least one"),
    ({"roots": '["nothere.pub"]'}, "nothere.pub"),
    ({"roots": '["acme+AAAA"]'}, "root"),
    ({"profiles": '"nowhere"'}, "profiles: .* is no folder"),
    ({"gateways": '["validator.toml"]'}, "validator.toml"),
    ({"colour": '"red"'}, "colour"),
    ({"open_reads": '"yes"'}, "open_reads"),
    ({"store": "= ="}, "line"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_a_bad_setting_is_named(
    tmp_path: Path, fleet: Fleet, settings: dict[str, str], message: str
) -> None:
    path = write_config(tmp_path / "v", [fleet], **settings)
    with pytest.raises(Malformed, match=message) as error:
        configs.load(path)
    assert str(path) in str(error.value)


def test_tokens_are_long_and_never_shown(tmp_path: Path, fleet: Fleet) -> None:
    path = write_config(tmp_path / "v", [fleet])
    assert TOKEN not in repr(configs.load(path))
    path.write_text(path.read_text().replace(TOKEN, "short"))
    with pytest.raises(Malformed, match="16 or more") as error:
        configs.load(path)
    assert "short" not in str(error.value)


def test_two_readers_with_one_token_are_refused(tmp_path: Path, fleet: Fleet) -> None:
    path = write_config(tmp_path / "v", [fleet])
    path.write_text(path.read_text() + f'other = "{TOKEN}"\n')
    with pytest.raises(Malformed, match="share a token"):
        configs.load(path)


def test_a_root_may_stand_in_a_file(tmp_path: Path, fleet: Fleet) -> None:
    path = write_config(tmp_path / "v", [])
    (tmp_path / "v" / "acme.pub").write_text(f"# ours\n{fleet.root_line}\n")
    path.write_text(path.read_text().replace('roots = ["', 'roots = ["acme.pub", "'))
    assert set(configs.load(path).roots) == {"acme", "notary"}


def test_one_name_with_two_roots_is_refused(tmp_path: Path, fleet: Fleet) -> None:
    from tallystick.evidence.root import format_root

    other = format_root("acme", Fleet("borealis").root.public_key())
    path = write_config(tmp_path / "v", [fleet])
    path.write_text(path.read_text().replace('roots = ["', f'roots = ["{other}", "'))
    with pytest.raises(Malformed, match="two keys"):
        configs.load(path)


def test_check_says_what_is_good_and_what_is_wrong(tmp_path: Path, fleet: Fleet) -> None:
    path = write_config(tmp_path / "v", [fleet])
    runner = CliRunner()
    found = runner.invoke(cli, ["validator", "check", "--config", str(path), "--json"])
    assert found.exit_code == 0, found.output
    checks = {one["name"]: one for one in json.loads(found.output)["checks"]}
    assert checks["profiles"]["found"] == "handover@1"
    assert not (tmp_path / "v" / "validator.sqlite").exists()
    (tmp_path / "v" / "profiles" / "bad.toml").write_text("name = 3\n")
    (tmp_path / "v" / "note.key").unlink()
    found = runner.invoke(cli, ["validator", "check", "--config", str(path)])
    assert found.exit_code == 1
    assert "WRONG  keys" in found.output
    assert "WRONG  profiles" in found.output
    assert "bad.toml" in found.output
    assert TOKEN not in found.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "a"\nurl = "ftp://x"', "peers.a.url"),
        ('name = "a"\nurl = "http://user:secret@x"', "peers.a.url"),
        ('name = "a"\nurl = "http://x?q"', "peers.a.url"),
        ('name = "a"\nurl = "http://x"\npoll_s = 0.0', "peers.a.poll_s"),
        ('name = "a"\nurl = "http://x"\n[[peers]]\nname = "a"\nurl = "http://y"', "same name"),
        ('name = "a"\nurl = "http://x"\nkey = "k"', "key"),
    ],
)
def test_a_bad_peer_is_named(tmp_path: Path, fleet: Fleet, text: str, says: str) -> None:
    path = write_config(tmp_path / "v", [fleet])
    path.write_text(path.read_text() + f"\n[[peers]]\n{text}\n")
    with pytest.raises(Malformed, match=says) as caught:
        configs.load(path)
    assert "secret" not in str(caught.value)


def test_check_names_the_peers(tmp_path: Path, fleet: Fleet) -> None:
    path = write_config(tmp_path / "v", [fleet])
    path.write_text(path.read_text() + '\n[[peers]]\nname = "insurer"\nurl = "http://x"\n')
    found = CliRunner().invoke(cli, ["validator", "check", "--config", str(path)])
    assert "insurer at http://x" in found.output


def test_check_names_the_risk_of_open_reads(tmp_path: Path, fleet: Fleet) -> None:
    for bind, risky in (("127.0.0.1:0", False), ("0.0.0.0:0", True)):
        path = write_config(tmp_path / "v", [fleet], open_reads="true", bind=f'"{bind}"')
        found = CliRunner().invoke(cli, ["validator", "check", "--config", str(path)])
        assert "whoever asks from loopback" in found.output
        assert ("RISK" in found.output) == risky


def test_help_has_examples() -> None:
    for command in ([], ["run"], ["check"]):
        shown = CliRunner().invoke(cli, ["validator", *command, "--help"])
        assert "Example" in shown.output


def test_a_credential_for_another_key_is_refused(tmp_path: Path, fleet: Fleet) -> None:
    from tallystick.evidence.cbor import encode
    from tallystick.validator.ownkeys import own_keys

    path = write_config(tmp_path / "v", [fleet])
    _, other = Fleet("notary").member("someone", 2)
    (tmp_path / "v" / "credential.cbor").write_bytes(encode(other))
    with pytest.raises(TallyError, match="another key"):
        own_keys(configs.load(path))


def test_check_looks_into_the_peers_folder(tmp_path: Path, fleet: Fleet) -> None:
    from support import circles

    path = write_config(tmp_path / "v", [fleet], peer_files='"peers"')

    def checked() -> str:
        return CliRunner().invoke(cli, ["validator", "check", "--config", str(path)]).output

    assert "will be made by" in checked()
    (tmp_path / "v" / "peers").mkdir()
    assert "nobody was imported" in checked()
    (tmp_path / "v" / "peers" / "initech.peer").write_bytes(circles.peer_file())
    assert "good   peer files initech" in checked()
    (tmp_path / "v" / "peers" / "initech.peer").write_bytes(circles.peer_file()[:-1])
    found = checked()
    assert "WRONG  peer files initech.peer: " in found and "stays in force" in found
