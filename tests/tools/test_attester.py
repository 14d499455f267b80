"""`tally fleet attester`, with real software TPMs."""

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support import swtpm
from support.swtpm import KEY, transient
from tallystick.evidence import attester as statements
from tallystick.evidence import cbor, enrolmentrequest, keycustody
from tallystick.evidence.enrolment import CUSTODY_TPM
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.hw.signer import Signer
from tallystick.tools import attesters, ek_certificate
from tallystick.tools.attester import attester
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.swtpm import Swtpm


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    yield from swtpm.running(tmp_path_factory.mktemp("tpm"))


@pytest.fixture(scope="module")
def other_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    """Of another maker: its certificates lead elsewhere."""
    yield from swtpm.running(tmp_path_factory.mktemp("other"))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "acme", "acme")


def uri(tpm: Swtpm, key: int = KEY, ak: int = 0x81020002) -> str:
    return f"tpm2:handle=0x{key:08x};ak=0x{ak:08x};tcti={tpm.tcti}"


def tally(*words: object) -> str:
    done = CliRunner().invoke(attester, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def maker(tpm: Swtpm) -> Path:
    return tpm.folder / "maker" / "ca.pem"


def ca(tpm: Swtpm) -> list[x509.Certificate]:
    return ek_certificate.read_ca((maker(tpm),))


def test_a_tpm_on_this_machine(fleet: Fleet, tpm: Swtpm) -> None:
    said = tally("add", fleet.path, "robot-7", "--key", uri(tpm), "--ek-ca", maker(tpm))
    assert "swtpm-localca" in said and "not checked" in said
    file = fleet.path / "attesters" / "robot-7" / "attester.cbor"
    vouched = statements.parse(file.read_bytes()).verify(fleet.signer.public_key())
    assert vouched.details["genuine_by"] == "certificate"
    assert len(vouched.details["ek_certificate"]) == 32
    assert (file.parent / "ek.der").exists()
    (row,) = json.loads(tally("list", fleet.path, "--json"))
    assert (row["label"], row["genuine_by"]) == ("robot-7", "certificate")
    assert "robot-7" in tally("list", fleet.path)

    # The line that it prints is the URI of a key whose evidence checks, and enrols as a TPM's.
    line = next(line for line in said.splitlines() if line.startswith("  "))
    key = Signer.create(line.strip().strip("'"))
    request = enrolmentrequest.make(key, fleet.name)
    assert [kind for kind, _ in request.evidence] == ["tpm2-certify"]
    member = fleet.enrol("device", "robot-7", request=request.encode())
    counted = keycustody.current(member.identity)
    assert (counted.level, counted.why()) == (CUSTODY_TPM, "")
    with pytest.raises(Malformed, match="already"):
        tally("add", fleet.path, "robot-7", "--key", uri(tpm), "--trust-this-tpm")
    assert transient(tpm) == []
    swtpm.evict(tpm, KEY)


def test_a_tpm_elsewhere_by_files(fleet: Fleet, tpm: Swtpm, tmp_path: Path) -> None:
    asked, challenge, answer = (tmp_path / name for name in ("asked", "challenge", "answer"))
    tally("request", "--key", uri(tpm), "--out", asked)
    tally("challenge", fleet.path, "robot-8", asked, "--out", challenge)
    tally("answer", challenge, "--key", uri(tpm), "--out", answer)
    said = tally("add", fleet.path, "robot-8", "--answer", answer, "--trust-this-tpm")
    assert "that is your word" in said
    ((label, vouched),) = attesters.vouched(fleet)
    assert (label, vouched.details["genuine_by"]) == ("robot-8", "operator")
    assert "ek_certificate" not in vouched.details
    # An answer serves once.
    with pytest.raises(Malformed, match="already"):
        tally("add", fleet.path, "robot-8", "--answer", answer, "--trust-this-tpm")
    with pytest.raises(Malformed, match="no challenge is open"):
        tally("add", fleet.path, "robot-9", "--answer", answer, "--trust-this-tpm")


def asked_of(tpm: Swtpm, tmp_path: Path) -> attesters.Request:
    file = tmp_path / "asked-of"
    tally("request", "--key", uri(tpm), "--out", file)
    return attesters.parse_request(file.read_bytes())


def test_a_wrong_answer_ends_the_challenge(fleet: Fleet, tpm: Swtpm, tmp_path: Path) -> None:
    attesters.set_challenge(fleet, "robot-7", asked_of(tpm, tmp_path))
    pending = fleet.path / "attesters" / ".robot-7.challenge"
    assert pending.stat().st_mode & 0o077 == 0
    with pytest.raises(Unverified, match="not in that TPM"):
        attesters.take_answer(fleet, "robot-7", bytes(32))
    with pytest.raises(Malformed, match="no challenge is open"):
        attesters.take_answer(fleet, "robot-7", bytes(32))
    assert attesters.vouched(fleet) == []


def test_an_answer_comes_in_time(
    fleet: Fleet, tpm: Swtpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attesters.set_challenge(fleet, "robot-7", asked_of(tpm, tmp_path))
    later = time.time() + attesters.CHALLENGE_AGE_S_MAX + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Unverified, match="too old"):
        attesters.take_answer(fleet, "robot-7", bytes(32))


def test_a_tpm_of_another_maker_is_refused(
    fleet: Fleet, tpm: Swtpm, other_tpm: Swtpm, tmp_path: Path
) -> None:
    with pytest.raises(Unverified, match="--ek-ca"):
        tally("add", fleet.path, "robot-7", "--key", uri(tpm), "--ek-ca", maker(other_tpm))
    # Without the certificate between the TPM's and the root, nothing leads there.
    root_only = tmp_path / "root.pem"
    root_only.write_text((tpm.folder / "maker" / "swtpm-localca-rootca-cert.pem").read_text())
    with pytest.raises(Unverified, match="--ek-ca"):
        tally("add", fleet.path, "robot-7", "--key", uri(tpm), "--ek-ca", root_only)
    # Nor does it end at a certificate that is no root.
    middle = tmp_path / "middle.pem"
    middle.write_text((tpm.folder / "maker" / "issuercert.pem").read_text())
    with pytest.raises(Unverified, match="--ek-ca"):
        tally("add", fleet.path, "robot-7", "--key", uri(tpm), "--ek-ca", middle)
    assert attesters.vouched(fleet) == []
    # The next attempt is not in the way of the last.
    tally("add", fleet.path, "robot-7", "--key", uri(tpm), "--ek-ca", maker(tpm))


def test_a_certificate_of_another_tpm_is_refused(
    fleet: Fleet, tpm: Swtpm, other_tpm: Swtpm, tmp_path: Path
) -> None:
    mine, others = asked_of(tpm, tmp_path), asked_of(other_tpm, tmp_path)
    swapped = attesters.Request(mine.ak, mine.ek, others.certificate, mine.manufacturer)
    with pytest.raises(Unverified, match="another key"):
        attesters.vouch(fleet, "robot-7", swapped, ca(other_tpm), 1)
    none = attesters.Request(mine.ak, mine.ek, None, mine.manufacturer)
    with pytest.raises(Unverified, match="no endorsement certificate"):
        attesters.vouch(fleet, "robot-7", none, ca(tpm), 1)
    broken = attesters.Request(mine.ak, mine.ek, b"no certificate", mine.manufacturer)
    with pytest.raises(Unverified, match="cannot be read"):
        attesters.vouch(fleet, "robot-7", broken, ca(tpm), 1)


def test_a_certificate_has_its_time_and_its_use(tpm: Swtpm, tmp_path: Path) -> None:
    from tallystick.hw import tpm2

    mine = asked_of(tpm, tmp_path)
    assert mine.certificate is not None
    public = tpm2.challenges().endorsement_key(mine.ek)
    now = time.time()
    found = ek_certificate.check(mine.certificate, public, ca(tpm), now)
    assert "swtpm-localca" in found.issuer and "rootca" in found.root
    with pytest.raises(Unverified, match="expired"):
        ek_certificate.check(mine.certificate, public, ca(tpm), now - 30 * 86_400)


NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)
DAY = timedelta(days=1)
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "middle", "ek")}
EK_USE = x509.ObjectIdentifier("2.23.133.8.1")


def certificate(
    name: str,
    issuer: str,
    *,
    is_ca: bool | None = True,
    use: x509.ObjectIdentifier | None = None,
    until: datetime = NOW + DAY,
) -> x509.Certificate:
    def named(what: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, what)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(KEYS[name].public_key())
        .serial_number(7)
        .not_valid_before(NOW - DAY)
        .not_valid_after(until)
    )
    if is_ca is not None:
        constraints = x509.BasicConstraints(ca=is_ca, path_length=None)
        builder = builder.add_extension(constraints, critical=True)
    if use is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    return builder.sign(KEYS[issuer], SHA256())


def checked(ek: x509.Certificate, *authorities: x509.Certificate) -> ek_certificate.Maker:
    public = KEYS["ek"].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    der = ek.public_bytes(Encoding.DER)
    return ek_certificate.check(der, public, list(authorities), NOW.timestamp())


ROOT = certificate("root", "root")
MIDDLE = certificate("middle", "root")
EK = certificate("ek", "middle", is_ca=False, use=EK_USE)


def test_a_chain_that_holds() -> None:
    found = checked(EK, ROOT, MIDDLE)
    assert (found.issuer, found.root) == ("CN=middle", "CN=root")
    assert checked(certificate("ek", "root", is_ca=None), ROOT).issuer == "CN=root"


def test_chains_that_do_not_hold() -> None:
    other_root = certificate("root", "middle")  # the root's name, by another key
    for what, ek, authorities in (
        ("--ek-ca", EK, ()),
        ("--ek-ca", EK, (ROOT,)),
        ("--ek-ca", EK, (MIDDLE,)),
        ("--ek-ca", EK, (MIDDLE, other_root)),
        # Whoever has a certificate of the maker's is no maker.
        ("--ek-ca", EK, (ROOT, certificate("middle", "root", is_ca=False))),
        ("--ek-ca", EK, (ROOT, certificate("middle", "root", is_ca=None))),
        ("expired", EK, (ROOT, certificate("middle", "root", until=NOW - DAY / 2))),
        ("expired", certificate("ek", "root", until=NOW - DAY / 2), (ROOT,)),
        ("expired", EK, (certificate("root", "root", until=NOW - DAY / 2), MIDDLE)),
        (
            "not for an endorsement",
            certificate("ek", "root", use=ExtendedKeyUsageOID.SERVER_AUTH),
            (ROOT,),
        ),
        ("another key", certificate("middle", "root", is_ca=False, use=EK_USE), (ROOT,)),
    ):
        with pytest.raises(Unverified, match=what):
            checked(ek, *authorities)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        cbor.encode(["tally-attester-request/1"]),
        cbor.encode(["tally-attester-answer/1", b"x", b"y"]),
        cbor.encode(["tally-attester-request/1", b"", b"", None, 7]),
        cbor.encode(["tally-attester-request/1", b"", b"", None, "a" * 17]),
        cbor.encode(["tally-attester-request/1", b"", b"", None, "\x1b[2J"]),
        cbor.encode(["tally-attester-request/1", bytes(4097), b"", None, "IBM"]),
        cbor.encode(["tally-attester-request/1", bytes(9000), b"", None, "IBM"]),
        cbor.encode({1: 2}),
    ],
)
def test_files_are_parsed_strictly(data: bytes) -> None:
    for parse in (attesters.parse_request, attesters.parse_challenge, attesters.parse_answer):
        with pytest.raises(Malformed):
            parse(data)


def test_what_the_command_asks_for(fleet: Fleet, tmp_path: Path) -> None:
    def fails(*words: object) -> str:
        done = CliRunner().invoke(attester, [str(word) for word in words])
        assert done.exit_code == 2, done.output
        return done.output

    file = tmp_path / "answer"
    file.write_bytes(b"")
    assert "--key" in fails("add", fleet.path, "a", "--trust-this-tpm")
    assert "--key" in fails("add", fleet.path, "a", "--key", "u", "--answer", file)
    assert "genuine" in fails("add", fleet.path, "a", "--key", "u")
    both = ("--trust-this-tpm", "--ek-ca", file)
    assert "genuine" in fails("add", fleet.path, "a", "--key", "u", *both)
    with pytest.raises(Malformed, match="holds no PEM"):
        tally("add", fleet.path, "a", "--key", "u", "--ek-ca", file)
    for label in ("../a", ".a", "", "a/b"):
        with pytest.raises(Malformed, match="label"):
            attesters.take_answer(fleet, label, b"")
