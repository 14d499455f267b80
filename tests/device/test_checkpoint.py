"""Checkpoints (docs/protocol.md, section 3.1)."""

from _made import EPOCH, ISS, Key, refused, steps_of
from tallystick.evidence import checkpoint, statement
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = b"r" * 32


def test_signed_and_verified() -> None:
    key = Key("device")
    made = Checkpoint(EPOCH, 7, ROOT, 2, 1, 5000, (1790000000000, 40), 3, b"c" * 32)
    data = made.sign(key, ISS, key.id)
    assert 230 <= len(data) <= 310
    got = checkpoint.parse(data)
    assert got.values() == made.values() and got.payload() == made.payload()
    assert got.device == key.id and got.iss == ISS
    verified = got.verify(key.public_key())
    assert type(verified) is checkpoint.VerifiedCheckpoint
    assert verified.key == key.public_key() and verified == got and verified.size == 7
    work = got.verifier(key.public_key())
    steps_of(work)
    assert type(work.result) is checkpoint.VerifiedCheckpoint and work.result == got
    other = Key("other")
    assert refused(got.verify, other.public_key()) == "wrong-key"
    assert refused(got.verifier(other.public_key()).step) == "wrong-key"


def test_least_and_most() -> None:
    key = Key("device")
    for made in (
        Checkpoint(EPOCH, 1, ROOT, 0, 0, 0),
        Checkpoint(
            EPOCH,
            2**63 - 1,
            ROOT,
            2**63 - 2,
            2**63 - 1,
            2**63 - 1,
            [2**63 - 1, 2**63 - 1],
            2**63 - 1,
            ROOT,
        ),
    ):
        data = made.sign(key, "a" * 20, key.id)
        assert len(data) <= CHECKPOINT_BYTES_MAX
        assert checkpoint.parse(data).values() == made.values()


def test_fields_that_are_refused() -> None:
    good: "list[Any]" = [EPOCH, 7, ROOT, 2, 1, 5000, [1, 2], 3, ROOT]
    Checkpoint(*good)
    for at, wrong, reason in (
        (0, b"short", "bad-value"),
        (0, "epoch-01", "bad-type"),
        (1, 0, "bad-value"),
        (1, 2, "bad-value"),  # claims are not below it
        (1, 2**63, "bad-value"),
        (1, True, "bad-type"),
        (2, b"r" * 31, "bad-value"),
        (3, -1, "bad-value"),
        (4, None, "bad-type"),
        (5, -1, "bad-value"),
        (6, [1], "bad-value"),
        (6, [1, -2], "bad-value"),
        (6, 5, "bad-type"),
        (7, -1, "bad-value"),
        (8, b"", "bad-value"),
        (8, 1, "bad-type"),
    ):
        fields = list(good)
        fields[at] = wrong
        assert refused(Checkpoint, *fields) == reason, at


def test_what_nobody_signed_has_no_bytes() -> None:
    made = Checkpoint(EPOCH, 7, ROOT, 2, 1, 5000)
    for use in (made.encode, made.received, lambda: made.iss):
        try:
            use()
        except ValueError:
            continue
        raise AssertionError("an unsigned checkpoint gave a statement")
    assert made == Checkpoint(EPOCH, 7, ROOT, 2, 1, 5000)
    assert made != Checkpoint(EPOCH, 8, ROOT, 2, 1, 5000)


def test_statements_that_are_no_checkpoint() -> None:
    key = Key("device")
    good = Checkpoint(EPOCH, 7, ROOT, 2, 1, 5000)
    assert refused(checkpoint.parse, good.sign(key, ISS, "no id")) == "bad-header"
    payload = good.payload()
    other = statement.sign(key, ISS, "A" * 43, b"\x8a\x05" + payload[2:])
    assert refused(checkpoint.parse, other) == "unknown-kind"
    short = statement.sign(key, ISS, "A" * 43, b"\x89" + payload[1:-1])
    assert refused(checkpoint.parse, short) == "bad-value"


def received(*fields: "Any", iss: str = ISS, epoch: bytes = EPOCH) -> Checkpoint:
    # Nothing is verified here, so any 64 bytes do for a signature.
    made = Checkpoint(epoch, *fields)
    unsigned = statement.prepare(_KEY.public_key(), iss, _SUB, made.payload())
    return checkpoint.parse(unsigned.finish(bytes(64)))


_KEY = Key("device")
_SUB = "A" * 43


def test_what_may_follow() -> None:
    before = received(7, ROOT, 2, 3, 5000)
    for fine in (
        received(7, ROOT, 2, 3, 5000),
        received(7, ROOT, 2, 3, 9000),
        received(9, b"s" * 32, 4, 3, 5000),
        received(8, b"s" * 32, 2, 4, 1),  # another boot, another uptime
    ):
        checkpoint.follows(before, fine)
    for wrong, reason in (
        (received(7, b"s" * 32, 2, 3, 5000), "fork"),
        (received(6, ROOT, 2, 3, 5000), "bad-value"),
        (received(9, ROOT, 1, 3, 5000), "bad-value"),
        (received(9, ROOT, 5, 3, 5000), "bad-value"),  # more claims than records
        (received(9, ROOT, 2, 2, 5000), "bad-value"),
        (received(9, ROOT, 2, 3, 4999), "bad-value"),
        (received(9, ROOT, 2, 3, 5000, epoch=b"epoch-02"), "wrong-device"),
    ):
        assert refused(checkpoint.follows, before, wrong) == reason
