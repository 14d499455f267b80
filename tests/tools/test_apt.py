"""The machine's own apt sources, in both formats, give the archive to unpack from."""

from pathlib import Path

import pytest

from tallystick.tools import _apt, micropython
from tallystick.tools._cache import ToolMissing

DEB822 = """\
# the system's own
Types: deb
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/own.gpg

Types: deb deb-src
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""
THIRD_PARTY = """\
Types: deb
URIs: http://node.example/node
Suites: nodistro
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----
"""
ONE_LINE = """\
# deb http://old.example/debian bookworm main
deb cdrom:[Debian]/ bookworm main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/own.gpg] http://one.example/debian bookworm main contrib # ours
"""
DEBIAN = 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_CODENAME=bookworm\n'


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "os-release").write_text(DEBIAN)
    return tmp_path


def archive(machine: Path) -> _apt.AptSource:
    return _apt.debian_archive(machine, machine / "os-release")


def test_deb822(machine: Path) -> None:
    (machine / "sources.list.d" / "a.sources").write_text(THIRD_PARTY)
    (machine / "sources.list.d" / "debian.sources").write_text(DEB822)
    found = archive(machine)
    assert found.uri == "http://mirror.example/debian"
    assert found.suites == ("bookworm", "bookworm-updates")
    assert found.signed_by == "/usr/share/keyrings/own.gpg"


def test_one_line(machine: Path) -> None:
    (machine / "sources.list").write_text(ONE_LINE)
    found = archive(machine)
    assert found.uri == "http://one.example/debian"
    assert found.components == ("main", "contrib")
    assert found.signed_by == "/etc/own.gpg"


def test_a_disabled_archive_is_none(machine: Path) -> None:
    text = DEB822.replace("Types: deb\n", "Types: deb\nEnabled: no\n", 1)
    (machine / "sources.list.d" / "debian.sources").write_text(text)
    with pytest.raises(ToolMissing, match="no archive of Debian bookworm"):
        archive(machine)


def test_another_system_is_told_so(machine: Path) -> None:
    (machine / "os-release").write_text('NAME="Ubuntu"\nID=ubuntu\nVERSION_CODENAME=noble\n')
    with pytest.raises(ToolMissing, match="Ubuntu has no Debian archive"):
        archive(machine)


def test_no_micropython_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an archive, and with an installed MicroPython that is none, one sentence helps."""
    fake = tmp_path / "micropython"
    fake.write_text("#!/bin/sh\necho 1 9 64\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ToolMissing, match=r"no apt-get .*apt install micropython"):
        micropython.find(64)
    with pytest.raises(ToolMissing, match="32-bit build comes from Debian"):
        micropython.find(32)


def test_an_installed_micropython_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "micropython"
    real = micropython.find(64)
    words = " ".join(f"'{word}'" for word in real.command)
    installed.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert micropython.find(64).command == (str(installed),)
    assert micropython.find(32).command != (str(installed),)
