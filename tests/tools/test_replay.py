"""The replay: exact counts, through real Mosquitto and real MicroPython."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from tallystick.tools.replay import mrclam_robot

COMMAND = [sys.executable, "-c", "from tallystick.tools.main import main; main()", "replay"]
DATA = Path(os.environ.get("TALLYSTICK_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
TOLERANCE = Decimal("0.25")
ROBOTS = 3
# A quarter of it on two cores that do nothing else.
S_MAX = 400


def made_set(folder: Path, seed: int = 4711) -> None:
    """A small set of the dataset's form: landmarks, unknown barcodes, the edges of half seconds."""
    random = Random(seed)
    barcodes = {1: 5, 2: 14, 3: 41, 6: 72, 7: 27}
    lines = ["# made for a test"] + [f"  {s} \t   {b} " for s, b in barcodes.items()]
    (folder / "Barcodes.dat").write_text("\n".join(lines) + "\n")
    for robot in range(1, ROBOTS + 1):
        rows = ["# Time [s]    Subject #    range [m]    bearing [rad]"]
        for step in range(60):
            second = 1248272276 + step // 3
            part = random.choice(["000", "038", "499", "500", "777", "999"])
            subject = random.choice([1, 2, 3, 6, 7, 99])
            barcode = barcodes.get(subject, 63)
            distance = f"{2 + random.randrange(600) / 1000:.3f}"
            rows.append(f"{second}.{part} \t  {barcode} \t  {distance} \t -0.{step:03d} ")
        (folder / f"Robot{robot}_Measurement.dat").write_text("\n".join(rows) + "\n")


def counted(folder: Path, robots: int) -> dict[str, int]:
    """The rule of the data's README, done again with other means."""
    subjects = {}
    for line in (folder / "Barcodes.dat").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            subject, barcode = line.split()
            subjects[barcode] = int(subject)
    decisions = 0
    claims: dict[tuple[int, int, int], dict[int, Decimal]] = defaultdict(dict)
    for robot in range(1, robots + 1):
        for line in (folder / f"Robot{robot}_Measurement.dat").read_text().splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            decisions += 1
            time, barcode, distance, _ = line.split()
            other = subjects.get(barcode, 0)
            if other == robot or not 1 <= other <= robots:
                continue
            bucket = int(Decimal(time) * 2)
            task = (min(robot, other), max(robot, other), bucket)
            claims[task].setdefault(robot, Decimal(distance))
    pairs = [list(c.values()) for c in claims.values() if len(c) == 2]
    matched = sum(abs(a - b) <= TOLERANCE for a, b in pairs)
    return {
        "decisions": decisions,
        "matched": matched,
        "conflicting": len(pairs) - matched,
        "one_sided": len(claims) - len(pairs),
    }


def replayed(data: Path, folder: Path, timeout_s: int, *more: str) -> dict[str, object]:
    options = [*more, "--export", "conflicts", "--work", "work", "--json"]
    done = subprocess.run(
        [*COMMAND, "mrclam", str(data), *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(result, dict)
    return result


def check(data: Path, folder: Path, robots: int, timeout_s: int, *options: str) -> None:
    expected = counted(data, robots)
    result = replayed(data, folder, timeout_s, *options)
    assert result["decisions"] == expected.pop("decisions")
    assert result["validators"] == [
        {"name": name, **expected} for name in ("utias", "borealis", "assure")
    ]
    # Each was verified offline by the command; a refused one would have failed it.
    exported = list((folder / "conflicts").glob("*.tally"))
    assert len(exported) == expected["conflicting"]


def verified(path: Path, policy: Path) -> str:
    command = [*COMMAND[:-1], "verify", str(path), "--policy", str(policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=S_MAX)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_half_seconds_are_exact() -> None:
    cases = {"0": 0, "1.5": 3, "1.499": 2, "1.4999999999999999999": 2, "1248272276.500": 2496544553}
    for text, bucket in cases.items():
        assert mrclam_robot.half_second(text) == bucket


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto", "micropython64")
def test_a_made_set_comes_out_exactly(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    made_set(data)
    expected = counted(data, ROBOTS)
    assert min(expected.values()) > 0, "the made set must hold every outcome"
    check(data, tmp_path, ROBOTS, S_MAX)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto", "micropython64", "postgresql")
def test_validators_on_postgresql_are_exact_when_some_of_them_are_killed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    made_set(data, seed=7)
    check(data, tmp_path, ROBOTS, S_MAX, "--workers", "2", "--kill")
    # A sequencer was killed, and the other process took its place.
    log = (tmp_path / "work" / "logs" / "validator-utias-standby.log").read_text()
    assert "validator utias listens on" in log


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto", "micropython64", "softhsm", "swtpm")
def test_robots_with_an_atecc608_a_tpm_and_a_token_go_side_by_side(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    made_set(data, seed=2)  # in which the conflicts name all three robots
    check(data, tmp_path, ROBOTS, S_MAX, "--keys", "hardware")
    said = ""
    for path in (tmp_path / "conflicts").glob("*.tally"):
        said += verified(path, tmp_path / "work" / "policy.toml")
    for level, shown in (
        ("secure-element", "the ATECC608 with serial number 0123"),
        ("tpm", "certified"),
        ("pkcs11", "the token says that it made the key itself, gives it to nobody"),
    ):
        assert f": {level}, active" in said
        assert shown in said
    assert "not proven: " in said


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("mosquitto", "micropython64")
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not beside the project")
def test_the_real_set_comes_out_exactly_with_the_gateway_killed_ten_times(tmp_path: Path) -> None:
    expected = counted(DATA / "mrclam1", 5)
    assert expected == {
        "decisions": 33_947,
        "matched": 116,
        "conflicting": 28,
        "one_sided": 4_010,
    }
    check(DATA / "mrclam1", tmp_path, 5, 2 * S_MAX, "--kill-gateway", "10")
    # Killed at least now and then after it had begun, and started each time.
    log = (tmp_path / "work" / "logs" / "gateway.log").read_text()
    assert 2 <= log.count('"event": "started"') <= 11


def test_killing_needs_a_worker(tmp_path: Path) -> None:
    made_set(tmp_path)
    command = [*COMMAND, "mrclam", str(tmp_path), "--kill"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--workers 1 or more" in done.stderr


def test_a_folder_without_a_set_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "mrclam", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "holds no MRCLAM set" in done.stderr
    assert "Traceback" not in done.stderr
