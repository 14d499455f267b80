"""`tally fleet erase` and `tally validator hold` against a running validator."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner, Result

from support.devices import Fleet as Enrols
from support.validating import OPERATOR, TOKEN, Gateway, compress, handover, load
from tallystick.evidence.cbor import encode
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import b64u
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.main import cli
from tallystick.validator.service import Service

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}


def tally(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(map(str, args)))
    assert result.exit_code == code, (result.output, result.exception)
    return result


class Site:
    """A fleet's folder, one device of it with records at a running validator, and tokens."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet.init(folder / "acme", "acme")
        enrols = Enrols("acme")
        # The fleet in memory enrols with the folder's own root.
        enrols.__dict__["root"] = self.fleet.signer
        self.robot, self.peer = enrols.device("robot-1"), enrols.device("robot-2")
        (self.fleet.path / "devices" / "robot-1").mkdir()
        path = self.fleet.path / "devices" / "robot-1" / "credential.cbor"
        path.write_bytes(encode(list(self.robot.credential)))
        self.service = Service(load(folder / "validator", [enrols]))
        self.url = self.service.start()
        self.operator, self.reader = folder / "operator", folder / "reader"
        self.operator.write_text(OPERATOR + "\n")
        self.reader.write_text(TOKEN + "\n")
        self.robot.decisions(3)
        handover(self.robot, self.peer, "order-1")
        gateway = Gateway(enrols)
        gateway.take(*self.robot.segments(), *self.peer.segments())
        data = gateway.batch(devices=[self.robot, self.peer])
        answer = httpx2.post(
            f"{self.url}/v1/batches", content=compress(data), headers=ZSTD, timeout=60
        )
        assert answer.status_code == 200, answer.text

    def erase(self, *args: object, code: int = 0) -> Result:
        return tally("fleet", "erase", self.fleet.path, "robot-1", "--to", self.url, *args,
                     code=code)  # fmt: skip

    def hold(self, verb: str, *args: object) -> Result:
        given = ("--url", self.url, "--token-file", self.operator)
        return tally("validator", "hold", verb, *args, *given)

    def evidence(self, index: int) -> httpx2.Response:
        path = f"/v1/evidence/records/{self.robot.text}/{b64u(self.robot.epoch)}/{index}"
        return httpx2.get(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("privacy"))
    yield made
    made.service.stop()


def test_bodies_are_held_then_erased(site: Site) -> None:
    assert "nothing is on hold" in site.hold("list").output
    site.hold("add", "case-7", "--device", site.robot.text, "--why", "claim 7")
    site.hold("add", "case-7", "--device", site.robot.text, "--why", "again")
    assert "case-7: device" in site.hold("list").output
    (row,) = json.loads(site.hold("list", "--json").output)["holds"]
    assert (row["by"], row["why"]) == ("counsel", "claim 7")
    held = site.erase("--all", "--yes", code=1)
    assert "on-hold" in held.output
    assert site.evidence(1).status_code == 200
    site.hold("lift", "case-7")

    epoch = b64u(site.robot.epoch)
    part = site.erase("--records", "1:2", "--epoch", epoch, "--kind", "decisions", "--yes")
    assert "1 bodies erased" in part.output
    assert [site.evidence(index).status_code for index in (0, 1, 2)] == [200, 410, 200]
    assert site.evidence(1).json()["reason"] == "erased"
    (rest,) = json.loads(site.erase("--all", "--yes", "--json").output)["erased"]
    assert rest["bodies"] == 3
    assert [site.evidence(index).status_code for index in (0, 2, 4)] == [200, 410, 410]


def test_it_asks_before_it_erases(site: Site) -> None:
    asked = CliRunner().invoke(
        cli, ["fleet", "erase", str(site.fleet.path), "robot-1", "--to", site.url, "--all"],
        input="n\n",
    )  # fmt: skip
    assert asked.exit_code == 1
    assert "Erase all records of robot-1" in asked.output


@pytest.mark.parametrize(
    "args", [(), ("--all", "--records", "1:2"), ("--records", "1:2")], ids=["none", "both", "where"]
)
def test_what_is_meant_must_be_said(site: Site, args: tuple[str, ...]) -> None:
    site.erase(*args, "--yes", code=2)


def test_wrong_spans_and_tokens_are_refused(site: Site) -> None:
    for span in ("2:1", "1:1", "x", "-1:2", "01:2"):
        arguments = ["fleet", "erase", str(site.fleet.path), "robot-1", "--to", site.url, "--yes"]
        result = CliRunner().invoke(
            cli, [*arguments, "--epoch", b64u(site.robot.epoch), "--records", span]
        )
        assert isinstance(result.exception, TallyError), span
    given = ["--url", site.url, "--token-file", str(site.reader)]
    # A reader may read, and put nothing on hold.
    result = CliRunner().invoke(cli, ["validator", "hold", "list", *given])
    assert isinstance(result.exception, TallyError)
    assert result.exception.reason == "not-authorised"
