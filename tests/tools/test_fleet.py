"""A fleet folder: enrolment that holds, refusals that leave nothing behind."""

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tallystick.evidence import enrolmentrequest, keycustody
from tallystick.evidence.credential import verify_credential
from tallystick.evidence.enrolment import CUSTODY_PKCS11, CUSTODY_SECURE_ELEMENT, CUSTODY_TPM
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import ES256
from tallystick.gateway import config as gateway_config
from tallystick.hw.signer import Signer
from tallystick.tools import fleetdir, provision
from tallystick.tools.fleet_enroll import absolute
from tallystick.tools.fleetdir import Fleet, Member, uncounted, write_private
from tallystick.tools.main import cli
from tallystick.validator import config as validator_config
from tallystick.verify import Policy
from tallystick.verify.demands import MinimumCustody


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "acme", "acme")


def tally(*args: object) -> Result:
    return CliRunner().invoke(cli, ["fleet", *map(str, args)])


def test_an_enrolment_verifies_against_the_pinned_root(fleet: Fleet) -> None:
    member = fleet.enrol("device", "robot-1", alg=ES256, interval_s=5)
    received = fleetdir.read_credential(member.credential_path)
    identity = verify_credential(received, fleet.roots(), None)
    assert identity.id == member.id == identity.key.thumbprint()
    assert identity.enrolment.interval_s == 5
    assert member.key_path.stat().st_mode & 0o777 == 0o600


def request_of(signer: Signer, name: str = "acme") -> bytes:
    return enrolmentrequest.make(signer, name).encode()


def test_a_request_keeps_the_key_where_it_was_made(fleet: Fleet, tmp_path: Path) -> None:
    request = request_of(Signer.create(f"file:{tmp_path / 'key'}", ES256))
    member = fleet.enrol("device", "robot-1", request=request)
    assert not member.key_path.exists()
    with pytest.raises(Unverified) as refused:
        fleet.enrol("device", "robot-2", request=request)
    assert refused.value.reason == "already-enrolled"


def test_a_request_made_for_another_fleet_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    signer = Signer.create(f"file:{tmp_path / 'key'}", ES256)
    with pytest.raises(Unverified) as refused:
        fleet.enrol("device", "robot-1", request=request_of(signer, "borealis"))
    assert refused.value.reason == "not-enrolled"
    assert list((fleet.path / "devices").iterdir()) == []


def test_a_request_without_possession_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    asked = enrolmentrequest.make(Signer.create(f"file:{tmp_path / 'key'}", ES256), "acme")
    asked.possession = Signer.create(f"file:{tmp_path / 'other'}", ES256).sign(b"")
    with pytest.raises(Unverified) as refused:
        fleet.enrol("device", "robot-1", request=asked.encode())
    assert refused.value.reason == "no-possession"
    assert list((fleet.path / "devices").iterdir()) == []


def test_a_level_that_no_evidence_shows_is_refused_or_software(
    fleet: Fleet, tmp_path: Path
) -> None:
    asked = enrolmentrequest.make(Signer.create(f"file:{tmp_path / 'key'}", ES256), "acme")
    asked.custody = CUSTODY_SECURE_ELEMENT
    with pytest.raises(Unverified, match="as-software") as refused:
        fleet.enrol("device", "robot-1", request=asked.encode())
    assert refused.value.reason == "bad-custody"
    member = fleet.enrol("device", "robot-1", request=asked.encode(), as_software=True)
    enrolled = member.identity.enrolment
    assert (enrolled.custody, enrolled.evidence) == (0, [])


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x82\xa0\x40", b"\xff" * 40])
def test_what_is_no_request_is_refused(fleet: Fleet, data: bytes) -> None:
    with pytest.raises(Malformed):
        fleet.enrol("device", "robot-1", request=data)
    assert list((fleet.path / "devices").iterdir()) == []


@pytest.mark.parametrize("label", ["", "../x", "a/b", ".hidden", "x" * 65])
def test_a_label_cannot_leave_its_folder(fleet: Fleet, label: str) -> None:
    with pytest.raises(Malformed):
        fleet.enrol("device", label)


@pytest.mark.parametrize("name", ["", "Acme", "a" * 21, "a b", "a+b"])
def test_a_fleet_name_is_an_iss(tmp_path: Path, name: str) -> None:
    with pytest.raises(Malformed):
        Fleet.init(tmp_path / "x", name)
    assert not (tmp_path / "x").exists()


def test_a_fleet_does_not_trust_itself_a_second_time(tmp_path: Path) -> None:
    fleet = Fleet.init(tmp_path / "acme", "acme")
    with pytest.raises(Malformed, match="own root"):
        fleet.trust(fleet.root_line)
    assert fleet.root_lines() == [fleet.root_line]


def test_a_second_root_for_a_trusted_name_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    fleet.trust(Fleet.init(tmp_path / "b1", "borealis").root_line)
    forged = Fleet.init(tmp_path / "b2", "borealis").root_line
    with pytest.raises(Unverified) as refused:
        fleet.trust(forged)
    assert refused.value.reason == "wrong-key"
    assert forged not in fleet.trusted_lines()


def test_what_the_commands_write_is_a_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "acme"
    assert tally("init", folder, "--name", "acme").exit_code == 0
    assert tally("enroll", folder, "v-1", "--kind", "validator").exit_code == 0
    credential = folder / "validators/v-1/credential.cbor"
    made = tally(
        "enroll", folder, "gw-1", "--kind", "gateway", "--validator", f"http://[::1]:1={credential}"
    )
    assert made.exit_code == 0, made.output
    assert tally("enroll", folder, "robot-1", "--detail", "asset_tag=A-7").exit_code == 0

    gateway = gateway_config.load(folder / "gateways/gw-1/gateway.toml")
    assert [peer.name for peer in gateway.validators] == ["acme"]
    validator = validator_config.load(folder / "validators/v-1/validator.toml")
    assert validator.host == "127.0.0.1"
    assert not validator.open_reads
    assert (folder / "validators/v-1/validator.toml").stat().st_mode & 0o077 == 0
    device = json.loads((folder / "devices/robot-1/tallystick.json").read_text())
    assert len(device["gateways"]) == 1

    listed = json.loads(tally("list", folder, "--json").stdout)
    assert [m["label"] for m in listed["members"]] == ["robot-1", "gw-1", "v-1"]
    member = Fleet.open(folder).member("device", "robot-1")
    assert member.identity.enrolment.details == {"asset_tag": "A-7"}


def test_a_credential_of_no_validator_is_no_peer(fleet: Fleet) -> None:
    robot = fleet.enrol("device", "robot-1")
    with pytest.raises(Malformed, match="no validator"):
        provision.validator_peer("http://127.0.0.1:1", str(robot.credential_path))


def test_the_root_key_never_shows(fleet: Fleet, tmp_path: Path) -> None:
    secret = (fleet.path / "root.key").read_bytes()
    shown = tally("list", fleet.path).output + tally("enroll", fleet.path, "r").output
    assert secret[-32:].hex() not in shown.lower()
    assert "root.key" not in json.dumps(json.loads(tally("list", fleet.path, "--json").stdout))


def test_what_is_wrong_is_found_before_anybody_is_enrolled(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    for kind, *wrong in (
        ("device", "--profile", "nope"),
        ("device", "--profile", tmp_path / "bad.toml"),
        ("gateway", "--validator", f"http://x={tmp_path / 'nothing'}"),
        ("device", "--detail", "no equals sign"),
        ("validator", "--bind", "127.0.0.1:port"),
    ):
        assert tally("enroll", fleet.path, "one", "--kind", kind, *wrong).exit_code != 0
        assert list(fleet.members()) == []


def test_what_is_no_text_is_said_in_one_sentence(fleet: Fleet, tmp_path: Path) -> None:
    noise = tmp_path / "noise.toml"
    for data, reason in ((b"\xff\xfe\x00", "bad-utf8"), (b"x" * 100_000, "too-large")):
        noise.write_bytes(data)
        for command in (
            ("trust", fleet.path, noise),
            ("policy", fleet.path, "--profile", noise, "--out", tmp_path / "p"),
        ):
            refused = tally(*command).exception
            assert isinstance(refused, Malformed)
            assert refused.reason == reason
    for place in ("trusted/x.pub", "fleet.toml"):
        (fleet.path / place).write_bytes(b"\xff")
        assert isinstance(tally("list", fleet.path).exception, Malformed)
        (fleet.path / place).unlink()


@pytest.mark.parametrize(
    "odd", ['say "hello"', "back\\slash", "line\nend", "\x7f \u00fc \U0001f916"]
)
def test_odd_text_stays_one_value_of_a_configuration(
    tmp_path: Path, odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fleet = Fleet.init(tmp_path / odd.replace("\n", " "), "acme")
    validator = fleet.enrol("validator", "v-1")
    peer = provision.ValidatorPeer("acme", f"http://x/{odd}", validator.credential_path)
    written = provision.gateway(
        fleet, fleet.enrol("gateway", "g-1"), broker=f"mqtt://{odd}", validators=[peer]
    )
    read = msgspec.toml.decode(written.read_bytes())
    assert read["broker"]["url"] == f"mqtt://{odd}"
    assert read["validators"][0]["url"] == f"http://x/{odd}"
    assert read["validators"][0]["credential"] == "validators/acme.cbor"


def test_the_members_fit_a_terminal_of_80_columns(fleet: Fleet) -> None:
    for kind in ("device", "validator"):
        fleet.enrol(kind, "robot-1")
    shown = tally("list", fleet.path)
    assert max(map(len, shown.output.splitlines())) <= 80
    for member in fleet.members():
        assert f"{member.id_text} active software" in shown.output


def test_the_nearest_command_is_named() -> None:
    shown = CliRunner().invoke(cli, ["verfiy"])
    assert shown.exit_code == 2
    assert "Did you mean 'verify'?" in shown.output


def test_what_was_written_before_is_named(fleet: Fleet, tmp_path: Path) -> None:
    assert "written before" not in tally("enroll", fleet.path, "robot-1").output
    later = tally("enroll", fleet.path, "gw-1", "--kind", "gateway").output
    gateway = fleet.member("gateway", "gw-1")
    assert gateway.id_text in later.split("written before")[1]
    assert "in " + str(fleet.path / "devices/robot-1/tallystick.json") in later
    Fleet.init(tmp_path / "b", "borealis")
    trusted = tally("trust", fleet.path, tmp_path / "b" / "root.pub").output
    assert fleet.trusted_lines()[0] in trusted
    assert trusted.count("\n  in ") == 2
    assert "written before" not in tally("enroll", fleet.path, "robot-2").output
    assert "robot-2" not in tally("trust", fleet.path, tmp_path / "b" / "root.pub").output


def test_a_policy_says_how_keys_must_be_held_and_whom_it_refuses(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.enrol("device", "robot-1")
    out = tmp_path / "policy.toml"
    said = tally("policy", fleet.path, "--out", out)
    assert said.exit_code == 0, said.output
    assert Policy.parse(out.read_text()).demands[0] == MinimumCustody(CUSTODY_PKCS11)
    assert 'custody = "pkcs11"' in out.read_text()
    assert "it refuses robot-1: its key is held in software" in said.output
    lax = tally("policy", fleet.path, "--custody", "software", "--out", out)
    assert 'custody = "software"' in out.read_text()
    assert "refuses" not in lax.output


def test_a_level_without_evidence_is_refused_with_what_brings_it() -> None:
    tpm = uncounted(keycustody.Counted(CUSTODY_TPM)).message
    assert "no evidence (tpm2-certify)" in tpm and "`tally fleet attester add`" in tpm
    token = uncounted(keycustody.Counted(CUSTODY_PKCS11)).message
    assert "attester" not in token and "--as-software" in token


def test_paths_of_a_command_line_are_relative_to_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    begin = "tpm2:handle=0x81020001;ak=0x81020002"
    assert absolute(f"{begin};attester=a/b.cbor;pin=yes") == (
        f"{begin};attester={tmp_path}/a/b.cbor;pin=yes"
    )
    assert absolute("atecc608:virtual=chip;slot=1") == f"atecc608:virtual={tmp_path}/chip;slot=1"
    for elsewhere in (begin, f"{begin};attester=/b.cbor", "atecc608:bus=1", "file:/key"):
        assert absolute(elsewhere) == elsewhere


def test_a_credential_is_verified_once_while_it_is_the_same(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in ("a", "b"):
        fleet.enrol("device", label)
    list(fleet.members())
    read: list[str] = []
    whole = Fleet.member

    def counted(self: Fleet, kind: str, label: str) -> Member:
        read.append(label)
        return whole(self, kind, label)

    monkeypatch.setattr(Fleet, "member", counted)
    assert [one.label for one in fleet.members()] == ["a", "b"]
    assert read == []
    a, b = (fleet.path / "devices" / label / "credential.cbor" for label in ("a", "b"))
    write_private(a, b.read_bytes())
    assert next(fleet.members()).id == whole(fleet, "device", "b").id
    assert read == ["a"]
    b.unlink()
    with pytest.raises(FileNotFoundError):
        list(fleet.members())
