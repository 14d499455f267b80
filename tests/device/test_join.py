"""Codes, join requests and join answers as a device has them (docs/protocol.md, 5.5)."""

from _made import ISS, Key, refused
from tallystick.evidence import joinanswer, joincode, joinrequest
from tallystick.evidence.root import format_root

ROOT = Key("fleet root")
LINE = format_root(ISS, ROOT.public_key())


def a_code(root: str = LINE) -> joincode.Code:
    return joincode.Code(bytes(range(15)), joincode.commit(root))


def test_a_code_is_read_as_people_type_it() -> None:
    code = a_code()
    text = code.text()
    assert len(text) == 59 and text[4] == "-" and text == text.lower()
    for typed in (text, text.upper(), text.replace("-", ""), " " + text.replace("-", " ") + "\n"):
        assert joincode.parse(typed).text() == text
    assert refused(joincode.parse, text[:-1]) == "bad-value"
    assert refused(joincode.parse, text[:-1] + "1") == "bad-value"
    assert refused(joincode.parse, text + "a") == "bad-value"
    assert text[:14] not in repr(code)


def test_a_code_knows_its_root() -> None:
    code = a_code()
    assert code.check_root(LINE) == (ISS, ROOT.public_key())
    other = format_root(ISS, Key("another root").public_key())
    assert refused(code.check_root, other) == "wrong-key"
    assert refused(code.check_root, LINE + "\n") == "wrong-key"


def test_hmac_is_rfc_4231s() -> None:
    # Test cases 1 and 2.
    first = joincode.hmac(b"\x0b" * 20, b"Hi There")
    assert first[:8] == bytes((0xB0, 0x34, 0x4C, 0x61, 0xD8, 0xDB, 0x38, 0x53))
    second = joincode.hmac(b"Jefe", b"what do ya want for nothing?")
    assert second[:8] == bytes((0x5B, 0xDC, 0xC1, 0x46, 0xBF, 0x60, 0x75, 0x4E))
    assert joincode.same(first, bytes(first)) and not joincode.same(first, second)
    assert not joincode.same(first[:31], first)


def test_a_request_shows_the_code_to_both() -> None:
    code = a_code()
    made = joinrequest.make(code, bytes(16), b"asked")
    got = joinrequest.parse(made.encode())
    assert got == made and got.digest == made.digest
    assert type(got.verify_door(code.door_key())) is joinrequest.VerifiedJoin
    got.verify_fleet(code.fleet_key())
    assert refused(got.verify_door, code.fleet_key()) == "not-authorised"
    assert refused(got.verify_fleet, code.door_key()) == "not-authorised"


def test_an_answer_is_verified_in_steps() -> None:
    device = Key("device")
    made = joinanswer.JoinAnswer(device.id, bytes(32), [b"x"], '{"fleet":"acme"}', {}, None)
    got = joinanswer.parse(made.sign(ROOT, ISS, device.id))
    work = got.verifier(ROOT.public_key())
    while not work.step():
        pass
    assert type(work.result) is joinanswer.VerifiedAnswer
    assert work.result.config() == {"fleet": "acme"}
    assert refused(got.verify, Key("another root").public_key()) == "wrong-key"
    elsewhere = joinanswer.parse(made.sign(ROOT, ISS, bytes(32)))
    assert refused(elsewhere.verify, ROOT.public_key()) == "wrong-device"
