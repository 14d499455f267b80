"""Every object is described, says what it shows by itself, and nothing hostile gets through."""

import contextlib
import random
import re
from pathlib import Path
from typing import Any

import pytest

from support import circles, examples, guilt, heldkeys, joins
from support.devices import Fleet
from support.story import FIRMWARE, Story, disclose, known_claim
from tallystick.evidence import cbor, ids, keychange, kinds, root
from tallystick.evidence.batch import Batch
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.devicehold import DeviceHold
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.gatewaylog import GatewayLeaf
from tallystick.evidence.keys import device_text
from tallystick.evidence.notarised import Notarised
from tallystick.evidence.notice import Notice
from tallystick.evidence.receipt import attach
from tallystick.evidence.resend import Resend
from tallystick.evidence.segmentrequest import SegmentRequest
from tallystick.evidence.welcome import Welcome
from tallystick.hw.signer import Signer
from tallystick.verify import profiles
from tallystick.verify._objects import KINDS
from tallystick.verify._text import utc
from tallystick.verify.describe import describe

STORY = Story()
GIVER = STORY.giver
INSURER = STORY.validators[0]


def objects() -> dict[str, bytes]:
    """One of each kind, as real ones look."""
    took = STORY.took
    assert took is not None
    half = disclose(GIVER, STORY.gave, embed=True).encode()
    device = Fleet("acme").device("arm-2")
    device.decisions(5)
    device.accept(half)
    device.seal()
    device.seal()
    signer, _ = STORY.gateways["acme"]
    gateway = signer.public_key().thumbprint()
    head = GatewayHead(1, bytes(32), 5).sign(signer, "acme", gateway)
    batch = Batch(0, [], [device.segment()], [device.credential], STORY.custody, [bytes(32)], head)
    revoked = keychange.Revocation(
        GIVER.id, GIVER.id, [GIVER.epoch, GIVER.size, GIVER.root], keychange.LOST, 7
    )
    receipt = INSURER.receipt(2)
    made = STORY.finding([known_claim(GIVER, STORY.gave)], [])
    return {
        "decision": device.stretches[0].records[1],
        "claim": GIVER.stretches[0].records[STORY.gave],
        "event": device.stretches[0].records[0],
        "accepted half": device.stretches[0].records[-1],
        "checkpoint": attach(INSURER.entries[2], [receipt]),
        "custody receipt": STORY.custody[0],
        "enrolment": GIVER.credential[0],
        "revocation": revoked.sign(STORY.acme.root, "acme", GIVER.id),
        "batch": batch.sign(signer, "acme", gateway),
        "gateway head": head,
        "verdict": INSURER.entries[-1],
        "profile": STORY.profile.encode(),
        "genesis": INSURER.entries[0],
        "segment": device.segment(),
        "half": half,
        "hello": device.hello(),
        "resend request": Resend(GIVER.epoch, 0, None).encode(),
        "time entry": TimeEntry(5).encode(),
        "logged claim": LoggedClaim(GIVER.id, GIVER.epoch, 1, bytes(32), 2, []).encode(),
        "closing": Closing("x", bytes(16), bytes(32), 1, 2).encode(),
        "finding": made.encode(),
        "gateway leaf": GatewayLeaf(GIVER.id, GIVER.epoch, 0, 4, bytes(32), bytes(32)).encode(),
        "evidence file": STORY.evidence().encode(),
        "device profile": STORY.profile.device_profile().encode(),
        "welcome": Welcome(5, INSURER.entries[2], STORY.custody[0]).encode(),
        "notarised": Notarised(GIVER.epoch, 4, receipt).encode(),
        "notice": Notice("replayed", None, None).encode(),
        "batch answer": BatchAnswer(1, [(bytes(32), receipt)], [(3, "bad-root")]).encode(),
        "credential": cbor.encode(GIVER.credential),
        "receipt (COSE)": receipt,
        "log checkpoint (C2SP note)": INSURER.note().encode(),
        "fleet root": (STORY.acme.root_line + "\n").encode(),
        "note key": INSURER.vkey.encode(),
        "COSE key": cbor.encode(GIVER.signer.public_key().cose_key()),
        "profile (TOML)": profiles.text("handover").encode(),
        "attester": heldkeys.attester(),
        "enrolment request": heldkeys.request().encode(),
        "fork proof": examples.fork_proof().encode(),
        "misbehaviour": guilt.two_stories().proof.encode(),
        "score": guilt.signed_score(),
        "invitation": joins.invite(),
        "join request": joins.join().encode(),
        "join answer": joins.signed_answer(),
        "queue order": joins.order(),
        "erasure": examples.erasure_request(),
        "peer file": circles.peer_file(),
        "quota refusal": circles.refusal(),
        "registration policy": circles.policy(),
        "device hold": DeviceHold(3, 2_000, 1_000).sign(signer, "acme", GIVER.id),
        "segment request": SegmentRequest(bytes(32), gateway, GIVER.epoch, 0, 4, 1_000).sign(
            signer, "acme", GIVER.id
        ),
    }


OBJECTS = objects()


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_every_object_is_named(name: str) -> None:
    described = describe(OBJECTS[name])
    assert described["object"] == name
    assert described["bytes"] == len(OBJECTS[name])
    assert described["fields"]
    assert described["verified"] or described["not_verified"]


def test_every_kind_is_here() -> None:
    names = {kind.name for kind in KINDS.values()} - {"key change"} | {"revocation"}
    assert names <= set(OBJECTS)
    assert set(KINDS) == {getattr(kinds, name) for name in dir(kinds) if name.isupper()}


def test_objects_show_what_they_can() -> None:
    def verified(name: str) -> str:
        return " ".join(describe(OBJECTS[name])["verified"])

    assert "under the checkpoint's root" in verified("half")
    assert "the roots of its checkpoints" in verified("segment")
    assert "its holder has the key" in verified("enrolment")
    assert "for want of a key" in describe(OBJECTS["checkpoint"])["not_verified"][0]
    assert "tally verify" in describe(OBJECTS["evidence file"])["not_verified"][0]


@pytest.mark.parametrize("name", sorted(guilt.ALL))
def test_every_proof_of_misbehaviour_is_described(name: str) -> None:
    described = describe(guilt.ALL[name]().proof.encode())
    assert described["fields"]["proves"] == guilt.ALL[name]().proof.NAME
    assert described["verified"] == ["what it holds cannot all be true"]


def test_evidence_of_custody_is_described_with_what_it_shows() -> None:
    asked = describe(OBJECTS["enrolment request"])
    (shown,) = asked["fields"]["evidence"]
    assert shown["type"] == "atecc608-config"
    assert shown["evidence"]["serial"] == heldkeys.SERIAL.hex()
    assert any(heldkeys.SERIAL.hex() in line for line in asked["verified"])
    assert any("genuine Microchip chip" in line for line in asked["not_verified"])
    tpm = ["tpm2-certify", heldkeys.tpm2().encode()]
    enrolled = describe(heldkeys.enrol_held(2, [tpm, ["odd\x1b", b"x"]]).encode())
    assert enrolled["fields"]["evidence"][0]["evidence"]["attester"]["object"] == "attester"
    assert "tpm2-certify, for want of the fleet root's key" in enrolled["not_verified"]
    assert any(line.startswith("odd\\x1b: ") for line in enrolled["not_verified"])
    token = ["pkcs11-attributes", heldkeys.pkcs11().encode()]
    enrolled = describe(heldkeys.enrol_held(1, [token, ["tpm2-certify", b"x"]]).encode())
    assert enrolled["fields"]["evidence"][0]["evidence"]["token"]["label"] == "robot-7"
    assert enrolled["fields"]["evidence"][1]["evidence"].startswith("78 (")


def test_a_rotation_shows_its_evidence_too() -> None:
    change = keychange.rotate(
        examples.RECEIVER, heldkeys.AK, "globex", examples.RECEIVER.id, 3,
        [["atecc608-config", heldkeys.atecc608().encode()]], None, 7,
    )  # fmt: skip
    signed = change.sign(examples.GLOBEX_ROOT, "globex", examples.RECEIVER.id)
    assert any(heldkeys.SERIAL.hex() in line for line in describe(signed)["verified"])


def test_a_request_for_a_rotation_is_described_and_vouched_for_by_nobody() -> None:
    change = keychange.rotate(
        examples.RECEIVER, heldkeys.AK, "globex", examples.RECEIVER.id, 3,
        [["atecc608-config", heldkeys.atecc608().encode()]], None, 7,
    )  # fmt: skip
    data = cbor.encode(change.values())
    shown = describe(data)
    assert shown["object"] == "rotation request"
    assert shown["fields"]["custody"] == "secure-element"
    assert shown["fields"]["old"] == device_text(examples.RECEIVER.id)
    assert shown["fields"]["evidence"][0]["evidence"]["serial"] == heldkeys.SERIAL.hex()
    assert "who asks: nobody vouches for a request" in shown["not_verified"]
    assert "the new key is sound" in shown["verified"]
    for other in ([7], [7, 0], [7, 1, *change.values()[2:]], change.values()[:-1]):
        with pytest.raises(Malformed, match="none of our objects"):
            describe(cbor.encode(other))
    for at, wrong in ((2, b"short"), (4, {1: 2}), (6, "evidence"), (8, "now"), (11, bytes(63))):
        with pytest.raises(Malformed):
            describe(cbor.encode([wrong if n == at else v for n, v in enumerate(change.values())]))


def test_times_are_shown_as_people_write_them() -> None:
    validity = describe(OBJECTS["enrolment"])["fields"]["validity"]
    assert all(re.fullmatch(r"[0-9]+ \([0-9-]{10}T[0-9:.]+Z\)", one) for one in validity.values())
    assert utc(0) == "1970-01-01T00:00:00.000Z"
    assert utc(1 << 62) == str(1 << 62)


def test_what_is_inside_is_described_too() -> None:
    half: dict[str, Any] = describe(OBJECTS["half"])["fields"]
    assert half["record"]["object"] == "claim"
    assert half["record"]["fields"]["fields"]["position_m"] == ["1.5", "2.25"]
    assert half["checkpoint"]["fields"]["size"] == 4
    assert half["credential"][0]["object"] == "enrolment"
    sections = describe(OBJECTS["evidence file"])["fields"]["sections"]
    assert sections["entries"][0]["entry"]["object"] == "genesis"
    assert sections["entries"][0]["receipts"][0]["object"] == "receipt (COSE)"
    firmware = sections["halves"][0]["record"]["fields"]["details"]["firmware"]
    assert firmware == FIRMWARE.hex()
    verdict = describe(OBJECTS["verdict"])["fields"]["finding"]
    assert verdict["state"] == "matched"
    assert verdict["checks"][0]["reason"] == "The values agree."
    assert describe(OBJECTS["checkpoint"])["receipts"][0]["fields"]["index"] == 2
    assert (
        root.parse_root(STORY.acme.root_line)[0]
        == describe(OBJECTS["fleet root"])["fields"]["name"]
    )


def test_a_profile_shows_the_digest_that_policies_name() -> None:
    shown = {describe(OBJECTS[name])["fields"]["digest"] for name in ("profile", "profile (TOML)")}
    assert len(shown) == 1


def test_what_refutes_itself_is_refused() -> None:
    half = disclose(GIVER, STORY.gave)
    half.salt = bytes(16)
    half._data = None
    with pytest.raises(TallyError, match="not in the tree"):
        describe(half.encode())
    segment = bytearray(OBJECTS["segment"])
    at = segment.index(b"grip")
    segment[at] ^= 1
    with pytest.raises(TallyError, match="root"):
        describe(bytes(segment))


def test_a_key_file_is_never_shown(tmp_path: Path) -> None:
    Signer.create(f"file:{tmp_path / 'device.key'}")
    data = (tmp_path / "device.key").read_bytes()
    with pytest.raises(Malformed, match="never shown"):
        describe(data)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xff" * 9, b"hello", b"\x80", b"\x81\x00", b"\xa0", b"\xd2\x80"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(TallyError):
        describe(data)


def test_no_bytes_raise_anything_else() -> None:
    rng = random.Random(5)
    for data in OBJECTS.values():
        for _ in range(60):
            changed = bytearray(data)
            for _ in range(rng.choice((1, 1, 3))):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            with contextlib.suppress(TallyError):
                describe(
                    bytes(
                        changed[: rng.choice((len(data), len(data), rng.randrange(len(data) + 1)))]
                    )
                )


def test_hostile_text_cannot_drive_a_terminal() -> None:
    device = Fleet("acme").device("arm-3")
    device.decision("\x1b]0;owned\x07\u202egrip")
    device.seal()
    shown = str(describe(device.stretches[0].records[1]))
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b]0;owned\\x07" in shown.replace("\\\\", "\\")


def test_ids_are_written_as_commands_take_them() -> None:
    claim = describe(OBJECTS["claim"])["fields"]
    assert claim["parties"]["giver"] == [GIVER.text]
    assert len(ids.party_set(STORY.parties)) == 32
