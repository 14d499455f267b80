"""One TOML file, strict: what is wrong is named, with its line where TOML gives one."""

from pathlib import Path

import pytest

from support.devices import Fleet
from support.site import Site
from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.gateway import limits
from tallystick.gateway.config import load

ACME = Fleet("acme")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, ACME, 1883)


def changed(site: Site, old: str, new: str) -> Path:
    text = site.path.read_text()
    assert old in text
    site.path.write_text(text.replace(old, new))
    return site.path


def test_a_good_file(site: Site) -> None:
    config = load(site.path)
    assert config.name == "dock-north"
    assert config.roots == ACME.roots
    assert config.key == f"file:{site.folder / 'key'}"
    assert config.store == site.folder / "gateway.sqlite"
    assert config.broker.client_id == "tallystick-acme-dock-north"
    assert str(config.broker) == "mqtt://127.0.0.1:1883"
    assert config.parked_bytes_max == limits.PARKED_BYTES_MAX


def test_roots_may_stand_in_a_file(site: Site) -> None:
    other = Fleet("globex")
    (site.folder / "others.pub").write_text(f"# two lines\n{other.root_line}\n\n")
    changed(site, f'["{ACME.root_line}"]', f'["{ACME.root_line}", "others.pub"]')
    assert set(load(site.path).roots) == {"acme", "globex"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "dock-north"', "name = 3", "Expected `str`, got `int` - at `$.name`"),
        ('name = "dock-north"', 'name = "dock north"', "name: 1 to 64"),
        ('name = "dock-north"\n', 'nmae = "dock-north"\n', "`nmae` (line 2)"),
        ("[broker]", "[brokre]\n[broker]", "`brokre` (line 10)"),
        ("[broker]", "[broker]\ntimeout = 3", "`timeout` - at `$.broker` (line 11)"),
        ('fleet = "acme"', "fleet = acme", "line 3"),
        ('fleet = "acme"', 'fleet = "ACME"', "fleet: 1 to 20"),
        ('key = "file:key"', 'key = "key"', "key: a URI"),
        ('"credential.cbor"', '"absent.cbor"', "absent.cbor: No such file"),
        ('"credential.cbor"', '"key"', "no credential"),
        ("mqtt://127.0.0.1:1883", "http://127.0.0.1", "broker.url"),
        ("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:99999", "broker.url"),
        ("mqtt://127.0.0.1:1883", "mqtt://user:secret@127.0.0.1", "broker.url"),
        ("[broker]", '[broker]\nprefix = "a/+/b"', "broker.prefix"),
        ("[broker]", '[broker]\ncert = "c.pem"', "both or neither"),
        ("[broker]", '[broker]\nca = "c.pem"', "need an mqtts:// url"),
        ("[broker]", '[broker]\npassword_file = "p"', "needs broker.username"),
        ("[broker]", "[limits]\nparked_bytes_max = 5\n[broker]", "limits.parked_bytes_max"),
        ("[broker]", "[limits]\nretry_s_max = 0.0\n[broker]", "limits.retry_s_max"),
        ("[broker]", "[limits]\nverify_workers = -1\n[broker]", "limits.verify_workers: 0 to 64"),
        ("[broker]", "[limits]\nverify_workers = 65\n[broker]", "limits.verify_workers: 0 to 64"),
    ],
)
def test_what_is_wrong_is_named(site: Site, old: str, new: str, says: str) -> None:
    with pytest.raises(Malformed) as raised:
        load(changed(site, old, new))
    assert says in raised.value.message
    assert str(site.path) in raised.value.message
    assert "secret" not in raised.value.message


VALIDATOR = '\n[[validators]]\nname = "v"\nurl = "{url}"\n{more}\n'


@pytest.mark.parametrize(
    ("url", "more", "says"),
    [
        ("http://127.0.0.1:1", "", "either key"),
        ("http://127.0.0.1:1", 'key = "x"\ncredential = "credential.cbor"', "either key"),
        ("http://127.0.0.1:1", 'key = "x"', "a root's line"),
        ("ftp://127.0.0.1:1", 'credential = "credential.cbor"', "validators.v.url"),
        ("http://me:secret@127.0.0.1", 'credential = "credential.cbor"', "no user or password"),
        ("http://127.0.0.1", 'credential = "credential.cbor"\nsend = "all"', "send"),
    ],
)
def test_validators_are_checked(site: Site, url: str, more: str, says: str) -> None:
    site.path.write_text(site.path.read_text() + VALIDATOR.format(url=url, more=more))
    with pytest.raises(Malformed) as raised:
        load(site.path)
    assert says in raised.value.message
    assert "secret" not in raised.value.message


def test_two_validators_may_not_share_a_name(site: Site) -> None:
    one = VALIDATOR.format(url="http://127.0.0.1", more=f'key = "{ACME.root_line}"')
    site.path.write_text(site.path.read_text() + one + one)
    with pytest.raises(Malformed, match="same name"):
        load(site.path)


def test_no_roots_and_two_keys_of_one_root_are_refused(site: Site) -> None:
    other = Fleet("acme", alg=-7)
    line = ACME.root_line
    changed(site, f'["{line}"]', f'["{line}", "{other.root_line}"]')
    with pytest.raises(Malformed, match="two keys"):
        load(site.path)
    changed(site, f'["{line}", "{other.root_line}"]', "[]")
    with pytest.raises(Malformed, match="at least one"):
        load(site.path)


def test_a_file_that_is_too_long_or_missing(site: Site) -> None:
    with pytest.raises(Malformed, match="No such file"):
        load(site.folder / "absent.toml")
    site.path.write_bytes(b"#" * (limits.CONFIG_BYTES_MAX + 1))
    with pytest.raises(Malformed, match="over 1 MiB"):
        load(site.path)


def test_a_credential_file_is_bounded(site: Site) -> None:
    (site.folder / "credential.cbor").write_bytes(cbor.encode([bytes(limits.CREDENTIAL_BYTES_MAX)]))
    with pytest.raises(Malformed, match="too long"):
        load(site.path)
