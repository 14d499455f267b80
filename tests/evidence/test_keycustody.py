"""Custody evidence: what counts, what does not and why, and that no bit of it can be changed."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import strategies as made
from support import examples as ex
from support import heldkeys as held
from support.mutants import flips
from tallystick.evidence import (
    attester,
    credential,
    custody_atecc608,
    custody_pkcs11,
    custody_tpm2,
    enrolment,
    enrolmentrequest,
    keychange,
    keycustody,
)
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, TallyError, Unverified

KEY = ex.RECEIVER.public_key()
CONTEXT = enrolment.custody_context(KEY, ex.GLOBEX)
ROOT = ex.GLOBEX_ROOT.public_key()
SETTINGS = settings(max_examples=60, deadline=None)
GOOD: dict[int, tuple[str, Callable[[], bytes]]] = {
    1: ("pkcs11-attributes", lambda: held.pkcs11().encode()),
    2: ("tpm2-certify", lambda: held.tpm2().encode()),
    3: ("atecc608-config", lambda: held.atecc608().encode()),
}


def counted(
    claimed: int, evidence: list[Any], signer: ex.Signer = ex.RECEIVER
) -> keycustody.Counted:
    """By way of a verified credential, as everybody counts."""
    enrolled = held.enrol_held(claimed, evidence, signer)
    identity = credential.verify_credential(
        credential.Credential([enrolled.encode()]), {ex.GLOBEX: ROOT}
    )
    return keycustody.current(identity)


def good(level: int) -> list[Any]:
    kind, make = GOOD[level]
    return [kind, make()]


# --- what counts ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", GOOD)
def test_a_level_counts_with_its_evidence(level: int) -> None:
    got = counted(level, [good(level)])
    assert (got.level, got.claimed, got.not_checked, got.why()) == (level, level, [], "")
    assert got.shown
    assert got.not_proven


@pytest.mark.parametrize("level", GOOD)
def test_a_level_without_evidence_is_software(level: int) -> None:
    got = counted(level, [])
    assert (got.level, got.claimed, got.shown, got.not_proven) == (0, level, [], [])
    assert "no evidence" in got.why()
    assert keycustody.NEEDS[level] in got.why()


@pytest.mark.parametrize("claimed", range(4))
@pytest.mark.parametrize("shown", GOOD)
def test_evidence_of_another_level_never_counts(claimed: int, shown: int) -> None:
    if claimed == shown:
        return
    got = counted(claimed, [good(shown)])
    assert got.level == 0
    assert [kind for kind, _ in got.not_checked] == [GOOD[shown][0]]
    assert "another level" in got.not_checked[0][1]


def test_unknown_evidence_is_listed_and_changes_nothing() -> None:
    strange = ["tropic-01", b"anything"]
    got = counted(3, [strange, good(3)])
    assert got.level == 3
    assert got.not_checked == [("tropic-01", "a type of evidence that is not known here")]
    alone = counted(3, [strange])
    assert alone.level == 0
    assert "tropic-01" in alone.why()
    assert counted(0, [strange]).not_checked


def test_one_good_piece_is_enough_and_the_bad_one_is_listed() -> None:
    bad = [GOOD[3][0], held.atecc608(held.with_byte(held.config_zone(), 86, 0x55)).encode()]
    got = counted(3, [bad, good(3)])
    assert got.level == 3
    assert got.not_checked == [("atecc608-config", "the data zone is not locked")]


def test_what_is_no_evidence_at_all_is_listed() -> None:
    for level, (kind, _) in GOOD.items():
        got = counted(level, [[kind, b"\x80"]])
        assert got.level == 0
        assert got.not_checked


def test_counting_is_done_once_for_a_key() -> None:
    enrolled = held.enrol_held(3, [good(3)])
    identity = credential.verify_credential(
        credential.Credential([enrolled.encode()]), {ex.GLOBEX: ROOT}
    )
    first = keycustody.of_key(identity, KEY.thumbprint())
    assert keycustody.current(identity) is first
    with pytest.raises(Unverified):
        keycustody.of_key(identity, bytes(32))


def test_a_device_that_checks_a_half_loads_nothing_of_this() -> None:
    code = (
        "import sys, tallystick.recorder, tallystick.evidence.half, tallystick.evidence.keychange\n"
        "print([name for name in sys.modules if 'custody_' in name or name.endswith("
        "('keycustody', 'attester', 'enrolmentrequest', '_tpm'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


# --- ATECC608 ---------------------------------------------------------------------------------

ZONE = held.config_zone()


@pytest.mark.parametrize(
    ("zone", "why"),
    [
        (held.with_byte(ZONE, 86, 0x55), "data zone is not locked"),
        (held.with_byte(ZONE, 87, 0x55), "configuration zone is not locked"),
        (held.with_byte(ZONE, 12, 0xEF), "serial number is not that"),
        (held.with_byte(ZONE, 7, 0x02), "revision is not that"),
        (held.config_zone(slot_config=0x2001), "not secret"),
        (held.config_zone(slot_config=0x2080), "external messages"),
        (held.config_zone(slot_config=0x2083), "external messages"),
        (held.config_zone(slot_config=0x2085), "external messages"),
        (held.config_zone(slot_config=0x208F), "external messages"),
        (held.config_zone(slot_config=0x6081), "PrivWrite"),
        (held.config_zone(key=0x0032), "no private key"),
        (held.config_zone(key=0x0031), "PubInfo"),
        (held.config_zone(key=0x003F), "P-256"),
        (held.config_zone(slot=1), "not secret"),
    ],
)
def test_an_atecc608_that_is_not_as_it_should_be(zone: bytes, why: str) -> None:
    with pytest.raises(Unverified, match=why) as refused:
        held.atecc608(zone).check(KEY, CONTEXT)
    assert refused.value.reason == "bad-custody"


def test_an_atecc608_is_known_by_its_serial_number_and_revision() -> None:
    for serial, revision, why in (
        (b"\x02" + held.SERIAL[1:], held.REVISION, "serial number is none"),
        (held.SERIAL[:8] + b"\xef", held.REVISION, "serial number is none"),
        (held.SERIAL, bytes.fromhex("00005000"), "revision is none"),
    ):
        zone = bytearray(ZONE)
        zone[0:4], zone[4:8], zone[8:13] = serial[:4], revision, serial[4:]
        evidence = custody_atecc608.Atecc608Config(serial, revision, bytes(zone), 0)
        with pytest.raises(Unverified, match=why):
            evidence.check(KEY, CONTEXT)


def test_an_atecc608_says_what_it_does_not_prove() -> None:
    shown, not_proven = held.atecc608().check(KEY, CONTEXT)
    assert held.SERIAL.hex() in shown[0]
    assert "genuine Microchip chip" in not_proven[0]
    assert any("GenKey" in line for line in shown)
    shown, _ = held.atecc608(held.config_zone(slot_config=0x0081)).check(KEY, CONTEXT)
    assert not any("GenKey" in line for line in shown)
    shown, _ = held.atecc608(held.with_byte(ZONE, 88, 0xFE)).check(KEY, CONTEXT)
    assert "never replaced" in shown[-1]
    with pytest.raises(Unverified, match="P-256"):
        held.atecc608().check(ex.GIVER.public_key(), CONTEXT)


# --- PKCS#11 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", custody_pkcs11.ATTRIBUTES)
def test_every_attribute_of_a_token_counts(name: str) -> None:
    wrong = held.pkcs11(**{name: not held.TOKEN_ATTRIBUTES[name]})
    with pytest.raises(Unverified, match=name.replace("_", " ")) as refused:
        wrong.check(KEY, CONTEXT)
    assert refused.value.reason == "bad-custody"


def test_a_token_signs_with_a_mechanism_of_the_key() -> None:
    for evidence, signer in ((held.pkcs11(), ex.GIVER), (held.pkcs11(-8), ex.RECEIVER)):
        with pytest.raises(Unverified, match="signs with"):
            evidence.check(signer.public_key(), CONTEXT)
    shown, not_proven = held.pkcs11(-8).check(ex.GIVER.public_key(), CONTEXT)
    assert "SoftHSM v2" in shown[1]
    assert "software" in not_proven[1]


def test_a_token_names_everything() -> None:
    token, attributes = held.TOKEN, held.TOKEN_ATTRIBUTES
    custody_pkcs11.Pkcs11Attributes({**token, "label": ""}, attributes, "CKM_ECDSA")
    wrong: list[tuple[Any, Any, str]] = [
        ({**token, "label": "x" * 65}, attributes, "too-large"),
        ({**token, "label": b"x"}, attributes, "bad-type"),
        ({"label": "x"}, attributes, "bad-value"),
        ({**token, "more": "x"}, attributes, "bad-value"),
        (token, {**attributes, "modifiable": True}, "bad-value"),
        (token, {**attributes, "local": 1}, "bad-type"),
        (token, [], "bad-type"),
    ]
    for token_, attributes_, reason in wrong:
        with pytest.raises(Malformed) as refused:
            custody_pkcs11.Pkcs11Attributes(token_, attributes_, "CKM_ECDSA")
        assert refused.value.reason == reason


# --- TPM 2.0 ----------------------------------------------------------------------------------


def check_tpm(evidence: custody_tpm2.Tpm2Certify, **other: Any) -> tuple[list[str], list[str]]:
    given = {"key": KEY, "context": CONTEXT, "root": ROOT, "iss": ex.GLOBEX, "at_s": ex.TIME_S}
    return evidence.check(**{**given, **other})


PUBLIC = held.public_area(KEY.raw)


def test_a_tpm_shows_who_vouches_for_it() -> None:
    shown, not_proven = check_tpm(held.tpm2())
    assert "'Initech'" in shown[0]
    assert "'tpm-17'" in shown[0]
    assert "genuine" in not_proven[0]


@pytest.mark.parametrize(
    ("bit", "why"),
    [
        (1 << 1, "fixedTPM"),
        (1 << 4, "fixedParent"),
        (1 << 5, "sensitiveDataOrigin"),
        (1 << 18, "sign"),
        (1 << 16, "restricted"),
        (1 << 17, "decrypt"),
    ],
)
def test_the_attributes_of_a_key_in_a_tpm(bit: int, why: str) -> None:
    public = held.public_area(KEY.raw, held.ATTRIBUTES ^ bit)
    with pytest.raises(Unverified, match=rf"\({why}\)"):
        check_tpm(held.tpm2(public=public))


def test_what_a_tpm_certified_must_be_this_key_for_this_fleet() -> None:
    other = ex.GLOBEX_ROOT
    name = b"\x00\x0b" + sha256(PUBLIC)
    theirs = enrolment.custody_context(other.public_key(), ex.GLOBEX)
    for_acme = enrolment.custody_context(KEY, ex.ACME)
    cases: list[tuple[custody_tpm2.Tpm2Certify, dict[str, Any], str, str]] = [
        (held.tpm2(other), {"context": theirs}, "bad-custody", "not the enrolled"),
        (held.tpm2(other), {}, "bad-custody", "another key, id or fleet"),
        (held.tpm2(attest=held.certify(name, for_acme)), {}, "bad-custody", "id or fleet"),
        (held.tpm2(id=bytes(32)), {}, "bad-custody", "another key, id or fleet"),
        (held.tpm2(attest=held.certify(name[:-1], CONTEXT)), {}, "bad-custody", "certifies"),
        (held.tpm2(ak=ex.GLOBEX_ROOT), {}, "bad-signature", "not by"),
        (held.tpm2(attest=held.certify(name, b"")), {}, "bad-custody", "bound to"),
        (held.tpm2(vouched=held.attester(ex.ACME)), {}, "not-enrolled", "another fleet"),
        (held.tpm2(vouched=held.attester(root=ex.ACME_ROOT)), {}, "wrong-alg", "algorithm"),
        (held.tpm2(vouched=held.attester(root=ex.INITECH_ROOT)), {}, "wrong-key", "another key"),
        (held.tpm2(), {"at_s": ex.TIME_S - 2001}, "expired", "attester"),
        (held.tpm2(), {"at_s": ex.TIME_S + 31_536_001}, "expired", "attester"),
        (held.tpm2(), {"key": ex.GIVER.public_key()}, "bad-custody", "not the enrolled"),
    ]  # fmt: skip  # a table
    for evidence, other_given, reason, why in cases:
        with pytest.raises(Unverified, match=why) as refused:
            check_tpm(evidence, **other_given)
        assert refused.value.reason == reason, (reason, why)


def test_an_attester_is_the_subject_of_its_statement() -> None:
    made_ = attester.Attester(held.AK.public_key(), 2, {}, [0, 2**40])
    stranger = attester.parse(made_.sign(ex.GLOBEX_ROOT, ex.GLOBEX, ex.RECEIVER.id))
    with pytest.raises(Unverified) as refused:
        stranger.verify(ROOT)
    assert refused.value.reason == "wrong-key"
    with pytest.raises(Malformed):
        attester.Attester(held.AK.public_key(), 3, {}, [0, 1])
    with pytest.raises(Malformed):
        attester.Attester(held.AK.public_key(), 2, {}, [1, 0])


@pytest.mark.parametrize(
    ("public", "reason"),
    [
        (b"\x00\x01" + PUBLIC[2:], "bad-value"),
        (PUBLIC[:2] + b"\x00\x0c" + PUBLIC[4:], "bad-value"),
        (PUBLIC[:10] + b"\x00\x06" + PUBLIC[12:], "bad-value"),
        (held.public_area(KEY.raw, scheme="001a000b"), "bad-value"),
        (held.public_area(KEY.raw, scheme="001c"), "bad-value"),
        (held.public_area(KEY.raw, scheme="0018000c"), "bad-value"),
        (PUBLIC[:16] + b"\x00\x04" + PUBLIC[18:], "bad-value"),
        (PUBLIC[:18] + b"\x00\x20" + PUBLIC[20:], "bad-value"),
        (PUBLIC + b"\x00", "trailing-bytes"),
        (PUBLIC[:-1], "truncated"),
        (PUBLIC[:8] + b"\x00\x41" + PUBLIC[10:], "too-large"),
    ],
)
def test_a_public_area_that_is_none_of_ours(public: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        held.tpm2(public=public)
    assert refused.value.reason == reason


def test_a_signing_key_without_a_scheme_is_as_good() -> None:
    check_tpm(held.tpm2(public=held.public_area(KEY.raw, scheme="0010")))


def test_only_what_a_tpm_made_by_certify_is_an_attestation() -> None:
    name = b"\x00\x0b" + sha256(PUBLIC)
    for attest in (
        held.certify(name, CONTEXT, magic=0xFF544346),
        held.certify(name, CONTEXT, type_=0x8018),
        held.certify(name, CONTEXT) + b"\x00",
        held.certify(name, CONTEXT)[:-1],
    ):
        with pytest.raises(Malformed):
            held.tpm2(attest=attest)


def test_no_bit_of_a_tpms_evidence_can_be_changed() -> None:
    data = held.tpm2().encode()
    for flipped in flips(data):
        with pytest.raises(TallyError):
            check_tpm(custody_tpm2.parse(flipped))
    check_tpm(custody_tpm2.parse(data))


# --- rotations --------------------------------------------------------------------------------


def rotated(evidence: list[Any], custody: int = 2, at_ms: int = ex.TIME_MS) -> credential.Identity:
    """The receiver's second key, in a TPM; the context names the device's id."""
    first = held.enrol_held(0, [])
    change = keychange.rotate(
        ex.RECEIVER, NEXT, ex.GLOBEX, ex.RECEIVER.id, custody, evidence, None, at_ms
    )
    statements = [first.encode(), change.sign(ex.GLOBEX_ROOT, ex.GLOBEX, ex.RECEIVER.id)]
    return credential.verify_credential(credential.Credential(statements), {ex.GLOBEX: ROOT})


NEXT = ex.Signer(-7, "receiver after its rotation")


def test_a_rotation_brings_its_own_custody_and_evidence() -> None:
    evidence = held.tpm2(NEXT, id=ex.RECEIVER.id).encode()
    identity = rotated([["tpm2-certify", evidence]])
    assert keycustody.current(identity).level == 2
    assert keycustody.of_key(identity, ex.RECEIVER.id).level == 0
    # Bound to its own thumbprint and not to the device's id: made for another enrolment.
    stolen = rotated([["tpm2-certify", held.tpm2(NEXT).encode()]])
    assert keycustody.current(stolen).level == 0
    # The attester must be valid when the key was rotated.
    late = rotated([["tpm2-certify", evidence]], at_ms=ex.TIME_MS - 3_000_000)
    assert "not valid" in keycustody.current(late).why()


# --- requests ---------------------------------------------------------------------------------


def test_a_request_is_for_one_fleet_and_one_id() -> None:
    got = enrolmentrequest.parse(held.request().encode()).verify(ex.GLOBEX)
    assert (got.key, got.custody, got.id) == (KEY, 3, ex.RECEIVER.id)
    for iss, id_, reason in (
        (ex.ACME, None, "not-enrolled"),
        (ex.GLOBEX, bytes(32), "wrong-device"),
    ):
        with pytest.raises(Unverified) as refused:
            held.request().verify(iss, id_)
        assert refused.value.reason == reason


def test_every_flip_of_a_request_is_seen_or_shown_to_the_root() -> None:
    # Key, id and fleet are bound by the possession; the rest is what the root judges.
    data = held.request().encode()
    whole = held.request()
    for flipped in flips(data):
        try:
            got = enrolmentrequest.parse(flipped).verify(ex.GLOBEX)
        except TallyError:
            continue
        assert (got.iss, got.id, got.key) == (whole.iss, whole.id, whole.key)
        assert got.possession == whole.possession
        assert got.encode() == flipped != data


class Held:
    """A signer as a driver is one, over a fixed key."""

    custody = "tpm"

    def __init__(self) -> None:
        self.contexts: list[bytes] = []

    def public_key(self) -> Any:
        return KEY

    def sign(self, message: bytes) -> bytes:
        return ex.RECEIVER.sign(message)

    def evidence(self, context: bytes) -> list[list[Any]]:
        self.contexts.append(context)
        return [["tpm2-certify", held.tpm2().encode()]]


def test_a_request_is_made_of_a_signer() -> None:
    signer = Held()
    asked = enrolmentrequest.make(signer, ex.GLOBEX, details={"serial": "7"})
    assert signer.contexts == [CONTEXT]
    got = enrolmentrequest.parse(asked.encode()).verify(ex.GLOBEX)
    assert (got.custody, got.details) == (2, {"serial": "7"})
    other = enrolmentrequest.make(signer, ex.GLOBEX, ex.GIVER.id)
    assert signer.contexts[1] == enrolment.custody_context(KEY, ex.GLOBEX, ex.GIVER.id)
    other.verify(ex.GLOBEX, ex.GIVER.id)


# --- round trips ------------------------------------------------------------------------------

NINE, FOUR = st.binary(min_size=9, max_size=9), st.binary(min_size=4, max_size=4)
ATECCS = st.builds(
    custody_atecc608.Atecc608Config,
    NINE,
    FOUR,
    st.binary(min_size=128, max_size=128),
    st.integers(0, 15),
)
TOKENS = st.builds(
    custody_pkcs11.Pkcs11Attributes,
    st.fixed_dictionaries(dict.fromkeys(custody_pkcs11.TOKEN, made.NAMES)),
    st.fixed_dictionaries(dict.fromkeys(custody_pkcs11.ATTRIBUTES, st.booleans())),
    made.NAMES,
)
TPMS = st.builds(
    custody_tpm2.Tpm2Certify,
    st.builds(held.public_area, st.binary(min_size=64, max_size=64), st.integers(0, 2**32 - 1)),
    st.builds(held.certify, st.binary(max_size=66), st.binary(max_size=64)),
    st.binary(min_size=64, max_size=64),
    st.just(held.attester()),
)
REQUESTS = st.builds(
    enrolmentrequest.EnrolmentRequest,
    st.sampled_from([ex.ACME, ex.GLOBEX]),
    made.HASHES,
    st.sampled_from([KEY, ex.GIVER.public_key()]),
    st.integers(0, 3),
    made.EVIDENCE,
    st.binary(min_size=64, max_size=64),
    made.NAMED,
)


@pytest.mark.parametrize(
    ("strategy", "parse"),
    [
        (ATECCS, custody_atecc608.parse),
        (TOKENS, custody_pkcs11.parse),
        (TPMS, custody_tpm2.parse),
        (REQUESTS, enrolmentrequest.parse),
    ],
    ids=["atecc608", "pkcs11", "tpm2", "request"],
)
@SETTINGS
@given(data=st.data())
def test_round_trip(strategy: Any, parse: Any, data: st.DataObject) -> None:
    first = data.draw(strategy)
    again = parse(first.encode())
    assert again == first
    assert again.values() == first.values()


@SETTINGS
@given(made.NAMED, made.UINTS, made.UINTS, made.SIGNERS)
def test_attesters_round_trip(details: Any, one: int, two: int, by: Any) -> None:
    signer, iss = by
    first = attester.Attester(held.AK.public_key(), 2, details, sorted([one, two]))
    got = attester.parse(first.sign(signer, iss, held.AK.id)).verify(signer.public_key())
    assert (got.values(), got.iss) == (first.values(), iss)
