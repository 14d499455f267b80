"""A02: an image put back beside a real TPM's counter, and beside a chip on a real MicroPython."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.counting_robot import live
from support import swtpm
from support.chips608 import key_on, our_chip
from support.station import Fleet
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608.server import serving
from tallystick.tools.micropython import MicroPython
from tallystick.tools.swtpm import Swtpm

HERE = Path(__file__).parent
DEVICE_TESTS = HERE.parent / "device"

Life = Callable[[int], dict[str, Any]]


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Swtpm]:
    yield from swtpm.running(tmp_path / "tpm", certified=False)


def an_image_is_put_back(journal: Path, life: Life, count: Callable[[], int]) -> None:
    """An image is older by a raise at boot: the chip tells, and the next epoch opens."""
    image = journal.with_name("image")
    before = count()
    first = life(40)
    counted = count()
    assert first["counter"] == counted == before + 1 and first["faults"] == {}
    shutil.copytree(journal, image)
    # What was saved up pays for a raise at boot.
    second = life(3)
    assert second["counter"] == count() == counted + 1
    assert second["epoch"] == first["epoch"] and second["faults"] == {}
    shutil.rmtree(journal)
    shutil.copytree(image, journal)
    rolled = life(2)
    assert rolled["epoch"] != first["epoch"]
    assert rolled["faults"] == {"counter:rollback": 1}
    # The new epoch is the log now, and its counter is the chip's.
    after = life(2)
    assert after["epoch"] == rolled["epoch"] and after["faults"] == {}
    assert after["counter"] == count() > counted


def test_an_image_beside_a_tpm(tmp_path: Path, tpm: Swtpm) -> None:
    key = swtpm.fresh(tpm)
    config = Fleet(tmp_path / "fleet").device("one", signer=key, wait_s=5)
    key.close()
    config["key"] = swtpm.uri(tpm)

    def count() -> int:
        signer = Signer.from_uri(swtpm.uri(tpm))
        counter = signer.counter()
        assert counter is not None
        value = counter.read()
        signer.close()
        return value

    an_image_is_put_back(Path(config["journal"]), lambda minutes: live(config, minutes), count)


@pytest.mark.parametrize("bits", [64, 32])
def test_an_image_beside_a_chip_on_a_board(
    tmp_path: Path, device_library: Path, bits: int, request: pytest.FixtureRequest
) -> None:
    interpreter: MicroPython = request.getfixturevalue(f"micropython{bits}")
    chip = our_chip()
    config = Fleet(tmp_path / "fleet").device("one", signer=key_on(chip), wait_s=5)
    path = tmp_path / "tallystick.json"

    def life(minutes: int) -> dict[str, Any]:
        done = interpreter.run(
            str(HERE / "counting_robot.py"),
            str(path),
            str(minutes),
            path=[device_library, DEVICE_TESTS],
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def count() -> int:
        value: int = key_on(chip).counter().read()
        return value

    with serving(chip) as port:
        config["key"] = f"atecc608:tcp=127.0.0.1:{port}"
        path.write_text(json.dumps(config))
        an_image_is_put_back(Path(config["journal"]), life, count)
