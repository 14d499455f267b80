"""The gateway's Containerfile, as far as it can be followed without a container: nothing is pulled.

What it copies is copied, what it installs is built from that alone, and what it runs is there.
"""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hw.test_httpdoor import BOUNDS
from support.authority import Authority
from tallystick.hw.httpdoor import HttpDoor
from tallystick.tools.main import cli

TOP = Path(__file__).parents[2]
FILE = TOP / "gateway" / "Containerfile"


def lines() -> list[str]:
    """Its instructions, one a line."""
    text = FILE.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def copied(to: Path) -> None:
    for line in lines():
        words = line.split()
        if words[0] != "COPY" or words[1].startswith("--from"):
            continue
        target = to / words[-1].removeprefix("/src").strip("/")
        for source in words[1:-1]:
            if (TOP / source).is_dir():
                shutil.copytree(TOP / source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(TOP / source, target)


def test_what_it_copies_is_enough_to_build(tmp_path: Path) -> None:
    copied(tmp_path / "src")
    command = [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(tmp_path / "src")], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"tallystick/gateway/service.py", "tallystick/tools/main.py"} <= set(names)


def test_what_it_runs_is_there_and_not_as_root() -> None:
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines()}
    program = json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"])
    assert program[0].endswith("/tally")
    group = cli.get_command(None, program[1])  # type: ignore[arg-type]
    known = group.commands[program[2]]  # type: ignore[union-attr]
    assert program[3] in {option for one in known.params for option in one.opts}
    assert found["USER"] == "tally-gateway"
    assert re.search(r"^HEALTHCHECK .*/healthz", "\n".join(lines()), re.MULTILINE)
    assert json.loads(found["HEALTHCHECK"].split("CMD", 1)[1])[0].endswith("/python")
    # No host of images or packages is named.
    assert all("/" not in line.split()[1] for line in lines() if line.startswith("FROM"))
    assert "gateway/Containerfile" in (TOP / "docs/operations.md").read_text()


async def answers(scope: Any, _receive: Any, send: Any) -> None:
    status = 200 if scope["path"] == "/healthz" else 404
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def is_ill(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 503, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(("app", "healthy"), [(answers, True), (is_ill, False)])
def test_it_asks_its_page_whether_it_lives(
    tmp_path: Path, app: Any, healthy: bool, tls: bool
) -> None:
    files = Authority(tmp_path).server() if tls else ()
    door = HttpDoor(BOUNDS, "page", *files)
    door.listen("127.0.0.1", 0)
    door.serve(app)
    try:
        check = next(line for line in lines() if line.startswith("HEALTHCHECK"))
        _, flag, code = json.loads(check.split("CMD", 1)[1])
        words = [sys.executable, flag, code.replace("8472", door.url.rpartition(":")[2])]
        done = subprocess.run(words, capture_output=True, timeout=90, check=False)
        assert (done.returncode == 0) == healthy, done.stderr
    finally:
        door.stop()
