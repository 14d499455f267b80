"""A board from its key to a custody receipt over TLS: by the cable, and by joining on its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support.authority import Authority
from support.emulated_device import EmulatedDevice, quick_cables
from support.emulated_robot import library_files
from support.joinfleet import JoinFleet, door_of
from support.site import until
from tallystick.evidence import segment
from tallystick.gateway import limits
from tallystick.gateway.service import Gateway
from tallystick.tools._ports import free_port
from tallystick.tools.main import cli
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

__all__ = ["quick_cables"]

pytestmark = pytest.mark.usefixtures("quick_cables")
# As the example for boards with WiFi: join where that is asked for, then record.
EXAMPLE = Path(__file__).parents[2] / "firmware" / "examples" / "board_wifi.py"
MAIN = b"""
import time
from board_wifi import Wifi, join_first
join_first(Wifi("plant", "not-a-secret"))
from tallystick.recorder import Recorder
tally = Recorder.open()
n = 0
while True:
    n += 1
    if n % 5 == 0:
        tally.decision("grasp-net@1", {"n": n}, {"speed_m_s": ("0.4", "<=", "0.5", "m/s")}, "grip")
    tally.poll()
    if n % 50 == 0 and tally.health.custody:
        print("in custody:", tally.health.custody)
    time.sleep(0.002)
"""
WAIT_S = 90.0


class Tls:
    """A broker with TLS for robots, and without on loopback for the gateway."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        cert, key = self.authority.server()
        self.port = free_port()
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true"]
        lines += [f"cafile {self.authority.file}", f"certfile {cert}", f"keyfile {key}"]
        # Those that are provisioned have a certificate, those that join have none.
        self.mutual = free_port()
        lines += [f"listener {self.mutual} 127.0.0.1", "require_certificate true", *lines[2:5]]
        self.broker = Mosquitto(folder / "broker", settings="\n".join(lines))
        self.url = f"mqtts://localhost:{self.port}"
        self.mutual_url = f"mqtts://localhost:{self.mutual}"


@pytest.fixture
def tls(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Tls]:
    assert mosquitto.port  # it is installed
    (tmp_path / "tls" / "broker").mkdir(parents=True)
    made = Tls(tmp_path / "tls")
    with made.broker:
        yield made


@pytest.fixture
def site(tmp_path: Path, tls: Tls) -> JoinFleet:
    return JoinFleet(tmp_path, f"mqtt://127.0.0.1:{tls.broker.port}")


@pytest.fixture
def gateway(site: JoinFleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(limits, "JOIN_RETRY_S", 0)
    with site.running() as running:
        yield running


@pytest.fixture(params=[64, 32])
def empty(
    request: pytest.FixtureRequest, tmp_path: Path, micropython64: MicroPython,
    micropython32: MicroPython,
) -> Iterator[EmulatedDevice]:  # fmt: skip  # two lines
    """A board with MicroPython and nothing else, without power."""
    interpreter = micropython64 if request.param == 64 else micropython32
    heap = "512k" if request.param == 64 else "256k"
    made = EmulatedDevice(tmp_path / "flash.img", interpreter, heap=heap)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def board(empty: EmulatedDevice) -> EmulatedDevice:
    """The same as `tally device flash` leaves it, without the seconds that it takes."""
    empty.load({**library_files(), "/board_wifi.py": EXAMPLE.read_bytes()})
    return empty


def said(*words: object) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["device", *map(str, words), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_custody(gateway: Gateway) -> int:
    reader = gateway.store.reader()
    (count,) = reader.execute("SELECT coalesce(sum(records), 0) FROM segments").fetchone()
    (receipts,) = reader.execute("SELECT count(*) FROM custody").fetchone()
    reader.close()
    return int(count) if receipts else 0


def check_custody(board: EmulatedDevice, gateway: Gateway, id_text: str, folder: Path) -> None:
    """The board has a receipt; what it tells of itself and what is pulled off it agree."""
    try:
        until(lambda: b"in custody: " in board.said, "the receipt on the board", WAIT_S)
    except AssertionError:
        print(board.said[-2000:].decode(errors="replace"))
        raise
    assert in_custody(gateway)
    info = said("info", "--port", board.port)
    assert info["in_custody"] > 0
    assert info["device"] == id_text and info["enrolment"] == "active"
    pulled = said("pull", folder, "--port", board.port)
    assert pulled["device"] == id_text and pulled["epochs"] == [info["epoch"]]
    assert not pulled["broken"]
    newest = max(segment.parse(path.read_bytes()).to for path in (folder / "segments").iterdir())
    assert newest >= info["in_custody"]
    reader = gateway.store.reader()
    devices = reader.execute("SELECT count(*) FROM devices WHERE suspect IS NULL").fetchone()
    reader.close()
    assert devices == (1,)


def test_flashed_and_provisioned_by_the_cable(
    site: JoinFleet, gateway: Gateway, empty: EmulatedDevice, tls: Tls, tmp_path: Path
) -> None:
    """From an empty board to a receipt, killed behind each command."""
    board = empty
    board.power_on()
    assert board.wait("idle") == "idle"
    assert said("flash", "--port", board.port)["written"]
    board.power_off()
    board.load({"/main.py": MAIN, "/board_wifi.py": EXAMPLE.read_bytes()})
    board.power_on()
    # Without a configuration its program ends, with a sentence.
    assert board.wait("idle") == "idle"
    made = said(
        *("provision", site.folder, "robot-1", "--port", board.port, "--broker", tls.mutual_url),
        *("--tls-ca", tls.authority.file, "--tls-ca-key", tls.authority.write_key()),
        *("--set", "checkpoint_s=0.5"),
    )
    board.power_off()
    board.power_on()
    check_custody(board, gateway, made["device"], tmp_path / "pulled")


def test_joined_on_its_own_through_power_cuts(
    site: JoinFleet, gateway: Gateway, board: EmulatedDevice, tls: Tls, tmp_path: Path
) -> None:
    """Also while it writes its key, its request and its configuration: one key, one request."""
    where = door_of(gateway)
    answer = site.tally("invite", str(site.folder), "--gateway", where, "--json")
    code = json.loads(answer.stdout)["codes"][0]["code"]
    asks = json.dumps({"url": where, "code": code}).encode()
    board.load({"/main.py": MAIN, "/join.json": asks})
    keys = set()
    for cut in (2, 5, 9):
        board.power_on(cut_at=cut)
        until(lambda: board.cut, "the cut", WAIT_S)
        board.power_off()
        keys.add(board.contents().get("/key"))
    board.power_on()
    assert gateway.joining is not None
    queue = "SELECT count(*) FROM join_requests"
    until(lambda: gateway.store.reader().execute(queue).fetchone() == (1,), "its request", WAIT_S)
    robots = tmp_path / "robots.csv"
    robots.write_text(f"serial,label\n{board.words.unique},robot-1\n")
    site.tally(
        *("approve", str(site.folder), "--gateway", where, "--from", str(robots), "--yes"),
        *("--broker", tls.url, "--broker-ca", str(tls.authority.file)),
    )
    for cut in (1, 4):
        # While the answer is written.
        board.power_cycle(cut_at=cut)
        until(lambda: board.cut or in_custody(gateway), "the cut", WAIT_S)
        board.power_off()
        keys.add(board.contents().get("/key"))
    board.power_on()
    (member,) = [one for one in site.opened().members() if one.kind == "device"]
    check_custody(board, gateway, member.id_text, tmp_path / "pulled")
    board.power_off()
    files = board.contents()
    assert len((keys | {files["/key"]}) - {None}) == 1
    assert gateway.store.reader().execute(queue).fetchone() == (1,)
    # The code has served: it is on the board no more, and was never said.
    assert "/join.json" not in files and "/join.request" not in files
    assert code.encode() not in bytes(board.said)
