"""Two versions of one stretch, redacted differently: together they hold what either holds."""

from tallystick.evidence import leaf as leaves_of
from tallystick.evidence.segment import Stretch

Item = bytes | tuple[int, bytes]


def merge(ours: Stretch, theirs: Stretch) -> Stretch:
    """Both were verified against the same root, so only what is elided can differ.

    Subtrees are aligned: where one version has a subtree, the other has it too, or all of it.
    """
    items: list[Item] = []
    salts: list[bytes] = []
    left, right = _Cursor(ours), _Cursor(theirs)
    while left.more and right.more:
        finer, coarser = (left, right) if left.width <= right.width else (right, left)
        if finer.width == coarser.width and not finer.is_record and coarser.is_record:
            finer, coarser = coarser, finer
        end = finer.at + coarser.width
        while finer.more and finer.at < end:
            finer.move(items, salts)
        coarser.skip()
    secret: bytes | list[bytes] | None = salts or None
    seeds = {s.secret for s in (ours, theirs) if isinstance(s.secret, bytes)}
    if seeds and salts:
        # A seed gives every salt; the two versions have the same leaves, so any one will do.
        secret = seeds.pop()
    made = Stretch(items, secret, ours.checkpoint)
    made.first, made.to = ours.first, ours.to
    return made


class _Cursor:
    def __init__(self, stretch: Stretch) -> None:
        self.at = stretch.first
        self._stretch = stretch
        self._nth = 0
        self._salt = 0

    @property
    def more(self) -> bool:
        return self._nth < len(self._stretch.items)

    @property
    def is_record(self) -> bool:
        return isinstance(self._stretch.items[self._nth], bytes)

    @property
    def width(self) -> int:
        item = self._stretch.items[self._nth]
        return 1 if isinstance(item, bytes) else 1 << item[0]

    def move(self, items: list[Item], salts: list[bytes]) -> None:
        item = self._stretch.items[self._nth]
        items.append(item)
        if isinstance(item, bytes):
            salts.append(self._take_salt())
        self.at += self.width
        self._nth += 1

    def skip(self) -> None:
        if self.is_record:
            self._take_salt()
        self.at += self.width
        self._nth += 1

    def _take_salt(self) -> bytes:
        secret = self._stretch.secret
        if isinstance(secret, bytes):
            return leaves_of.salt(secret, self.at)
        self._salt += 1
        return (secret or [])[self._salt - 1]
