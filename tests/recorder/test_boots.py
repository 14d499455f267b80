"""What the log says of a boot: why, of what, and what is not as it was at the last one."""

import json
import os
import shutil
import subprocess
import sys
import types
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from recorder.test_faults import events
from support.station import Fleet
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder, booting, measuring
from tallystick.recorder.files import Files
from tallystick.tools import device_library
from tallystick.tools.micropython import find

PACKAGES = ("evidence", "hw", "recorder")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return Fleet(tmp_path / "fleet").device("one")


def boot(config: dict[str, Any], **more: Any) -> tuple[dict[str, Any], Files]:
    """Open, close, and what the newest `boot` event says."""
    tally = Recorder.open(config, background=False, **more)
    tally.close()
    files = Files(config["journal"])
    return events(files, "boot")[-1], files


def system_starts(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> None:
    """Another start of Linux, as the kernel tells it."""
    (folder / "boot_id").write_text(name + "\n")
    monkeypatch.setattr(booting, "BOOT_ID", str(folder / "boot_id").encode())


def test_a_boot_says_what_runs_on_what_with_which_key(config: dict[str, Any]) -> None:
    told, files = boot(config)
    assert told["boot"] == 1 and told["cause"] == "start"
    version = ".".join(map(str, sys.version_info[:3]))
    assert told["runtime"] == ["cpython", version, f"linux {os.uname().machine}"]
    assert told["key"] == ["file", "software"]
    assert told["firmware"] == measuring.measure() is not None
    assert events(files, "key") == events(files, "config") == []


def test_linux_tells_a_start_of_the_system_from_one_of_the_program(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    causes = []
    for name in ("monday", "monday", "tuesday", "tuesday", "wednesday"):
        system_starts(monkeypatch, tmp_path, name)
        causes.append(boot(config)[0]["cause"])
    assert causes == ["start", "restart", "system-start", "restart", "system-start"]
    monkeypatch.setattr(booting, "BOOT_ID", b"/nowhere")
    assert [boot(config)[0]["cause"] for _ in range(2)] == ["start", "start"]


@pytest.mark.parametrize(
    ("constant", "said"),
    [
        ("PWRON_RESET", "power-on"),
        ("HARD_RESET", "hard-reset"),
        ("WDT_RESET", "watchdog"),
        ("DEEPSLEEP_RESET", "deep-sleep"),
        ("SOFT_RESET", "soft-reset"),
        ("", "start"),
    ],
)
def test_a_board_says_why_it_began(
    constant: str, said: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Raspberry Pi's chips have two of these constants (ports/rp2/modmachine.c); ESP32 has all.
    board = types.ModuleType("machine")
    board.reset_cause = lambda: 3  # type: ignore[attr-defined]  # as MicroPython has it
    board.PWRON_RESET = 1  # type: ignore[attr-defined]  # a number of another cause
    if constant:
        setattr(board, constant, 3)
    monkeypatch.setitem(sys.modules, "machine", board)
    assert boot(config)[0]["cause"] == said


def test_other_settings_are_told_once(config: dict[str, Any]) -> None:
    first, _ = boot(config)
    second, files = boot({**config, "resend_s": 7})
    assert second["config"] != first["config"]
    assert events(files, "config") == [{"digest": second["config"], "previous": first["config"]}]
    boot({**config, "resend_s": 7})
    assert len(events(files, "config")) == 1
    boot(config)
    assert events(files, "config")[1] == {"digest": first["config"], "previous": second["config"]}


def test_settings_are_the_same_from_wherever_their_file_is_named(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(config["credential"]).parent
    named = {**config, "journal": "journal", "key": "file:key", "credential": "credential.cbor"}
    (folder / "tallystick.json").write_text(json.dumps({**named, "profiles": "profiles"}))
    monkeypatch.chdir(folder)
    told = []
    for path in (str(folder / "tallystick.json"), "tallystick.json", "./tallystick.json"):
        Recorder.open(path, background=False).close()
        told.append(events(Files(str(folder / "journal")), "boot")[-1]["config"])
    assert len(set(told)) == 1
    assert events(Files(str(folder / "journal")), "config") == []


def test_another_driver_of_the_key_is_told_once(config: dict[str, Any]) -> None:
    boot(config)
    signer = Signer.from_uri(config["key"])
    told, files = boot(config, signer=signer)
    assert told["key"] == ["program", "software"]
    thumbprint = signer.public_key().thumbprint()
    expected = {"thumbprint": thumbprint, "driver": "program", "custody": "software"}
    assert events(files, "key") == [expected]
    boot(config, signer=Signer.from_uri(config["key"]))
    assert len(events(files, "key")) == 1


@pytest.mark.parametrize("left", [b"", b"00 11", b"g" * 600, b"\xff\xfe"])
def test_a_torn_note_of_the_last_boot_tells_nothing(config: dict[str, Any], left: bytes) -> None:
    boot(config)
    note = Path(config["journal"]) / "about"
    whole = note.read_bytes()
    note.write_bytes(left)
    config["resend_s"] = 7
    told, files = boot(config)
    assert told["cause"] == "start" and events(files, "config") == []
    assert note.read_bytes() != whole and note.read_bytes().count(b" ") == 4


def test_a_flash_that_takes_no_note_is_a_fault_and_no_more(config: dict[str, Any]) -> None:
    class Stubborn(Files):
        def write(self, handle: BinaryIO, data: bytes) -> None:
            if b" file software " in data and data.endswith(b"\n"):
                raise OSError(28, "no space")
            super().write(handle, data)

    tally = Recorder.open(config, files=Stubborn(config["journal"]), background=False)
    assert tally.health.faults == {"flash:write": 1}
    tally.decision("m@1", {})
    assert tally.flush()
    tally.close()


# The firmware digest.


def lines(files: dict[str, bytes], folder: Path) -> str:
    """What the program sha256sum says of these, name to content."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    names = sorted(files, key=str.encode)
    said = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, check=True)
    return said.stdout.decode()


def test_the_firmware_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    top = Path(__file__).parents[2]
    library = {}
    for package in PACKAGES:
        (folder,) = top.glob(f"*/tallystick/{package}")
        for path in folder.rglob("*.py"):
            library[f"{package}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    listed = lines(library, tmp_path / "library")
    # A worker of a parallel run has no file.
    given = getattr(sys.modules["__main__"], "__file__", None)
    program = Path(given or sys.executable)
    text = f"{sha256(listed.encode()).hexdigest()}  tallystick\n"
    if program.parent != Path(sys.executable).parent:
        text += f"{sha256(program.read_bytes()).hexdigest()}  {program.name}\n"
    ordered = sorted(text.splitlines(keepends=True), key=lambda line: line.split("  ")[1].encode())
    assert measuring.measure() == sha256("".join(ordered).encode()).digest()


def test_another_program_is_another_firmware(tmp_path: Path, config: dict[str, Any]) -> None:
    told = []
    for name, more in (("robot.py", ""), ("robot.py", "# another line\n"), ("other.py", "")):
        program = tmp_path / name
        program.write_text("from tallystick.recorder import measuring\n" + more)
        program.write_text(program.read_text() + "print(measuring.measure().hex())\n")
        run = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
        told.append(run.stdout)
    assert len(set(told)) == 3
    # Where it is configured, that is what counts.
    config["firmware"] = "ab" * 32
    assert boot(config)[0]["firmware"] == b"\xab" * 32


def test_a_board_tells_what_flash_left_beside_the_library(tmp_path: Path) -> None:
    for place, source in device_library.sources().items():
        target = tmp_path / "lib" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    program = tmp_path / "main.py"
    ask = (
        "from tallystick.recorder import booting as b\n"
        f"b.PROGRAM = {str(program).encode()!r}\n"
        "print(b._firmware(None), b._firmware(bytes(32)) == bytes(32))\n"
        "print(b._runtime())\n"
    )

    def said() -> tuple[str, str]:
        done = find(64).run("-c", ask, path=[tmp_path / "lib"])
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        return first, second

    assert said()[0] == "None True"
    library = sha256(b"a manifest").hexdigest()
    (tmp_path / "lib/tallystick/firmware.txt").write_text(library + "\n")
    alone = f"{library}  tallystick\n"
    assert said()[0] == f"{sha256(alone.encode()).digest()!r} True"
    program.write_text("print('robot')\n" * 100)
    line = f"{sha256(program.read_bytes()).hexdigest()}  {str(program)[1:]}\n"
    assert said()[0] == f"{sha256((line + alone).encode()).digest()!r} True"
    runtime = said()[1]
    assert runtime.startswith("['micropython', '1.") and "linux" in runtime
    (tmp_path / "lib/tallystick/firmware.txt").write_text("short")
    assert said()[0] == "None True"
