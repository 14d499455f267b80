"""Debian packages unpacked into a folder, without root and without changing the system.

apt runs with a private root: its own package lists, cache and sources. What it verifies it verifies
as always: the archive's signature with the key on this machine, the packages by their hashes.
The archive is the one that the machine's own apt sources name; none is written here.
"""

import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tallystick.tools._cache import ToolMissing

APT_TIMEOUT_S = 300
ETC_APT = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
OS_RELEASE = Path("/etc/os-release")


@dataclass(frozen=True)
class AptSource:
    """One archive of the machine's apt sources."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None


def read_sources(etc_apt: Path = ETC_APT) -> list[AptSource]:
    """All binary archives that apt on this machine would use, in both formats (sources.list(5))."""
    found: list[AptSource] = []
    one_line = [etc_apt / "sources.list", *sorted(etc_apt.glob("sources.list.d/*.list"))]
    for path in one_line:
        if path.is_file():
            found += _one_line_sources(path.read_text(errors="replace"))
    for path in sorted(etc_apt.glob("sources.list.d/*.sources")):
        found += _deb822_sources(path.read_text(errors="replace"))
    return found


def _one_line_sources(text: str) -> Iterator[AptSource]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>[^#]+)", line.strip())
        words = match["rest"].split() if match else []
        if match is None or len(words) < 2:
            continue
        signed_by = re.search(r"signed-by=(\S+)", match["options"] or "", re.IGNORECASE)
        yield AptSource(
            words[0], (words[1],), tuple(words[2:]), signed_by[1] if signed_by else None
        )


def _deb822_sources(text: str) -> Iterator[AptSource]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for paragraph in re.split(r"\n[ \t]*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] in {" ", "\t"}:
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        signed_by = fields.get("signed-by")
        # A key written out in the file itself is no path that another source could name.
        key_file = signed_by if signed_by and signed_by.startswith("/") else None
        for uri in fields.get("uris", "").split():
            suites = tuple(fields.get("suites", "").split())
            yield AptSource(uri, suites, tuple(fields.get("components", "").split()), key_file)


def debian_archive(etc_apt: Path = ETC_APT, os_release: Path = OS_RELEASE) -> AptSource:
    """The archive that this Debian machine itself was installed from.

    :raises ToolMissing: no Debian, or no such archive in its apt sources.
    """
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', os_release.read_text(), re.MULTILINE))
    codename = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian":
        name = release.get("NAME", "this system")
        raise ToolMissing("no-debian-archive", f"{name} has no Debian archive in its apt sources")
    for source in read_sources(etc_apt):
        fetched = not source.uri.startswith(("cdrom:", "file:", "copy:"))
        own = {codename, "stable", "testing", "sid", "unstable"} & set(source.suites)
        if fetched and own and "main" in source.components:
            return source
    message = f"no archive of Debian {codename} in the apt sources under {etc_apt}"
    raise ToolMissing("no-debian-archive", message)


def unpack(suite: str, arch: str, packages: tuple[str, ...], folder: Path) -> None:
    """Download `packages` of Debian's `suite` for `arch` and unpack them into `folder`.

    :raises ToolMissing: in one sentence, what apt said.
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ToolMissing("no-apt", f"there is no {program} on this machine")
    archive = debian_archive()
    with tempfile.TemporaryDirectory(prefix="tallystick-apt.") as name:
        private = Path(name)
        (private / "lists" / "partial").mkdir(parents=True)
        (private / "cache" / "archives" / "partial").mkdir(parents=True)
        key = archive.signed_by or (str(KEYRING) if KEYRING.is_file() else None)
        signed_by = f"[signed-by={key}] " if key else ""
        sources = private / "sources.list"
        sources.write_text(f"deb {signed_by}{archive.uri} {suite} main\n")
        options = {
            "APT::Architecture": arch,
            "APT::Architectures": arch,
            # apt gives up root for its downloads; its own user may not write into our folder.
            "APT::Sandbox::User": getpass.getuser() if os.getuid() else "root",
            "Dir::Etc::sourcelist": str(sources),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": str(private / "lists"),
            "Dir::Cache": str(private / "cache"),
            "Acquire::Languages": "none",
        }
        apt = ["apt-get", "-qq", *(f"-o{option}={value}" for option, value in options.items())]
        _run([*apt, "update"], private)
        _run([*apt, "download", *packages], private)
        for package in sorted(private.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(folder)], private)


def _run(command: list[str], folder: Path) -> None:
    step = " ".join(word for word in command if not word.startswith("-"))
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        message = f"`{step}` did not end within {APT_TIMEOUT_S} s; try again when the network is up"
        raise ToolMissing("apt-timeout", message) from None
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "")
        raise ToolMissing("apt-failed", f"`{step}` failed: {said or f'code {done.returncode}'}")
