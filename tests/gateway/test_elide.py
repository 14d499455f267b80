"""What a validator may not see is replaced by hashes, and the tree stays the same."""

from hypothesis import given
from hypothesis import strategies as st

from support.devices import Device, Fleet
from tallystick.evidence import record as records
from tallystick.evidence import segment
from tallystick.evidence.kinds import CLAIM, DECISION
from tallystick.evidence.segment import verify_segment
from tallystick.gateway.elide import _collapsed, for_sending
from tallystick.gateway.packing import compress, stored

ACME = Fleet("acme")
PROFILE = bytes(32)


def mixed(pattern: list[list[bool]]) -> Device:
    """A device whose stretches hold claims where the pattern says so, decisions elsewhere."""
    robot = ACME.device("mixed")
    for stretch in pattern:
        for n, claims in enumerate(stretch):
            if claims:
                robot.claim(
                    f"order-{n}", "giver", "released", {"giver": [robot.id]}, PROFILE, item="p"
                )
            else:
                robot.decision()
        robot.seal()
    return robot


def kinds(data: bytes) -> list[int]:
    return [
        records.kind_of(item)
        for stretch in segment.parse(data).stretches
        for item in stretch.items
        if isinstance(item, bytes)
    ]


@given(st.lists(st.lists(st.booleans(), max_size=20), min_size=1, max_size=4))
def test_every_way_of_sending_verifies_to_the_same_root(pattern: list[list[bool]]) -> None:
    robot = mixed(pattern)
    full = robot.segment()
    key = robot.signer.public_key()
    root = verify_segment(segment.parse(full), key).tree.root()
    claims, hashes = for_sending(full, "claims"), for_sending(full, "hashes")
    assert for_sending(full, "full") is full
    for data in (claims, hashes):
        assert verify_segment(segment.parse(data), key).tree.root() == root
    assert kinds(hashes) == []
    assert DECISION not in kinds(claims)
    assert kinds(claims).count(CLAIM) == sum(map(sum, pattern))
    # No salt of what is withheld can be computed: no seed is given beside an elided record.
    for stretch in segment.parse(claims).stretches:
        if stretch.elided:
            assert not isinstance(stretch.secret, bytes)
    # Eliding what is elided changes nothing.
    assert for_sending(claims, "claims") == claims
    assert for_sending(claims, "hashes") == for_sending(hashes, "hashes") or kinds(claims)


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_run_becomes_the_fewest_aligned_subtrees(first: int, count: int) -> None:
    leaves = [bytes([n]) * 32 for n in range(count)]
    items = _collapsed(first, leaves)
    at = first
    for item in items:
        assert isinstance(item, tuple)
        assert at % (1 << item[0]) == 0
        at += 1 << item[0]
    assert at == first + count
    assert len(items) <= 2 * max(1, count.bit_length())


def test_a_batch_that_packs_too_well_is_stored_plainly() -> None:
    import zstandard

    data = bytes(1_000_000)
    packed = compress(data)
    assert len(data) < 100 * len(packed)
    assert zstandard.ZstdDecompressor().decompress(packed) == data
    reader = zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(packed)
    assert reader.read(2_000_000) == data
    for size in (0, 1, 131_071, 131_072, 131_073):
        block = bytes(range(256)) * (size // 256 + 1)
        assert zstandard.ZstdDecompressor().decompress(stored(block[:size])) == block[:size]
