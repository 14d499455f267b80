"""docs/operations.md, from an empty Debian to a gateway: its commands run here in their order.

What would change this machine is shown and not done (packages, users, owners); a unit's ExecStart
is started as it stands. `scripts/newcomer` does all of it in an empty Debian.
"""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.tools._ports import free_port
from tallystick.tools.micropython import MicroPython

TOP = Path(__file__).parent.parent
NEWCOMER = runpy.run_path(str(TOP / "scripts" / "newcomer"))
STEPS = NEWCOMER["steps"]((TOP / "docs/operations.md").read_text())
SHOWN = ("apt-get", "useradd", "chown", "pip", "python3", "ln")
CURL = """
import ssl, sys, time, urllib.request as u
context = ssl.create_default_context(cafile=sys.argv[sys.argv.index("--cacert") + 1])
end_s = time.monotonic() + 120
while True:
    try:
        print(u.urlopen(sys.argv[-1], context=context).read().decode())
        break
    except OSError as error:
        if time.monotonic() > end_s:
            sys.exit(str(error))
        time.sleep(0.1)
"""
# What a machine under test is like says nothing of the page: its clock, and a disk in memory.
MACHINES_OWN = {"clock", "disk", "fsync"}


class Machine:
    """A folder in place of a server's `/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "tallystick"
        self.shims = folder / "opt"
        for name in ("tallystick", "opt", "units", "etc", "kept", "var", "run"):
            (folder / name).mkdir()
        for name in ("firmware", "gateway", "validator"):
            (self.home / name).symlink_to(TOP / name)
        ports = {port: str(free_port()) for port in ("8470", "8472", "8883")}
        self.here = {
            "/opt/tallystick/bin/": f"{self.shims}/",
            "/usr/local/bin/": f"{self.shims}/",
            "/var/lib/tally-": f"{folder}/var/tally-",
            "/var/backups/": f"{folder}/var/",
            "/etc/mosquitto": f"{folder}/etc",
            "/etc/systemd/system": f"{folder}/units",
            "/etc/hosts": f"{folder}/hosts",
            "/run/newcomer": f"{folder}/run",
            "/usr/bin/python3": sys.executable,
            "site.acme.example": "localhost",
            "broker-config acme": (
                f"broker-config acme --port {ports['8883']} --persistence {folder}/kept/"
            ),
            "--kind validator": f"--kind validator --bind 127.0.0.1:{ports['8470']}",
            # Its exit code is of the machine; what it says of the rest is looked at below.
            "tally doctor --config": "tally doctor --json --config",
            ":8470": f":{ports['8470']}",
            ":8472": f":{ports['8472']}",
        }
        self._shims()

    def local(self, text: str) -> str:
        for there, here in self.here.items():
            text = text.replace(there, here)
        return text

    def _shims(self) -> None:
        real = Path(sys.executable).parent
        for name in SHOWN:
            self._shim(name, f'echo "{name} $*" >>{self.folder}/shown')
        self._shim("python", f'exec {real}/python "$@"')
        # An operator's command goes on after a doctor that names a risk.
        judged = f'{real}/tally "$@" || [ $? = 1 ]; exit'
        self._shim("tally", f'[ "$1" = doctor ] && {{ {judged}; }}; exec {real}/tally "$@"')
        self._shim("runuser", 'shift 3; exec "$@"')
        self._shim("curl", f'exec {real}/python {self.folder}/curl.py "$@"')
        (self.folder / "curl.py").write_text(CURL)
        whose = (
            'a=(); while [ $# -gt 0 ]; do [ "$1" = -o ] && shift 2 || { a+=("$1"); shift; }; done'
        )
        self._shim("install", f'{whose}; exec {shutil.which("install")} "${{a[@]}}"')
        mapped = ";".join(
            f"s|{there}|{here}|g" for there, here in self.here.items() if there.startswith("/")
        )
        script = self.local(NEWCOMER["SYSTEMCTL"]).replace(
            'sed -n "s/^$1=//p" $file', f"sed -n \"s/^$1=//p\" $file | sed '/^tally-/d;{mapped}'"
        )
        (self.shims / "systemctl").write_text(script)
        (self.shims / "systemctl").chmod(0o755)
        conf = f"{self.folder}/etc/mosquitto.conf"
        (self.folder / "units/mosquitto.service").write_text(
            f"Type=notify\nExecStartPre={self.shims}/stay\n"
            "ExecStart=/usr/sbin/mosquitto -c /etc/mosquitto/mosquitto.conf\n"
        )
        # Started by root it would become another user, who reads nothing here.
        self._shim("stay", f'grep -q ^user {conf} || echo "user $(id -un)" >>{conf}')

    def _shim(self, name: str, line: str) -> None:
        path = self.shims / name
        path.write_text(f"#!/bin/bash\n{line}\n")
        path.chmod(0o755)

    def run(self, script: str) -> str:
        """One block; what it printed."""
        done = subprocess.run(
            ["/bin/bash", "-ec", self.local(script)],
            cwd=self.home,
            env={**os.environ, "PATH": f"{self.shims}:/usr/sbin:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        logs = [f"--- {log.name}\n{log.read_text()}" for log in (self.folder / "run").glob("*.log")]
        said = f"{script}\n{done.stdout}\n{done.stderr}\n" + "\n".join(logs)
        assert done.returncode == 0, said
        return done.stdout

    def stop(self) -> None:
        for unit in ("tally-gateway", "tally-validator", "mosquitto"):
            self.run(f"systemctl stop {unit}")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.stop()


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mosquitto")
def test_a_newcomer_gets_to_a_gateway(machine: Machine, micropython64: MicroPython) -> None:
    assert micropython64.bits == 64
    said: dict[str, str] = {}
    for name, script in STEPS:
        said[name[:2]] = said.get(name[:2], "") + machine.run(script)
    shown = {line.split()[0] for line in (machine.folder / "shown").read_text().splitlines()}
    assert shown == set(SHOWN)
    assert '"status":"ok"' in said["6."]
    doctor = next(line for line in said["6."].splitlines() if '"checks"' in line)
    rows = {row["check"]: row for row in json.loads(doctor)["checks"]}
    wrong = {name for name, row in rows.items() if row["level"] != "good"}
    assert wrong <= MACHINES_OWN, [rows[name] for name in wrong]
    # It found the file of the broker that runs beside it, by its name on the network.
    assert "process" in rows["broker's file"]["found"]
    assert rows["page.cert"]["level"] == "good"
    devices = next(line for line in said["7."].splitlines() if "devices" in line)
    assert devices.split()[3] == "2", devices
    assert "The policy holds." in said["8."]
    assert "0 wait, 0 are set aside" in said["9."]
    assert re.search(r"\b[1-9]\d* segments taken, 0 were known", said["10"]), said["10"]


def test_the_page_says_what_the_units_and_the_container_do() -> None:
    page = (TOP / "docs/operations.md").read_text()
    for unit in ("gateway/systemd/tally-gateway", "validator/systemd/tally-validator"):
        text = (TOP / f"{unit}.service").read_text()
        start = next(line for line in text.splitlines() if line.startswith("ExecStart="))
        for path in (start.split()[0].removeprefix("ExecStart="), start.split()[-1]):
            assert path.rpartition("/")[0] in page
