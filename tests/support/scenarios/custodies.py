"""How keys are held: requests, attesters, evidence, and what of an enrolment's counts."""

from typing import Any

from support import examples as ex
from support import heldkeys as held
from support.scenarios import Scenario, Scenarios, craft, flip, headers_of, key_hex, payload_of
from tallystick.evidence import cbor, enrolment, enrolmentrequest
from tallystick.evidence.attester import Attester
from tallystick.evidence.digest import sha256

KEY = ex.RECEIVER.public_key()
ROOT = key_hex(ex.GLOBEX_ROOT.public_key())
ZONE = held.config_zone()
CONTEXT = enrolment.custody_context(KEY, ex.GLOBEX)
PUBLIC = held.public_area(KEY.raw)
NAME = b"\x00\x0b" + sha256(PUBLIC)


def requests() -> Scenarios:
    good = held.request()
    values = cbor.decode(good.encode())

    def of(at: int, item: Any) -> bytes:
        return cbor.encode([*values[:at], item, *values[at + 1 :]])

    for_device = enrolmentrequest.EnrolmentRequest(
        ex.GLOBEX,
        ex.GIVER.id,
        KEY,
        0,
        [],
        ex.RECEIVER.sign(enrolment.possession_message(KEY.alg, ex.GIVER.id, ex.GLOBEX)),
        {},
    ).encode()
    nine = [["x", b"y"]] * 9
    for name, expect, about, data, id_ in (
        ("good", "ok", "A key in an ATECC608 asks.", good.encode(), ex.RECEIVER.id),
        ("rotation", "ok", "A device asks for its next key.", for_device, ex.GIVER.id),
        ("other-id", "wrong-device", "Meant for another id.", good.encode(), ex.GIVER.id),
        ("other-fleet", "not-enrolled", "It asks another fleet.", of(1, ex.ACME), ex.RECEIVER.id),
        ("no-possession", "no-possession", "Nobody signed.", of(6, bytes(64)), ex.RECEIVER.id),
        ("unknown-custody", "bad-value", "Custody 4.", of(4, 4), ex.RECEIVER.id),
        ("nine-pieces", "too-large", "Nine pieces of evidence.", of(5, nine), ex.RECEIVER.id),
        ("bad-name", "bad-header", "A fleet of no name.", of(1, "Globex"), ex.RECEIVER.id),
        ("trailing", "trailing-bytes", "A byte follows.", good.encode() + b"\0", ex.RECEIVER.id),
    ):
        given = {"data": data.hex(), "iss": ex.GLOBEX, "id": id_.hex()}
        yield Scenario("enrolment-request", name, "5.1", about, given, expect)


def attesters() -> Scenarios:
    good = held.attester()
    values = cbor.decode(payload_of(good))

    def of(at: int, item: Any) -> bytes:
        payload = cbor.encode([*values[:at], item, *values[at + 1 :]])
        return craft(ex.GLOBEX_ROOT, headers_of(good), payload)

    made = Attester(held.AK.public_key(), 2, {}, [1, 2])
    other = made.sign(ex.GLOBEX_ROOT, ex.GLOBEX, ex.RECEIVER.id)
    for name, expect, about, data in (
        ("good", "ok", "A root vouches for an attestation key.", good),
        ("other-subject", "wrong-key", "sub is not the thumbprint of the key.", other),
        ("other-custody", "bad-value", "Only keys in a TPM are attested.", of(2, 3)),
        ("validity-backwards", "bad-value", "It ends before it begins.", of(4, [2, 1])),
        ("flipped", "bad-signature", "One bit of the signature.", flip(good, -1)),
    ):
        yield Scenario(
            "signed-attester", name, "5.3", about, {"data": data.hex(), "root": ROOT}, expect
        )


def _atecc() -> list[tuple[str, str, str, bytes]]:
    def zone(**how: int) -> bytes:
        return held.atecc608(held.config_zone(**how)).encode()

    def byte(at: int, value: int) -> bytes:
        return held.atecc608(held.with_byte(ZONE, at, value)).encode()

    values = held.atecc608().values()
    return [
        ("good", "ok", "Locked, one slot that signs.", held.atecc608().encode()),
        ("no-genkey", "ok", "The key is there for good.", zone(slot_config=0x0081)),
        ("data-open", "bad-custody", "LockValue is 55.", byte(86, 0x55)),
        ("config-open", "bad-custody", "LockConfig is 55.", byte(87, 0x55)),
        ("other-serial", "bad-custody", "Another chip's configuration.", byte(3, 0)),
        ("not-secret", "bad-custody", "IsSecret is clear.", zone(slot_config=0x2001)),
        ("ecdh", "bad-custody", "The key also agrees on secrets.", zone(slot_config=0x2085)),
        ("private-write", "bad-custody", "A key can be written.", zone(slot_config=0x6081)),
        ("not-private", "bad-custody", "The slot holds data.", zone(key=0x0032)),
        ("not-p256", "bad-custody", "KeyType is 7.", zone(key=0x003F)),
        ("short-config", "bad-value", "127 bytes.", cbor.encode([*values[:2], ZONE[1:], 0])),
        ("slot-16", "bad-value", "No such slot.", cbor.encode([*values[:3], 16])),
    ]


def _tpm() -> list[tuple[str, str, str, bytes]]:
    def public(attributes: int) -> bytes:
        return held.tpm2(public=held.public_area(KEY.raw, attributes)).encode()

    def attest(data: bytes) -> bytes:
        values = held.tpm2().values()
        return cbor.encode([values[0], data, held.AK.sign(data), values[3]])

    late = held.attester(at_s=ex.TIME_S + 10_000)
    return [
        ("good", "ok", "Certified by a key that the root vouches for.", held.tpm2().encode()),
        ("not-fixed", "bad-custody", "fixedTPM is clear.", public(held.ATTRIBUTES ^ 2)),
        ("imported", "bad-custody", "sensitiveDataOrigin is clear.", public(held.ATTRIBUTES ^ 32)),
        ("restricted", "bad-custody", "restricted is set.", public(held.ATTRIBUTES ^ 1 << 16)),
        ("other-key", "bad-custody", "Certifies another name.", attest(held.certify(b"", CONTEXT))),
        ("no-context", "bad-custody", "Bound to nothing.", attest(held.certify(NAME, b""))),
        (
            "not-a-tpms",
            "bad-value",
            "Another magic: any key can sign that.",
            attest(held.certify(NAME, CONTEXT, magic=0)),
        ),
        ("quote", "bad-value", "Not by certify.", attest(held.certify(NAME, CONTEXT, type_=1))),
        ("other-fleets", "not-enrolled", "Vouched for by another fleet.",
         held.tpm2(vouched=held.attester(ex.ACME)).encode()),
        ("other-attester", "bad-signature", "Another attestation key signed.",
         held.tpm2(ak=ex.VALIDATOR).encode()),
        ("attester-late", "expired", "Vouched for only later.", held.tpm2(vouched=late).encode()),
    ]  # fmt: skip  # a table


def _token() -> list[tuple[str, str, str, bytes]]:
    values = held.pkcs11().values()
    return [
        ("good", "ok", "Sensitive, made inside, never extractable.", held.pkcs11().encode()),
        (
            "extractable",
            "bad-custody",
            "The key can be taken out.",
            held.pkcs11(extractable=True).encode(),
        ),
        ("imported", "bad-custody", "Made elsewhere.", held.pkcs11(local=False).encode()),
        (
            "once-open",
            "bad-custody",
            "It was extractable once.",
            held.pkcs11(never_extractable=False).encode(),
        ),
        ("other-mechanism", "bad-custody", "Signs as Ed25519 keys do.", held.pkcs11(-8).encode()),
        ("no-label", "bad-value", "A token has four texts.", cbor.encode([{}, *values[1:]])),
    ]


def evidence() -> Scenarios:
    rows = {"atecc608-config": _atecc(), "tpm2-certify": _tpm(), "pkcs11-attributes": _token()}
    for kind, scenarios in rows.items():
        for name, expect, about, data in scenarios:
            given = {
                "type": kind,
                "data": data.hex(),
                "key": key_hex(KEY),
                "id": ex.RECEIVER.id.hex(),
                "iss": ex.GLOBEX,
                "root": ROOT,
                "at_s": ex.TIME_S,
            }
            yield Scenario("custody-evidence", f"{kind}-{name}", "5.3", about, given, expect)


def counted() -> Scenarios:
    atecc = ["atecc608-config", held.atecc608().encode()]
    opened = ["atecc608-config", held.atecc608(held.with_byte(ZONE, 86, 0x55)).encode()]
    tpm = ["tpm2-certify", held.tpm2().encode()]
    token = ["pkcs11-attributes", held.pkcs11().encode()]
    strange = ["tropic-01", b"anything"]
    for name, about, claimed, given_evidence in (
        ("secure-element", "The level counts.", 3, [atecc]),
        ("tpm", "The level counts.", 2, [tpm]),
        ("pkcs11", "The level counts.", 1, [token]),
        ("word-alone", "What the root says counts as software.", 3, []),
        ("unknown-type", "Listed as not checked, and no level.", 3, [strange]),
        ("unknown-beside", "It takes nothing from what counts.", 3, [strange, atecc]),
        ("open-chip", "Evidence that does not check.", 3, [opened]),
        ("one-of-two", "One piece that checks is enough.", 3, [opened, atecc]),
        ("lower-claimed", "Evidence of another level than the claimed.", 1, [atecc]),
        ("software", "Nothing is claimed.", 0, [tpm]),
    ):
        data = held.enrol_held(claimed, given_evidence).encode()
        given = {"data": data.hex(), "root": ROOT}
        yield Scenario("counted-custody", name, "5.3", about, given, "ok")
    other = {"data": held.enrol_held(3, [atecc]).encode().hex(),
             "root": key_hex(ex.ACME_ROOT.public_key())}  # fmt: skip  # two lines
    yield Scenario(
        "counted-custody", "other-root", "5.3", "Nothing of it is verified.", other, "wrong-alg"
    )


def all_scenarios() -> Scenarios:
    """Each names what is wrong with it."""
    yield from requests()
    yield from attesters()
    yield from evidence()
    yield from counted()
