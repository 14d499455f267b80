"""The device's own log as a state machine (docs/protocol.md, 2.2, 2.3 and 3.1)."""

from tallystick.evidence import leaf, tree
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Unverified
from tallystick.recorder import frames
from tallystick.recorder.core import Log

DEVICE = bytes(range(32))
EPOCH = b"epoch-01"
SEED = b"s" * 32


def seeds(size: int) -> bytes:
    assert size == 32
    return SEED


def record(number: int, size: int = 20) -> bytes:
    return b"\x84\x02" + bytes([number & 255]) * (size - 2)


def test_frames_carry_the_item_and_the_begin_of_the_leaf() -> None:
    log = Log(DEVICE, EPOCH)
    first = log.frame(record(0), seeds)
    seed_frame = frames.control([1, 0, SEED])
    assert first[: len(seed_frame)] == seed_frame
    rest = first[len(seed_frame) :]
    assert rest[:4] == leaf.leaf(leaf.salt(SEED, 0), record(0))[:4]
    assert rest[4:] == bytes([0x54]) + record(0)
    assert log.added(record(0)) == 1
    # Heads of one, two and three bytes, as in a segment.
    for size, head in (
        (23, b"\x57"),
        (24, b"\x58\x18"),
        (255, b"\x58\xff"),
        (256, b"\x59\x01\x00"),
    ):
        frame = log.frame(record(1, size), seeds)
        assert frame[4:] == head + record(1, size)
        log.added(record(1, size))


def test_leaves_salts_and_root_are_those_of_the_format() -> None:
    log = Log(DEVICE, EPOCH)
    leaves = []
    for number in range(21):
        log.frame(record(number), seeds)
        log.added(record(number))
        leaves.append(leaf.leaf(leaf.salt(SEED, number), record(number)))
        assert log.leaf == leaves[-1]
        assert log.salt == leaf.salt(SEED, number)
    assert log.tree.root() == tree.root_of(leaves)
    payload = decode(decode(log.seal(77, (5, 6))[6:])[2])
    assert payload == [4, EPOCH, 21, tree.root_of(leaves), 0, 0, 77, [5, 6], None, None]


def test_a_record_counts_only_when_it_was_added() -> None:
    log = Log(DEVICE, EPOCH)
    log.frame(record(0), seeds)
    again = log.frame(record(1), seeds)
    # The flash failed in between: the seed may not be there yet.
    assert again[6:].find(SEED) > 0
    assert log.tree.size == 0
    assert log.added(b"\x8c\x01") == 1
    assert log.claims == 1


def test_sealing_begins_a_new_stretch() -> None:
    log = Log(DEVICE, EPOCH)
    for number in range(3):
        log.frame(record(number), seeds)
        log.added(record(number))
    log.seal(1, None)
    assert log.pending == []
    ordinal = log.sealed()
    assert (ordinal, log.unsealed, log.seed) == (1, 0, b"")
    assert log.sealed_root == log.tree.root()
    # The same head again, with fresh metadata: an idle device.
    log.seal(2, None)
    assert log.sealed() == 2
    assert [one[0] for one in log.pending] == [1, 2]
    log.signed_one(1)
    assert (log.signed, [one[0] for one in log.pending]) == (1, [2])


def test_limits() -> None:
    log = Log(DEVICE, EPOCH)
    log.frame(record(0), seeds)
    log.added(record(0))
    # A short record counts as 64 bytes, so that 4,096 items are never reached.
    assert log.stretch_room == 245760 - 64
    for _ in range(64):
        log.seal(1, None)
        log.sealed()
    try:
        log.seal(1, None)
    except Unverified as error:
        assert error.reason == "key-behind"
    else:
        raise AssertionError
