"""`tally library`: what a board's /lib holds, and a program that runs with it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.station import Fleet
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.tools import device_library
from tallystick.tools.library import library
from tallystick.tools.micropython import MicroPython

EMPTY = Path(__file__).parents[2] / "firmware" / "tallystick" / "evidence" / "__init__.py"
GRIP = Path(__file__).parents[2] / "firmware" / "examples" / "grip.py"


def run(*args: "str | Path") -> tuple[int, str]:
    done = CliRunner().invoke(library, [str(one) for one in args])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_the_folder_holds_what_a_board_needs_and_nothing_older(tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    code, said = run(folder)
    assert code == 0 and "a board's /lib" in said
    held = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"tallystick/recorder/files.mpy", "tallystick/hw/atecc608.mpy"} <= held
    assert "umqtt/simple.mpy" in held
    assert all(name.endswith((".mpy", "package.json")) for name in held)
    old = folder / "tallystick" / "recorder" / "of_an_older_version.mpy"
    old.write_bytes(b"")
    run(folder)
    assert not old.exists()


def test_it_is_compiled_for_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    honest = device_library._compile

    def noted(command: list[str], source: bytes, place: str, target: Path) -> None:
        asked.append(command)
        honest(command, source, place, target)

    monkeypatch.setattr(device_library, "_compile", noted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(device_library, "micropython_lib", lambda **_: tmp_path / "empty")
    monkeypatch.setattr(
        device_library, "sources", lambda *_: {"tallystick/recorder/__init__.py": EMPTY}
    )
    for name, arch in (("raspberry-pi-pico-w", "armv6m"), ("esp32-s3", "xtensawin")):
        asked.clear()
        assert run("--board", name, tmp_path / name)[0] == 0
        assert asked and all(f"-march={arch}" in command for command in asked)
    with pytest.raises(Malformed, match="runs CPython"):
        run("--board", "linux", tmp_path / "linux")
    with pytest.raises(KeyDriverError, match="raspberry-pi-pico-w"):
        run("--board", "toaster", tmp_path / "toaster")


def test_an_option_behind_the_folder_is_no_program(tmp_path: Path) -> None:
    code, said = run(tmp_path / "lib", "--url", "http://10.0.0.5:8000")
    assert code == 2 and "options come before FOLDER" in said
    assert not (tmp_path / "lib").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "tallystick" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(Malformed, match="holds something else"):
        run(tmp_path)
    assert mine.read_text() == "mine"


def test_a_program_runs_with_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    micropython32: MicroPython,
) -> None:
    assert micropython32.bits == 32
    config = Fleet(tmp_path / "fleet").device("one")
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    code, _ = run("--bits", "32", "lib", GRIP)
    out, err = capfd.readouterr()
    assert (code, out.splitlines()[-1]) == (0, "12 records, 0 dropped"), err
    (tmp_path / "fails.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(3)\n")
    code, _ = run("--bits", "32", "lib", "fails.py", "--run", "--bits")
    assert (code, capfd.readouterr().out) == (3, "['--run', '--bits']\n")
