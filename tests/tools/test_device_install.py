"""The library onto a board: verified, resumed, never a mixture, whatever ends it in the middle."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.emulated_device import EmulatedDevice, quick_cables
from tallystick.evidence.errors import TransportError
from tallystick.tools import device_library
from tallystick.tools.device import board, install
from tallystick.tools.device.board import LIBRARY
from tallystick.tools.device.connection import Connection, Full
from tallystick.tools.device.manifest import Library, library
from tallystick.tools.micropython import MicroPython

__all__ = ["quick_cables"]

pytestmark = pytest.mark.usefixtures("quick_cables")

# All 137 places of a cut hold; every fifth one is enough for each run.
STEP = 5
MODULES = ("__init__", "a/__init__", "a/one", "a/two", "b")
MIXED = (
    "import tallystick, tallystick.a.one as one, tallystick.a.two as two, tallystick.b as b\n"
    "print(tallystick.V, one.V, two.V, b.V)"
)


def made(tmp_path: Path, version: int, *, same: tuple[str, ...] = ("a/__init__",)) -> Library:
    """A small library, all modules of which say their version; `same`: in every version."""
    sources = {}
    for name in MODULES:
        path = tmp_path / f"v{version}" / "tallystick" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        number = 0 if name in same else version
        path.write_text(f"V = {number}\nTEXT = b'{str(number) * 700}'\n")
        sources[f"tallystick/{name}.py"] = path
    folder = device_library.compiled("small-library", sources) / "tallystick"
    modules = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.mpy")
    }
    return library(modules, {"/lib/umqtt/simple.mpy": b"M\x06\x00\x1f" + bytes([version]) * 90})


def put(device: EmulatedDevice, wanted: Library) -> install.Plan:
    with Connection(device.port) as connection:
        plan = install.plan(connection, board.check(connection, None), wanted)
        install.install(connection, plan)
    return plan


def on_board(device: EmulatedDevice) -> dict[str, bytes]:
    """What can be imported as the library."""
    prefix = LIBRARY + "/"
    return {
        path[len(prefix) :]: data
        for path, data in device.contents().items()
        if path.startswith(prefix) and not path.endswith("/")
    }


@pytest.fixture
def small(tmp_path: Path, micropython32: MicroPython) -> Iterator[EmulatedDevice]:
    """So little flash that it has no room for two libraries of these."""
    with EmulatedDevice(tmp_path / "flash.img", micropython32, blocks=66) as device:
        # An engineer's own data.
        device.power_off()
        device.load({"/data.bin": bytes(80_000)})
        device.power_on()
        yield device


@pytest.fixture
def device(tmp_path: Path, micropython64: MicroPython) -> Iterator[EmulatedDevice]:
    with EmulatedDevice(tmp_path / "flash.img", micropython64, blocks=128) as made:
        yield made


def test_what_is_there_is_not_written_again(device: EmulatedDevice, tmp_path: Path) -> None:
    first, second = made(tmp_path, 1), made(tmp_path, 2)
    assert len(put(device, first).write) == len(first.files)
    assert on_board(device) == first.files
    assert device.contents()["/lib/umqtt/simple.mpy"] == first.others["/lib/umqtt/simple.mpy"]
    assert put(device, first).done
    plan = put(device, second)
    # A module that is the same is copied on the board.
    assert plan.beside and plan.copy == ["a/__init__.mpy", "version.txt"]
    assert on_board(device) == second.files
    with Connection(device.port) as connection:
        assert connection.run(MIXED).split() == ["2", "2", "2", "2"]
        # Something that would be imported in place of a module of ours.
        connection.put(LIBRARY + "/b.py", b"V = 3\n")
        connection.put(LIBRARY + "/a/one.mpy", b"M\x06\x00\x1f")
    assert put(device, second).write == ["a/one.mpy"]
    assert on_board(device) == second.files


@pytest.mark.parametrize("beside", [True, False])
def test_a_power_cut_leaves_a_whole_library_or_none(
    beside: bool,
    device: EmulatedDevice,
    small: EmulatedDevice,
    tmp_path: Path,
) -> None:
    used = device if beside else small
    before, after = made(tmp_path, 1), made(tmp_path, 2)
    put(used, before)
    used.power_off()
    image = used.image.read_bytes()
    used.power_on()
    assert put(used, after).beside is beside
    used.wait("idle")
    operations = used.operations
    states = set()
    for cut_at in range(1, operations + 1, STEP):
        used.power_off()
        used.image.write_bytes(image)
        used.power_on(cut_at)
        with contextlib.suppress(TransportError):
            put(used, after)
        assert used.wait("off", "idle") == "off" and used.cut
        there = on_board(used)
        assert there in (before.files, after.files, {}), cut_at
        states.add("none" if not there else "old" if there == before.files else "new")
        used.power_on()
        put(used, after)
        assert on_board(used) == after.files
        assert not any(path.startswith((install.NEW, install.OLD)) for path in used.contents())
    assert states >= ({"old"} if beside else {"none"})


@pytest.mark.parametrize("beside", [True, False])
def test_what_another_version_left_goes(
    beside: bool, device: EmulatedDevice, small: EmulatedDevice, tmp_path: Path
) -> None:
    used = device if beside else small
    old = made(tmp_path, 1)
    old.files["a/of_old.mpy"] = old.files["b.mpy"]
    put(used, old)
    if beside:
        with Connection(used.port) as connection:
            connection.put(install.NEW + "/of_an_interrupted_one.mpy", b"M")
    new = made(tmp_path, 2)
    plan = put(used, new)
    assert plan.beside is beside
    assert ("of_an_interrupted_one.mpy" if beside else "a/of_old.mpy") in plan.remove
    assert on_board(used) == new.files


@pytest.mark.parametrize("count", [3_000, 8_000])
def test_a_cable_that_is_pulled_is_one_sentence_and_gone_on_with(
    count: int, device: EmulatedDevice, tmp_path: Path
) -> None:
    wanted = made(tmp_path, 1)
    device.unplug_after(count)
    with pytest.raises(TransportError) as caught:
        put(device, wanted)
    assert caught.value.reason == "unplugged" and "run this again" in str(caught.value)
    assert on_board(device) == {}
    device.plug()
    device.power_cycle()
    again = put(device, wanted)
    assert on_board(device) == wanted.files
    if count > 5_000:
        assert 0 < len(again.write) < len(wanted.files)


def test_a_full_flash_is_said_before_anything_is_written(
    small: EmulatedDevice, tmp_path: Path
) -> None:
    small.power_off()
    small.load({"/more.bin": bytes(100_000)})
    small.power_on()
    before = small.contents()
    with pytest.raises(Full, match=r"needs .* more than its .*nothing was changed"):
        put(small, made(tmp_path, 1))
    assert small.contents() == before


def test_a_flash_that_fills_meanwhile_keeps_the_old_library(
    device: EmulatedDevice, tmp_path: Path
) -> None:
    old = made(tmp_path, 1)
    put(device, old)
    with Connection(device.port) as connection:
        plan = install.plan(connection, board.check(connection, None), made(tmp_path, 2))
        # Somebody else's file takes all that is left.
        connection.run(
            "n = 0\ntry:\n while True:\n"
            "  with open('/%d' % n, 'wb') as file: file.write(bytes(4096))\n  n += 1\n"
            "except OSError: pass\n"
            "for k in range(n - 4, n + 1): os.remove('/%d' % k)"
        )
        with pytest.raises(Full, match="removed again"):
            install.install(connection, plan)
    assert on_board(device) == old.files
    assert not any(path.startswith(install.NEW) for path in device.contents())


# Of the helpers on the board: what is written lacks its end, or what is read.
SHORT_WRITE = (
    "def _write(path, mode, data):\n with open(path, mode) as file: file.write(_bin(data)[:-1])"
)
SHORT_READ = "def _read(path): print(_txt(open(path, 'rb').read()[:-1]).decode(), end='')"


def test_what_arrives_damaged_is_neither_used_nor_kept(
    device: EmulatedDevice, tmp_path: Path
) -> None:
    old = made(tmp_path, 1)
    put(device, old)
    with Connection(device.port) as connection:
        plan = install.plan(connection, board.check(connection, None), made(tmp_path, 2))
        plan.others = []
        connection.run(SHORT_WRITE)
        with pytest.raises(TransportError, match="not what the board reads"):
            install.install(connection, plan)
        with pytest.raises(TransportError, match="/x arrived damaged; nothing of it was kept"):
            connection.put("/x", b"data")
        connection.run(SHORT_READ)
        with pytest.raises(TransportError, match="was damaged on its way"):
            connection.get("/lib/tallystick/firmware.txt")
    assert on_board(device) == old.files
    assert not {"/x", "/x.new"} & set(device.contents())


def test_what_would_hide_the_library_is_named(device: EmulatedDevice, tmp_path: Path) -> None:
    wanted = made(tmp_path, 1)
    with Connection(device.port) as connection:
        connection.put("/lib/umqtt/simple.py", b"")
    with pytest.raises(TransportError, match=r"/lib/umqtt/simple\.py on the board would be"):
        put(device, wanted)
    assert on_board(device) == {}


def test_another_format_of_compiled_files_is_refused(
    device: EmulatedDevice, tmp_path: Path
) -> None:
    wanted = made(tmp_path, 1)
    wanted.files["b.mpy"] = b"M\x05" + wanted.files["b.mpy"][2:]
    with pytest.raises(TransportError, match="format 5, the board reads 6") as caught:
        put(device, wanted)
    assert caught.value.reason == "wrong-format"
    # Machine code of another architecture.
    wanted.files["b.mpy"] = b"M\x06\x1c" + wanted.files["b.mpy"][3:]
    with pytest.raises(TransportError, match="cannot read the library's compiled files"):
        put(device, wanted)
    assert on_board(device) == {}
