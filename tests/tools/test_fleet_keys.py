"""A17 end to end: members' keys rotated, replaced, revoked and shown, with running services."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner, Result

from support.site import until
from tallystick.evidence import cbor, keychange
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.enrolment import possession_message
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import ES256
from tallystick.gateway import config as gateway_config
from tallystick.gateway.service import Gateway
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools import fleetdir, keychanges, provision
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto
from tallystick.validator import config as validator_config
from tallystick.validator.service import Service


def tally(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(map(str, args)))
    assert result.exit_code == code, (result.output, result.exception)
    return result


def refused(*args: object) -> TallyError:
    result = CliRunner().invoke(cli, list(map(str, args)))
    assert isinstance(result.exception, TallyError), result.output
    return result.exception


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "acme", "acme")


class Running:
    """A validator of the fleet, running."""

    def __init__(self, fleet: Fleet, label: str = "v-1") -> None:
        tally("fleet", "enroll", fleet.path, label, "--kind", "validator", "--bind", "127.0.0.1:0")
        self.path = fleet.path / "validators" / label / "validator.toml"
        self.start()

    def start(self) -> None:
        self.service = Service(validator_config.load(self.path))
        self.url = self.service.start()
        self.http = httpx2.Client(base_url=self.url, timeout=60)

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def device(self, member: Member) -> Any:
        return self.get(f"/v1/devices/{member.id_text}")

    def knows(self, member: Member) -> bool:
        return self.http.get(f"/v1/devices/{member.id_text}").status_code == 200

    def stop(self) -> None:
        self.http.close()
        self.service.stop()


@pytest.fixture
def validator(fleet: Fleet) -> Iterator[Running]:
    made = Running(fleet)
    yield made
    made.stop()


class Site:
    """A device, a gateway and a validator of one fleet, over a real broker."""

    def __init__(self, fleet: Fleet, validator: Running, broker: str) -> None:
        credential = validator.path.parent / "credential.cbor"
        self.fleet, self.validator = fleet, validator
        tally("fleet", "enroll", fleet.path, "gw-1", "--kind", "gateway", "--broker", broker,
              "--validator", f"{validator.url}={credential}")  # fmt: skip
        tally("fleet", "enroll", fleet.path, "robot-1", "--broker", broker)
        self.config = fleet.path / "gateways" / "gw-1" / "gateway.toml"
        self.robot = fleet.path / "devices" / "robot-1"
        self.gateway: Gateway | None = None

    def open_gateway(self, *, enrolments: bool = False) -> None:
        if enrolments:
            text = self.config.read_text()
            folder = json.dumps(str(self.fleet.path / "devices"))
            self.config.write_text(f"enrolments = {folder}\n{text}")
        self.gateway = Gateway(gateway_config.load(self.config))
        self.gateway.start()
        self.stop = threading.Event()
        self.watch = threading.Thread(target=self.gateway.watch, args=(self.stop,), daemon=True)
        self.watch.start()
        until(lambda: self.gateway and self.gateway.broker.subscribed, "the broker")

    def close_gateway(self) -> None:
        if self.gateway is not None:
            self.stop.set()
            self.watch.join(60)
            self.gateway.stop()
        self.gateway = None

    def record(self, count: int) -> bytes:
        """Run the robot, until the validator has its newest head; returns its epoch."""
        tally_ = Recorder.open(str(self.robot / "tallystick.json"))
        for number in range(count):
            tally_.decision(model="m@1", inputs={"n": number}, output={"action": "grip"})
        # What is recorded of the connection itself would be signed seconds later.
        until(lambda: tally_.flush() and tally_.backlog() == 0, "custody of everything")
        epoch = tally_.epoch
        tally_.close()
        return epoch

    @property
    def member(self) -> Member:
        return self.fleet.member("device", "robot-1")

    def logged(self) -> int:
        """How much of the robot's log the validator has."""
        if not self.validator.knows(self.member):
            return 0
        return max((log["size"] for log in self.validator.device(self.member)["logs"]), default=0)


@pytest.fixture
def site(fleet: Fleet, validator: Running, mosquitto: Mosquitto) -> Iterator[Site]:
    made = Site(fleet, validator, f"mqtt://{mosquitto.host}:{mosquitto.port}")
    yield made
    made.close_gateway()


def show(fleet: Fleet, label: str) -> Any:
    return json.loads(tally("fleet", "show", fleet.path, label, "--json").output)


def test_a_robot_is_rotated_retired_and_its_revocation_reaches_a_validator_without_it(
    site: Site, fleet: Fleet, tmp_path: Path
) -> None:
    site.open_gateway()
    epoch = site.record(5)
    until(lambda: site.logged() > 5, "the first records")
    new = tmp_path / "second.key"
    tally("key", "create", f"file:{new}")
    output = tally("fleet", "rotate", fleet.path, "robot-1", "--key", f"file:{new}").output
    assert "goes on under a new key" in output
    # The longer credential comes with the hello; gateway and validator need no restart.
    assert site.record(7) == epoch
    keys = until(
        lambda: (
            len(site.validator.device(site.member)["keys"]) == 2
            and site.validator.device(site.member)["keys"]
        ),
        "the rotation at the validator",
    )
    assert site.validator.device(site.member)["suspect"] is None
    assert keys
    newest = until(lambda: site.logged() >= 14 and site.logged(), "what the new key signed")
    # The gateway goes down, and with it the robot: the root's word still comes.
    site.close_gateway()
    tally("fleet", "revoke", fleet.path, "robot-1", "--reason", "retired",
          "--head-from", site.validator.url)  # fmt: skip
    told = show(fleet, "robot-1")
    assert [key["status"] for key in told["keys"]] == ["rotated", "retired"]
    assert f":{newest}:" in told["keys"][1]["ends_at"]
    tally("fleet", "publish", fleet.path, "--to", site.validator.url)
    assert site.validator.device(site.member)["status"] == "retired"
    entries = site.validator.get("/v1/entries?count=1000")["entries"]
    assert [entry["kind"] for entry in entries].count(7) == 2
    # Publishing again changes nothing.
    again = tally("fleet", "publish", fleet.path, "robot-1", "--to", site.validator.url, "--json")
    assert json.loads(again.output)["published"][0]["reason"] is None
    assert len(site.validator.get("/v1/entries?count=1000")["entries"]) == len(entries)
    # The retired key opens no recorder's way back in: what it signs now is kept apart.
    site.open_gateway()
    late = Recorder.open(str(site.robot / "tallystick.json"))
    late.decision(model="m@1", inputs={"n": 99}, output={"action": "grip"})
    until(lambda: late.flush() and late.backlog() == 0, "custody")
    late.close()
    until(lambda: site.validator.get("/v1/status")["refusals"].get("revoked"), "the late records")
    assert site.logged() == newest


def test_a_gateway_tells_what_its_enrolments_folder_says(site: Site, fleet: Fleet) -> None:
    site.open_gateway(enrolments=True)
    site.record(3)
    until(lambda: site.logged() > 3, "the records")
    tally("fleet", "revoke", fleet.path, "robot-1", "--reason", "compromised", "--head", "none")
    until(
        lambda: site.validator.device(site.member)["status"] == "compromised",
        "the revocation, by the gateway's folder and without the robot",
    )


def test_a_request_from_the_device_keeps_both_keys_there(
    site: Site, fleet: Fleet, tmp_path: Path
) -> None:
    site.open_gateway()
    site.record(3)
    new, request = tmp_path / "chip.key", tmp_path / "robot-1.rotation"
    tally("key", "create", f"file:{new}", "--alg", "p256")
    config = site.robot / "tallystick.json"
    tally("key", "rotate-request", config, "--key", f"file:{new}", "--out", request)
    tally("fleet", "rotate", fleet.path, "robot-1", "--request", request)
    # On the device: its longer credential is here already, and its configuration names the key.
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"key": f"file:{new}"}))
    site.record(2)
    until(lambda: site.logged() >= 9, "the records under the new key")
    assert show(fleet, "robot-1")["keys"][1]["alg"] == "p256"
    # A second use of the same file, and a file of another device, are refused.
    assert refused("fleet", "rotate", fleet.path, "robot-1", "--request", request).reason == (
        "already-enrolled"
    )
    tally("fleet", "enroll", fleet.path, "robot-2")
    assert refused("fleet", "rotate", fleet.path, "robot-2", "--request", request).reason == (
        "wrong-device"
    )


def test_a_dead_chip_is_replaced_by_a_new_id(fleet: Fleet, validator: Running) -> None:
    for label in ("robot-1", "robot-1b"):
        tally("fleet", "enroll", fleet.path, label)
    assert "still active" in tally("fleet", "replace", fleet.path, "robot-1", "robot-1b").output
    tally("fleet", "revoke", fleet.path, "robot-1", "--reason", "lost", "--head", "none")
    tally("fleet", "publish", fleet.path, "--to", validator.url)
    old, new = show(fleet, "robot-1"), show(fleet, "robot-1b")
    assert new["replaces"] == old["id"]
    assert "replaces: robot-1\n" in tally("fleet", "show", fleet.path, "robot-1b").output
    assert old["replaced_by"] == ["robot-1b"]
    assert old["status"] == "lost"
    assert validator.device(fleet.member("device", "robot-1"))["status"] == "lost"
    text = tally("fleet", "show", fleet.path, "robot-1").output
    assert "replaced by: robot-1b" in text
    assert "trusted up to: nothing" in text
    rows = json.loads(tally("fleet", "list", fleet.path, "--json").output)["members"]
    assert {row["label"]: row["status"] for row in rows if row["kind"] == "device"} == {
        "robot-1": "lost", "robot-1b": "active",
    }  # fmt: skip
    again = refused("fleet", "replace", fleet.path, "robot-1", "robot-1b")
    assert (again.reason, again.message) == ("bad-value", "robot-1b stands in for robot-1 already")
    tally("fleet", "enroll", fleet.path, "robot-2")
    other = refused("fleet", "replace", fleet.path, "robot-2", "robot-1b")
    assert other.message == "robot-1b stands in for another one already"


def test_gateways_and_validators_rotate(site: Site, fleet: Fleet, tmp_path: Path) -> None:
    site.open_gateway()
    site.record(3)
    until(lambda: site.logged() > 3, "the first records")
    site.close_gateway()
    new = tmp_path / "gateway.key"
    tally("key", "create", f"file:{new}")
    output = tally("fleet", "rotate", fleet.path, "gw-1", "--key", f"file:{new}").output
    pin = provision.gateway_pin(fleet.member("gateway", "gw-1"))
    assert json.dumps(pin) in output
    assert "no head" not in output and "names the new key, from its next start" in output
    config = site.robot / "tallystick.json"
    settings = json.loads(config.read_text())
    settings["gateways"].append(pin)
    config.write_text(json.dumps(settings))
    site.open_gateway()
    before = site.logged()
    site.record(4)
    until(lambda: site.logged() >= before + 4, "records under the gateway's new key")
    site.close_gateway()
    # The validator's receipt key: its log and its id go on.
    new = tmp_path / "validator.key"
    tally("key", "create", f"file:{new}")
    member = fleet.member("validator", "v-1")
    tally("fleet", "rotate", fleet.path, "v-1", "--key", f"file:{new}")
    size = site.validator.get("/v1/status")["size"]
    site.validator.stop()
    site.validator.start()
    status = site.validator.get("/v1/status")
    assert status["id"] == member.id_text
    assert status["size"] > size


# --- refusals -------------------------------------------------------------------------------------


def rotation(fleet: Fleet, member: Member, new: Signer) -> keychange.Rotation:
    old = Signer.from_uri(f"file:{member.key_path}")
    return keychanges.make_rotation(old, new, fleet.name, member.id, None)


def test_a_rotation_that_is_not_signed_by_all_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    member = fleet.enrol("device", "robot-1")
    other = fleet.enrol("device", "robot-2")
    new = Signer.create(f"file:{tmp_path / 'new'}")
    good = rotation(fleet, member, new)
    before = member.credential_path.read_bytes()

    def changed(**changes: Any) -> keychange.Rotation:
        names = ("id", "old", "key", "custody", "evidence", "head", "time_ms", "previous",
                 "possession", "old_signature")  # fmt: skip
        return keychange.Rotation(*[changes.get(name, getattr(good, name)) for name in names])

    strangers = Signer.create(f"file:{tmp_path / 'stranger'}")
    wrong = {
        "the old key did not sign": changed(time_ms=5),
        "no possession": changed(possession=bytes(64)),
        "another old key": rotation(fleet, other, new),
        "possession of another id": changed(
            possession=new.sign(possession_message(new.alg, other.id, fleet.name))
        ),
        "a key that is not the signer's": changed(key=strangers.public_key()),
        "the key of another member": rotation(
            fleet, member, Signer.from_uri(f"file:{other.key_path}")
        ),
        "the same key": rotation(fleet, member, Signer.from_uri(f"file:{member.key_path}")),
    }
    for what, made in wrong.items():
        with pytest.raises(Unverified):
            keychanges.sign_rotation(fleet, member, made)
        assert member.credential_path.read_bytes() == before, what
    assert keychanges.sign_rotation(fleet, member, good).identity.key == new.public_key()
    with pytest.raises(Unverified):
        keychanges.sign_rotation(fleet, fleet.member("device", "robot-1"), good)


def test_a_rotation_claims_no_custody_that_its_evidence_does_not_show(
    fleet: Fleet, tmp_path: Path
) -> None:
    member = fleet.enrol("device", "robot-1")
    new = Signer.create(f"file:{tmp_path / 'new'}")
    old = Signer.from_uri(f"file:{member.key_path}")
    made = keychange.rotate(old, new, "acme", member.id, 3, [], None, keychanges.now_ms())
    with pytest.raises(Unverified, match="as-software"):
        keychanges.sign_rotation(fleet, member, made)


@pytest.mark.parametrize(
    "args",
    [
        ("rotate", "robot-1"),
        ("rotate", "robot-1", "--key", "file:a", "--request", "pyproject.toml"),
        ("revoke", "robot-1", "--reason", "lost"),
        ("revoke", "robot-1", "--reason", "stolen", "--head", "none"),
        ("revoke", "robot-1", "--reason", "lost", "--head", "none", "--head-from", "http://x"),
        ("publish",),
    ],
)
def test_wrong_usage_is_one_sentence(fleet: Fleet, args: tuple[str, ...]) -> None:
    fleet.enrol("device", "robot-1")
    name, *rest = args
    result = CliRunner().invoke(cli, ["fleet", name, str(fleet.path), *rest])
    assert result.exit_code == 2, result.output


@pytest.mark.parametrize("head", ["", "a:b:c", "AAAAAAAAAAA:1", "AAAAAAAAAAA:-1:" + "A" * 43])
def test_a_head_that_is_none_is_refused(fleet: Fleet, head: str) -> None:
    fleet.enrol("device", "robot-1")
    error = refused("fleet", "revoke", fleet.path, "robot-1", "--reason", "lost", "--head", head)
    assert isinstance(error, Malformed)


def test_members_are_found_by_label_kind_and_id(fleet: Fleet) -> None:
    robot = fleet.enrol("device", "one")
    fleet.enrol("gateway", "one")
    assert keychanges.find(fleet, "device/one").id == robot.id
    assert keychanges.find(fleet, robot.id_text).id == robot.id
    for name in ("one", "two"):
        with pytest.raises(Malformed):
            keychanges.find(fleet, name)


@pytest.mark.parametrize("days", [-31, 2])
def test_a_device_does_not_choose_the_time_of_its_rotation(
    fleet: Fleet, tmp_path: Path, days: int
) -> None:
    member = fleet.enrol("device", "robot-1")
    old = Signer.from_uri(f"file:{member.key_path}")
    new = Signer.create(f"file:{tmp_path / 'new'}")
    at_ms = keychanges.now_ms() + days * 86_400_000
    made = keychange.rotate(old, new, "acme", member.id, 0, [], None, at_ms)
    with pytest.raises(Unverified) as caught:
        keychanges.sign_rotation(fleet, member, made)
    assert caught.value.reason == "expired"
    assert len(fleet.member("device", "robot-1").identity.keys) == 1


def test_room_stays_for_a_revocation(fleet: Fleet, tmp_path: Path) -> None:
    member = fleet.enrol("device", "robot-1")
    old = Signer.from_uri(f"file:{member.key_path}")
    for number in range(14):
        new = Signer.create(f"file:{tmp_path / f'key-{number}'}")
        last = member.identity.last_change
        made = keychanges.make_rotation(old, new, "acme", member.id, None, last)
        member = keychanges.sign_rotation(fleet, member, made)
        old = new
    new = Signer.create(f"file:{tmp_path / 'one-too-many'}")
    last = member.identity.last_change
    made = keychanges.make_rotation(old, new, "acme", member.id, None, last)
    with pytest.raises(Malformed, match="only a revocation fits"):
        keychanges.sign_rotation(fleet, member, made)
    member = keychanges.revoke(fleet, member, "compromised", None)
    assert member.identity.status == "compromised"
    with pytest.raises(Malformed, match="compromised"):
        keychanges.revoke(fleet, member, "lost", None)
    assert len(member.identity.keys) == 15


def test_publishing_to_nobody_says_so_and_to_one_that_is_away_does_not_stop_the_others(
    fleet: Fleet, validator: Running
) -> None:
    fleet.enrol("device", "robot-1")
    assert (
        "nothing to publish" in tally("fleet", "publish", fleet.path, "--to", validator.url).output
    )
    tally("fleet", "revoke", fleet.path, "robot-1", "--reason", "lost", "--head", "none")
    started = time.monotonic()
    result = tally("fleet", "publish", fleet.path, "--to", "http://127.0.0.1:9", "--to",
                   validator.url, code=1)  # fmt: skip
    assert "not sent to http://127.0.0.1:9" in result.output
    assert f"robot-1 at {validator.url}: logged at" in result.output
    assert time.monotonic() - started < 60


def test_a_revocation_names_one_of_several_keys(fleet: Fleet, tmp_path: Path) -> None:
    member = fleet.enrol("device", "robot-1")
    new = Signer.create(f"file:{tmp_path / 'new'}", ES256)
    first = member.identity.key
    keychanges.sign_rotation(fleet, member, rotation(fleet, member, new))
    old = show(fleet, "robot-1")["keys"][0]["key"]
    tally("fleet", "revoke", fleet.path, "robot-1", "--reason", "compromised", "--head", "none",
          "--key", old)  # fmt: skip
    told = show(fleet, "robot-1")
    assert [key["status"] for key in told["keys"]] == ["compromised", "active"]
    statements = fleetdir.read_credential(member.credential_path).statements
    identity = verify_credential(Credential(statements), fleet.roots())
    assert identity.key == new.public_key() != first
    assert cbor.decode(member.credential_path.read_bytes()) == statements
