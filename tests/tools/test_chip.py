"""`tally chip`: what it makes, shows and refuses (tests/hw/test_atecc608_tcp.py serves one)."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.wire608 import ready_eeprom
from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.virtual_atecc608 import ChipFile
from tallystick.tools.chip import chip


def run(*args: "str | Path") -> str:
    done = CliRunner().invoke(chip, [str(one) for one in args], catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_new_chip_is_made_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "robot.chip"
    said = run("new", path, "--divider", "2", "--serial", "0a0b0c0d0e0f")
    assert f"atecc608:virtual={path}" in said
    assert "protects nothing" in said
    shown = run("show", path)
    assert "01230a0b0c0d0e0fee" in shown
    assert re.search(r"clock divider +2\n", shown)
    assert re.search(r"configuration +open\n", shown)
    with pytest.raises(KeyDriverError, match="never replaced"):
        run("new", path)


def test_no_key_is_ever_shown(tmp_path: Path) -> None:
    eeprom = ready_eeprom()
    eeprom.put_counter(1, 77)
    ChipFile(str(tmp_path / "robot.chip"), eeprom).close()
    shown = run("show", tmp_path / "robot.chip")
    assert re.search(r"private keys +0\n", shown)
    assert re.search(r"counters +0 77\n", shown)
    secret = eeprom.slot(0)[4:36].hex()
    assert secret not in shown
    assert secret[:16] not in shown


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("new", "x.chip", "--serial", "0a"), "12 hexadecimal digits"),
        (("new", "x.chip", "--serial", "zz0b0c0d0e0f"), "12 hexadecimal digits"),
        (("new", "x.chip", "--divider", "3"), "'3' is not one of"),
        (("serve", "--state", "x.chip", "--listen", "7608"), "HOST:PORT"),
        (("serve", "--state", "x.chip", "--listen", "127.0.0.1:99999"), "HOST:PORT"),
        (("serve",), "--state"),
    ],
)
def test_used_wrongly(
    args: "tuple[str, ...]", said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in run(*args)
    assert list(tmp_path.iterdir()) == []


def test_serving_refuses_before_it_makes_a_chip(tmp_path: Path) -> None:
    path = tmp_path / "robot.chip"
    with pytest.raises(KeyDriverError, match="no fault is called"):
        run("serve", "--state", path, "--fault", "fire")
    assert not path.exists()
    run("new", path, "--divider", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(KeyDriverError, match=f"cannot listen at {place}: Address already"):
            run("serve", "--state", path, "--listen", place)
    with pytest.raises(KeyDriverError, match="clock divider 1"):
        run("serve", "--state", path, "--divider", "0", "--listen", "127.0.0.1:0")


def test_a_device_s_driver_does_not_load_the_chip() -> None:
    """The chip imports libraries that a board has not, and much of its heap's worth of code."""
    code = (
        "import sys, tallystick.hw.atecc608_tcp, tallystick.hw.atecc608, "
        "tallystick.hw.atecc608_open; "
        "print([name for name in sys.modules if 'virtual' in name or 'cryptoauthlib' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_of_the_product_imports_the_makers_client() -> None:
    """Its licence allows use with that maker's parts alone: it is for tests."""
    top = Path(__file__).parent.parent.parent
    naming = [
        str(path.relative_to(top))
        for part in ("firmware", "gateway", "hw", "validator", "tools")
        for path in (top / part).rglob("*.py")
        if "cryptoauthlib" in path.read_text()
    ]
    assert naming == []
