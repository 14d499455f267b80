"""Enrolments (docs/protocol.md, section 5.1)."""

from _identity import FROM_S, TO_S, draft, enrol
from _made import ISS, Key, refused, steps_of
from tallystick.evidence import enrolment


def test_signed_and_verified() -> None:
    device, root = Key("device"), Key("root")
    evidence = [["attestation", b"x"]]
    data = enrol(device, root, evidence=evidence, releases=[["2026.11", b"f" * 32]])
    got = enrolment.parse(data)
    assert got.key == device.public_key() and got.id == got.device == device.id
    assert got.evidence == evidence and got.details["serial"] == "0001"
    work = got.verifier(root.public_key())
    steps_of(work)
    verified = work.result
    assert type(verified) is enrolment.VerifiedEnrolment and verified == got
    assert verified.root == root.public_key() and verified.key == device.public_key()
    verified.check_time(FROM_S)
    verified.check_time(TO_S)
    assert refused(verified.check_time, FROM_S - 1) == "expired"
    assert refused(verified.check_time, TO_S + 1) == "expired"


def test_bindings() -> None:
    device, root, other = Key("device"), Key("root"), Key("other")
    public = root.public_key()
    assert refused(enrolment.parse(enrol(device, other)).verify, public) == "wrong-key"
    assert enrolment.parse(draft(device).sign(root, ISS, other.id)).device == other.id
    for made, reason in (
        (draft(device).sign(root, ISS, other.id), "wrong-device"),
        (draft(device, id=other.id).sign(root, ISS, other.id), "wrong-key"),
    ):
        assert refused(enrolment.parse(made).verify, public) == reason


def test_possession_is_bound_to_key_id_and_fleet() -> None:
    device, root, other = Key("device"), Key("root"), Key("other")
    for possession in (
        bytes(64),
        other.sign(enrolment.possession_message(-8, device.id, ISS)),
        device.sign(enrolment.possession_message(-8, other.id, ISS)),
        device.sign(enrolment.possession_message(-8, device.id, "globex")),
    ):
        got = enrolment.parse(enrol(device, root, possession=possession))
        assert refused(got.verify, root.public_key()) == "no-possession"


def test_fields_that_are_refused() -> None:
    device = Key("device")
    for changed, reason in (
        ({"subject": 3}, "bad-value"),
        ({"id": b"short"}, "bad-value"),
        ({"custody": 4}, "bad-value"),
        ({"evidence": [["type"]]}, "bad-value"),
        ({"evidence": [["type", b""]]}, "bad-value"),
        ({"details": []}, "bad-type"),
        ({"releases": [["name", b"short"]]}, "bad-value"),
        ({"interval_s": -1}, "bad-value"),
        ({"validity": [2, 1]}, "bad-value"),
        ({"validity": [1]}, "bad-value"),
        ({"possession": bytes(63)}, "bad-value"),
    ):
        assert refused(draft, device, **changed) == reason, changed
