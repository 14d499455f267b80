"""`mip`, MicroPython's own and mpremote's, installs the device library from a folder."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from click.testing import CliRunner
from mpremote import mip

from support.station import Fleet
from tallystick.tools import device_library, mip_package
from tallystick.tools.library import library
from tallystick.tools.micropython import MicroPython

TOP = Path(__file__).parents[2]
USE = """
import json
from tallystick.recorder import Recorder
tally = Recorder.open(json.load(open("tallystick.json")), background=False)
tally.decision("m@1", {"n": 1})
assert tally.flush()
tally.close()
print(tally.health.records, tally.health.dropped)
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def served(folder: Path) -> Iterator[str]:
    """The folder on loopback; the address of its package.json's folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def compiled(folder: Path, *options: str) -> Path:
    done = CliRunner().invoke(library, [*options, str(folder)])
    assert done.exit_code == 0, done.output
    return folder


class Board:
    """The calls of mpremote's transport that its mip makes, on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def fs_exists(self, path: str) -> bool:
        return (self.folder / path).exists()

    def fs_mkdir(self, path: str) -> None:
        (self.folder / path).mkdir()

    def fs_writefile(self, path: str, data: bytes, progress_callback: Any = None) -> None:
        (self.folder / path).write_bytes(data)


def check(board: Path, package: Path, interpreter: MicroPython) -> None:
    """It has the package's files and no others, and records with them."""
    files = {path.relative_to(board / "lib").as_posix() for path in board.glob("lib/**/*.*")}
    urls = json.loads((package / mip_package.NAME).read_text())["urls"]
    assert files == {target for target, _ in urls} and len(files) > 50
    config = Fleet(board / "fleet").device("one")
    (board / "tallystick.json").write_text(json.dumps(config))
    used = interpreter.run("-c", USE, cwd=board, path=[board / "lib"])
    assert used.stdout == "3 0\n", used.stdout + used.stderr


def test_the_repository_s_package_is_that_of_its_files() -> None:
    check = [sys.executable, str(TOP / "scripts/device-package"), "--check"]
    assert subprocess.run(check, check=False).returncode == 0
    package = json.loads((TOP / "package.json").read_text())
    assert set(package) == {"version", "urls"}
    targets = [target for target, _ in package["urls"]]
    assert targets == sorted(device_library.sources())
    for target, url in package["urls"]:
        # Nothing but what lies beside it, and nobody's server.
        assert re.fullmatch(r"(firmware|hw)/tallystick/[A-Za-z0-9_/]+\.(py|toml)", url), url
        assert url.endswith(target) and (TOP / url).is_file()


def test_mpremote_installs_the_repository_from_a_server(
    tmp_path: Path, micropython64: MicroPython
) -> None:
    board = Board(tmp_path / "board")
    for address in served(TOP):
        mip._install_package(board, address, "", "lib", None, True)
    check(board.folder, TOP, micropython64)


def test_mpremote_installs_the_compiled_library_from_a_folder(
    tmp_path: Path, micropython64: MicroPython
) -> None:
    lib = compiled(tmp_path / "library")
    board = Board(tmp_path / "board")
    mip._install_package(board, str(lib / mip_package.NAME), "", "lib", None, True)
    check(board.folder, lib, micropython64)


def test_a_board_installs_the_compiled_library_with_its_own_mip(
    tmp_path: Path, micropython64: MicroPython
) -> None:
    (tmp_path / "library").mkdir()
    board = Board(tmp_path / "board").folder
    for address in served(tmp_path / "library"):
        # Debian's MicroPython brings mip 0.3, which takes no relative addresses.
        lib = compiled(tmp_path / "library", "--url", address)
        done = micropython64.run(
            "-c", f"import mip; mip.install({address!r}, target='lib')", cwd=board
        )
        assert done.stdout.rstrip().endswith("Done"), done.stdout[-300:] + done.stderr
        check(board, lib, micropython64)
