"""docs/two-companies.md: its commands are run in their order, and end in a common verdict."""

import json
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.site import until
from tallystick.evidence import peerfile
from tallystick.gateway import config as gateway_config
from tallystick.gateway import service as gateway_service
from tallystick.tools._ports import free_port
from tallystick.tools.main import cli
from tallystick.validator import config as validator_config
from tallystick.validator.service import Service
from test_readme import FENCE, REPOSITORY, commands

PAGE = REPOSITORY / "docs/two-companies.md"


class Companies:
    """Runs the page in this process: a process for each command would take half a minute."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = ("1883", "8470", "8480")
        self.ports = {port: str(free_port()) for port in ports}
        self.validators: list[Service] = []
        self.stop = threading.Event()
        self.gateways: list[threading.Thread] = []
        self.failed: list[BaseException] = []
        self.broker: subprocess.Popen[bytes] | None = None
        self.output = ""

    def run(self, kind: str, text: str) -> None:
        for port, free in self.ports.items():
            text = text.replace(port, free)
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), {})
            return
        for command in commands(text):
            self._command(shlex.split(command))

    def _command(self, words: list[str]) -> None:
        if words[0] == "mosquitto":
            self.broker = subprocess.Popen(
                ["/usr/sbin/mosquitto", *words[1:-1]],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        elif words[-1] == "&":
            self._start(words)
        else:
            self._finish(words)

    def _start(self, words: list[str]) -> None:
        path = Path(words[words.index("--config") + 1])
        if words[1] == "validator":
            self.validators.append(Service(validator_config.load(path)))
            self.validators[-1].start()
            return
        config = gateway_config.load(path)

        def serve() -> None:
            try:
                gateway_service.run(config, self.stop)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self.failed.append(error)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.gateways.append(thread)

    def _finish(self, words: list[str]) -> None:
        if words[:3] == ["tally", "fleet", "enroll"] and "validator" not in words:
            words += ["--broker", f"mqtt://127.0.0.1:{self.ports['1883']}"]
        if "--fingerprint" in words:
            # The page shows digits of two other companies.
            said = peerfile.parse(Path(words[3]).read_bytes()).spoken
            shown = words[words.index("--fingerprint") + 1]
            assert [len(group) for group in shown.split()] == [5] * 8
            words[words.index(shown)] = said
        done = CliRunner().invoke(cli, words[1:])
        assert done.exit_code == 0, (words, done.output, done.exception)
        self.output = done.output
        if words[1:3] == ["peer", "import"]:
            self._noticed(words[4])

    def _noticed(self, company: str) -> None:
        """Within a second or so, as the page says, and without a restart."""
        other = {"acme": "borealis", "borealis": "acme"}[company]
        service = self.validators[("acme", "borealis").index(company)]
        until(lambda: other in service.sequencer.config.roots, f"{other} at {company}")

    def close(self) -> None:
        self.stop.set()
        for thread in self.gateways:
            thread.join(60)
        for service in self.validators:
            service.stop()
        if self.broker is not None:
            self.broker.terminate()
            self.broker.wait(60)


@pytest.fixture
def companies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Companies]:
    monkeypatch.chdir(tmp_path)
    made = Companies(tmp_path)
    yield made
    made.close()


@pytest.mark.usefixtures("mosquitto")
def test_the_page_leads_to_a_common_verdict(companies: Companies) -> None:
    for kind, text in FENCE.findall(PAGE.read_text()):
        companies.run(kind, text)
    assert companies.failed == []
    done = CliRunner().invoke(
        cli, ["verify", "handover.tally", "--policy", "policy.toml", "--json"]
    )
    report = json.loads(done.output)
    assert report["outcome"].endswith(
        "matched, say 2 validators of 2 organisations, 2 of them recomputed here."
    )
    # To the other company's validator went claims, and hashes of everything else.
    status = CliRunner().invoke(
        cli, ["gateway", "status", "--config", "acme/gateways/gw-1/gateway.toml", "--json"]
    )
    assert [row["state"] for row in json.loads(status.output)["process"]["circle"]] == ["in-force"]
    for service, own in zip(companies.validators, ("acme", "borealis"), strict=True):
        told = service.sequencer.circle.told()
        assert [row.name for row in told] == [name for name in ("acme", "borealis") if name != own]
    # They cosign one another's logs, which neither was configured to do.
    assert all(len(service.sequencer.witnessed_logs) == 1 for service in companies.validators)


def test_the_readme_leads_to_the_page() -> None:
    assert "(docs/two-companies.md)" in (REPOSITORY / "README.md").read_text()
