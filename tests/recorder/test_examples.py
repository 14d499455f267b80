"""The examples run, on both interpreters."""

import json
import subprocess
import sys
from pathlib import Path

from support.station import Fleet, read_credential
from tallystick.evidence import enrolment
from tallystick.evidence.keys import device_text
from tallystick.tools.micropython import MicroPython

EXAMPLES = Path(__file__).parents[2] / "firmware" / "examples"


def test_grip_on_cpython(tmp_path: Path) -> None:
    config = Fleet(tmp_path / "fleet").device("one")
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "grip.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "12 records, 0 dropped", done.stderr


def test_grip_on_micropython(
    tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    config = Fleet(tmp_path / "fleet").device("one")
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    done = micropython32.run(str(EXAMPLES / "grip.py"), cwd=tmp_path, path=[device_library])
    assert done.stdout.splitlines()[-1] == "12 records, 0 dropped", done.stderr


def test_patrol_with_asyncio(
    tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    fleet = Fleet(tmp_path / "fleet")
    script = str(EXAMPLES / "patrol.py")
    paths = [tmp_path / f"{name}.json" for name in ("one", "two")]
    for path in paths:
        path.write_text(json.dumps(fleet.device(path.stem)))
    done = subprocess.run(
        [sys.executable, script, str(paths[0])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = "9 records, signed: True others ran: True\n"
    assert done.stdout == expected, done.stderr
    there = micropython32.run(script, str(paths[1]), path=[device_library])
    assert there.stdout == expected, there.stderr


def test_a_handover_between_two_interpreters(
    tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    fleet = Fleet(tmp_path / "fleet")
    ids = {}
    for name in ("giver", "receiver"):
        config = fleet.device(name)
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
        ids[name] = device_text(enrolment.parse(read_credential(config)[0]).id)
    script = str(EXAMPLES / "handover.py")
    giver = subprocess.Popen(
        [sys.executable, script, "giver", str(tmp_path / "giver.json"), ids["receiver"], tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    )
    receiver = micropython64.run(
        script,
        "receiver",
        str(tmp_path / "receiver.json"),
        ids["giver"],
        str(tmp_path),
        path=[device_library],
    )
    said, _ = giver.communicate(timeout=60)
    assert receiver.stdout == "accepted a claim of giver\n", receiver.stderr
    assert said == "accepted a claim of receiver\n"
