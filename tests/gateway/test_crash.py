"""F07: killed at every point between receive and mark sent: 0 lost, 0 twice."""

import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx2
import msgspec
import pytest

from support.devices import Device, Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from tallystick.evidence import custody
from tallystick.evidence.errors import TallyError
from tallystick.gateway import steps
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
CRASHING = Path(__file__).with_name("crashing.py")


class Process:
    """A gateway in a process of its own."""

    def __init__(self, site: Site, point: str, count: int) -> None:
        self.log = (site.folder / "log.txt").open("ab")
        folders = os.pathsep.join(["firmware", "gateway", "hw", "validator", "tools"])
        self._process = subprocess.Popen(
            [sys.executable, str(CRASHING), str(site.path), point, str(count)],
            stdout=self.log,
            stderr=self.log,
            env=os.environ | {"PYTHONPATH": folders},
        )

    @property
    def dead(self) -> bool:
        return self._process.poll() is not None

    def crashed(self) -> bool:
        return self._process.poll() == 9

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        if not self.dead:
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        self.log.close()
        return code


def confirmed(radio: Radio, site: Site) -> int:
    """Up to where the device holds custody receipts."""
    found = 0
    for data in radio.statements():
        try:
            found = max(found, custody.parse(data).verify(site.key).to)
        except TallyError:
            continue  # a verdict, perhaps
    return found


def send_unconfirmed(radio: Radio, robot: Device, site: Site) -> None:
    """What a device does after a connect, and while a receipt is missing."""
    known = confirmed(radio, site)
    left = [n for n, sealed in enumerate(robot.stretches) if sealed.to > known]
    radio.up(robot.hello(), *(robot.segment(n, n + 1) for n in left))


@pytest.mark.parametrize("point", steps.ALL)
def test_killed_at_every_point(point: str, tmp_path: Path, mosquitto: Mosquitto) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    prefix = f"crash-{secrets.token_hex(4)}"
    site = Site(
        tmp_path / "gateway",
        ACME,
        mosquitto.port,
        name=prefix,
        validators=notary.toml,
        limits="[limits]\nretry_s_max = 0.2\nverdicts_poll_s = 1.0",
    )
    site.with_prefix(prefix)
    robot = ACME.device()
    site.enrol(robot)
    process = None
    try:
        with Radio(mosquitto.port, robot, prefix) as radio:
            for count in (1, 2, 0):
                for _ in range(3):
                    robot.record(4)
                process = Process(site, point, count)
                if count:
                    # It may die more than once before everything is through.
                    def dies(dying: Process = process) -> bool:
                        if confirmed(radio, site) == robot.size:
                            robot.record(1)
                        send_unconfirmed(radio, robot, site)
                        return dying.crashed()

                    until(dies, f"the crash at {point}")
                    process.end()

            def through() -> bool:
                if confirmed(radio, site) < robot.size:
                    send_unconfirmed(radio, robot, site)
                    return False
                row = httpx2.get(f"{notary.url}/v1/devices/{robot.text}", timeout=60)
                # All but the epoch's first event are decisions.
                return row.status_code == 200 and decisions(row.content) == robot.size - 1

            until(through, "everything")
            assert process is not None
            assert process.end() == 0
    finally:
        if process is not None and not process.dead:
            process.end()
        notary.stop()
    check_store(site, robot)


def decisions(body: bytes) -> int:
    """Decisions that the validator counted; it counts no record twice."""
    row = msgspec.json.decode(body)
    assert row["refused"] == 0
    assert row["suspect"] is None
    return int(row["decisions"])


def check_store(site: Site, robot: Device) -> None:
    """The store opens, holds every record once, and the log's tree fits its leaves."""
    connection = sqlite3.connect(site.folder / "gateway.sqlite")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute(
            "SELECT first, until FROM segments WHERE first != until ORDER BY first"
        ).fetchall()
        at = 0
        for first, until_ in rows:
            assert first == at
            at = until_
        assert at == robot.size
        (segments,) = connection.execute("SELECT count(*) FROM segments").fetchone()
        (leaves,) = connection.execute("SELECT count(*) FROM nodes WHERE level = 0").fetchone()
        assert leaves == segments
        assert connection.execute("SELECT began FROM tracks").fetchall() == [(0,)]
    finally:
        connection.close()
