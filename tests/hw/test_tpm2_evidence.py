"""Evidence of a TPM's custody: made by a real software TPM, checked as a verifier checks it."""

import os
from pathlib import Path

import pytest

from support import examples as ex
from support import swtpm
from support.swtpm import AK, KEY, PIN_KEY, secrets, transient, uri
from tallystick.evidence import attester, custody_tpm2, enrolment, enrolmentrequest
from tallystick.evidence.attester import Attester
from tallystick.evidence.custody_tpm2 import Tpm2Certify
from tallystick.evidence.enrolment import CUSTODY_TPM
from tallystick.evidence.errors import KeyDriverError, TallyError
from tallystick.evidence.keys import ES256, PublicKey, device_text
from tallystick.hw import tpm2
from tallystick.hw.signer import Signer
from tallystick.tools.swtpm import Swtpm

ROOT = ex.Signer(ES256, "a fleet root that vouches")
FLEET = "acme"
NOW_S = 1_800_000_000
VALIDITY = (NOW_S - 10, NOW_S + 10)


def statement(key: PublicKey) -> bytes:
    made = Attester(key, CUSTODY_TPM, {"manufacturer": "IBM"}, VALIDITY)
    return made.sign(ROOT, FLEET, device_text(key.thumbprint()))


@pytest.fixture(scope="module")
def attester_file(tpm: Swtpm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root's word for this TPM's attestation key, made there."""
    ak = tpm2.open_attestation_key(uri(tpm, KEY, f";ak=0x{AK:08x}"))
    assert ak.ensure()
    assert not ak.ensure()
    key = tpm2.challenges().attestation_key(ak.identity().ak)
    ak.close()
    file = tmp_path_factory.mktemp("attester") / "attester.cbor"
    file.write_bytes(statement(key))
    return file


@pytest.fixture(scope="module")
def key(tpm: Swtpm, attester_file: Path) -> Signer:
    return swtpm.fresh(tpm, KEY, f";ak=0x{AK:08x};attester={attester_file}")


def context_of(key: PublicKey) -> bytes:
    return enrolment.custody_context(key, FLEET)


def made_by(key: Signer) -> Tpm2Certify:
    ((kind, data),) = key.evidence(context_of(key.public_key()))
    assert kind == custody_tpm2.TYPE
    return custody_tpm2.parse(data)


def check(evidence: Tpm2Certify, key: PublicKey, context: bytes | None = None) -> list[str]:
    wanted = context_of(key) if context is None else context
    shown, _ = evidence.check(key, wanted, ROOT.public_key(), FLEET, NOW_S)
    return shown


def test_a_verifier_checks_what_the_tpm_made(key: Signer) -> None:
    (shown,) = check(made_by(key), key.public_key())
    assert "made in a TPM and cannot leave it" in shown and "IBM" in shown


def test_a_request_carries_it(key: Signer) -> None:
    request = enrolmentrequest.parse(enrolmentrequest.make(key, FLEET).encode())
    assert request.verify(FLEET).custody == CUSTODY_TPM
    ((kind, data),) = request.evidence
    assert kind == custody_tpm2.TYPE
    check(custody_tpm2.parse(data), request.key)


def test_every_changed_byte_is_refused(key: Signer) -> None:
    ((_, data),) = key.evidence(context_of(key.public_key()))
    public = key.public_key()
    check(custody_tpm2.parse(data), public)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(TallyError):
            check(custody_tpm2.parse(changed), public)


def test_every_part_is_bound_to_the_others(key: Signer, tpm: Swtpm, attester_file: Path) -> None:
    extra = f";ak=0x{AK:08x};attester={attester_file}"
    other = swtpm.fresh(tpm, 0x81020020, extra)
    mine, others = made_by(key), made_by(other)
    public = key.public_key()
    vouched = attester_file.read_bytes()
    check(others, other.public_key())
    for parts in (
        (others.public, mine.attest, mine.signature),
        (mine.public, others.attest, mine.signature),
        (mine.public, mine.attest, others.signature),
        (mine.public, others.attest, others.signature),
        (others.public, others.attest, others.signature),
    ):
        with pytest.raises(TallyError):
            check(Tpm2Certify(*parts, vouched), public)
    # For another id, another fleet, another time, another root.
    with pytest.raises(TallyError):
        check(mine, public, os.urandom(32))
    for root, name, at_s in (
        (ROOT.public_key(), "borealis", NOW_S),
        (ROOT.public_key(), FLEET, NOW_S + 11),
        (public, FLEET, NOW_S),
    ):
        with pytest.raises(TallyError):
            mine.check(public, context_of(public), root, name, at_s)


def test_a_key_that_signs_in_software_cannot_stand_in_for_the_attestation_key(key: Signer) -> None:
    # Whoever has some signing key of the TPM, or of a file, cannot make evidence with it: the root
    # did not vouch for it, and the attestation key itself signs nothing but the TPM's structures.
    liar = ex.Signer(ES256, "not in a TPM")
    mine = made_by(key)
    forged = Tpm2Certify(mine.public, mine.attest, liar.sign(mine.attest), mine.attester.encode())
    with pytest.raises(TallyError):
        check(forged, key.public_key())


def test_the_attestation_key_signs_no_message(tpm: Swtpm, attester_file: Path) -> None:
    # Nor can it be used as a key of its own: restricted.
    with pytest.raises(KeyDriverError) as caught:
        Signer.from_uri(uri(tpm, AK))
    assert caught.value.reason == "wrong-key"
    from tallystick.hw import tpm2_keys
    from tallystick.hw.tpm2_context import Tpm

    shaped_like_a_tpms = b"\xffTCG" + bytes(100)
    with pytest.raises(KeyDriverError) as caught:
        Tpm(tpm.tcti).run("test", lambda c: tpm2_keys.sign(c, AK, None, shaped_like_a_tpms))
    assert caught.value.reason == "chip-error"


def test_a_key_without_the_roots_word_says_what_to_do(tpm: Swtpm, tmp_path: Path) -> None:
    plain = swtpm.fresh(tpm, 0x81020021)
    assert plain.evidence(bytes(32)) == []
    for extra, reason in (
        (f";ak=0x{AK:08x}", "no-attester"),
        (f";ak=0x{AK:08x};attester={tmp_path}/none", "no-attester"),
        (f";ak=0x8102002f;attester={tmp_path}/a", "no-key"),
        (f";ak=0x81020021;attester={tmp_path}/a", "bad-key-uri"),
    ):
        (tmp_path / "a").write_bytes(statement(ROOT.public_key()))
        with pytest.raises(KeyDriverError) as caught:
            Signer.from_uri(uri(tpm, 0x81020021, extra)).evidence(bytes(32))
        assert caught.value.reason == reason, caught.value
    # A statement for another attestation key, or none at all.
    named = f";ak=0x{AK:08x};attester={tmp_path}/a"
    for data in (statement(ROOT.public_key()), b"no statement", b""):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(KeyDriverError) as caught:
            Signer.from_uri(uri(tpm, 0x81020021, named)).evidence(bytes(32))
        assert caught.value.reason == "wrong-attester"
    with pytest.raises(KeyDriverError) as caught:
        Signer.from_uri(uri(tpm, 0x81020021, named)).evidence(bytes(31))
    assert caught.value.reason == "bad-context"
    # Another signing key is no attestation key.
    mere = tpm2.open_attestation_key(uri(tpm, KEY, ";ak=0x81020021"))
    with pytest.raises(KeyDriverError) as caught:
        mere.identity()
    assert caught.value.reason == "wrong-key"


def test_a_key_with_a_pin_is_certified_too(tpm: Swtpm, attester_file: Path) -> None:
    extra = f";pin=yes;ak=0x{AK:08x};attester={attester_file}"
    pinned = swtpm.fresh(tpm, PIN_KEY, extra)
    check(made_by(pinned), pinned.public_key())
    wrong = Signer.from_uri(uri(tpm, PIN_KEY, extra), secrets=secrets("wrong"))
    with pytest.raises(KeyDriverError) as caught:
        wrong.evidence(bytes(32))
    assert caught.value.reason == "wrong-pin"
    assert transient(tpm) == []


# --- the challenge


def test_only_the_tpm_with_both_keys_answers(
    tpm: Swtpm, attester_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ak = tpm2.open_attestation_key(uri(tpm, KEY, f";ak=0x{AK:08x}"))
    mine = ak.identity()
    assert mine.certificate is not None and mine.manufacturer == "IBM"
    challenges = tpm2.challenges()
    secret, blob, seed = challenges.challenge(mine.ak, mine.ek)
    assert ak.answer(blob, seed) == secret
    # Another attestation key in the same TPM.
    other = tpm2.open_attestation_key(uri(tpm, KEY, ";ak=0x81020030"))
    assert other.ensure()
    with pytest.raises(KeyDriverError) as caught:
        other.answer(blob, seed)
    assert caught.value.reason == "wrong-challenge"
    # Another TPM.
    for second in swtpm.running(tmp_path_factory.mktemp("second")):
        foreign = tpm2.open_attestation_key(uri(second, KEY, f";ak=0x{AK:08x}"))
        foreign.ensure()
        with pytest.raises(KeyDriverError) as caught:
            foreign.answer(blob, seed)
        assert caught.value.reason == "wrong-challenge"
        # Somebody who has our attestation key's public area, and a TPM of his own.
        _, blob2, seed2 = challenges.challenge(mine.ak, foreign.identity().ek)
        with pytest.raises(KeyDriverError):
            foreign.answer(blob2, seed2)
        assert transient(second) == []
    # Changed on the way.
    for changed in (blob[:-1] + bytes([blob[-1] ^ 1]), blob[:-1], b""):
        with pytest.raises(KeyDriverError) as caught:
            ak.answer(changed, seed)
        assert caught.value.reason == "wrong-challenge"
    assert transient(tpm) == []


def test_an_endorsement_hierarchy_with_a_password(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from tpm2_pytss import ESYS_TR

    from tallystick.hw.tpm2_context import Tpm

    for own in swtpm.running(tmp_path_factory.mktemp("own")):
        where = uri(own, KEY, f";ak=0x{AK:08x}")
        free = tpm2.open_attestation_key(where)
        free.ensure()
        before = free.identity()
        Tpm(own.tcti).run(
            "test", lambda c: c.esapi.hierarchy_change_auth(ESYS_TR.ENDORSEMENT, b"its password")
        )
        secret, blob, seed = tpm2.challenges().challenge(before.ak, before.ek)
        for given, reason in ((None, "no-pin"), (secrets("no"), "wrong-pin")):
            key = tpm2.open_attestation_key(where, given)
            with pytest.raises(KeyDriverError) as caught:
                key.identity()
            assert caught.value.reason == reason
            with pytest.raises(KeyDriverError) as caught:
                key.answer(blob, seed)
            assert caught.value.reason == reason
        key = tpm2.open_attestation_key(where, secrets("its password"))
        assert key.identity() == before
        assert key.answer(blob, seed) == secret
        assert transient(own) == []


def test_only_attestation_and_endorsement_keys_are_challenged(
    key: Signer, tpm: Swtpm, attester_file: Path
) -> None:
    challenges = tpm2.challenges()
    mine = tpm2.open_attestation_key(uri(tpm, KEY, f";ak=0x{AK:08x}")).identity()
    signing = made_by(key).public
    for ak, ek in ((signing, mine.ek), (mine.ek, mine.ek), (mine.ak, mine.ak), (mine.ak, signing)):
        with pytest.raises(TallyError):
            challenges.challenge(ak, ek)
    # Keys that others could use, or that came from outside, by their attributes (TPMA_OBJECT).
    for bit in (1, 4, 5, 16, 17, 18):
        attributes = int.from_bytes(mine.ek[4:8], "big") ^ 1 << bit
        changed = mine.ek[:4] + attributes.to_bytes(4, "big") + mine.ek[8:]
        with pytest.raises(TallyError, match="no endorsement key"):
            challenges.challenge(mine.ak, changed)
        attributes = int.from_bytes(mine.ak[4:8], "big") ^ 1 << bit
        changed = mine.ak[:4] + attributes.to_bytes(4, "big") + mine.ak[8:]
        with pytest.raises(TallyError, match="no attestation key"):
            challenges.challenge(changed, mine.ek)
    for ek in (b"", mine.ek[:-1], mine.ek + b"\0", os.urandom(300), bytes(5000)):
        with pytest.raises(TallyError):
            challenges.challenge(mine.ak, ek)
    assert attester.parse(attester_file.read_bytes()).key == challenges.attestation_key(mine.ak)
