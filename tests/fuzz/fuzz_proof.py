"""A proof of whatever shape is refused by an error of ours: nobody can reach this root."""

from tallystick.evidence import proof, tree
from tallystick.evidence.errors import TallyError

SEEDS = (
    bytes([5, 20]) + bytes(32 * 5),
    bytes([6, 20]) + bytes(range(256)),
    bytes([0, 0]),
    bytes([1, 1]) + bytes(31),
)
_ROOT = tree.leaf_hash(b"a root that nobody can reach")


def target(data: bytes) -> None:
    first, second = (data[0], data[1]) if len(data) > 1 else (0, 0)
    hashes = [data[at : at + 32] for at in range(2, len(data), 32)]
    half = len(hashes) // 2
    for check, arguments in (
        (proof.verify_inclusion, (tree.leaf_hash(data), first, second, hashes, _ROOT)),
        (proof.verify_consistency, (first, tree.leaf_hash(data), second, _ROOT, hashes)),
        (proof.verify_prefix, (hashes[:half], first, second, _ROOT, hashes[half:])),
    ):
        if first == 0 and check is proof.verify_prefix and not hashes and second:
            continue  # the empty edge is a prefix of every tree
        try:
            check(*arguments)
        except TallyError:
            continue
        message = f"{check.__name__} accepted {data!r}"
        raise AssertionError(message)
