"""What a gateway takes and is told, as it comes: read from its store by a program beside it."""

from dataclasses import dataclass
from pathlib import Path

from tallystick.evidence import segment
from tallystick.gateway.store import open_reader

ROWS_MAX = 256


@dataclass(frozen=True, slots=True)
class Taken:
    """A record in custody; its device's signature over it was verified before it was stored."""

    device: bytes
    epoch: bytes
    index: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was refused, and how often since the last look."""

    reason: str
    device: bytes
    message: str
    count: int


class Following:
    """What comes after it was made; CouldNotCheck where there is no store."""

    def __init__(self, path: Path) -> None:
        self._connection = open_reader(path)
        (newest,) = self._connection.execute("SELECT MAX(at) FROM segments").fetchone()
        self._segment: int = -1 if newest is None else newest
        self._verdicts: dict[str, int] = dict(
            self._connection.execute(
                "SELECT validator, MAX(entry) FROM verdicts GROUP BY validator"
            )
        )
        self._refused: dict[tuple[str, bytes], int] = {}
        self.refusals()

    def close(self) -> None:
        """Give the store back."""
        self._connection.close()

    def records(self) -> list[Taken]:
        """Records of at most ROWS_MAX further segments, in the order in which they were taken."""
        found = []
        rows = self._connection.execute(
            "SELECT at, data FROM segments WHERE at > ? ORDER BY at LIMIT ?",
            (self._segment, ROWS_MAX),
        )
        for at, data in rows.fetchall():
            self._segment = at
            read = segment.parse(data)
            for stretch in read.stretches:
                index = stretch.first
                for item in stretch.items:
                    if isinstance(item, bytes):
                        found.append(Taken(read.device, read.epoch, index, item))
                        index += 1
                    else:
                        index += 1 << item[0]
        return found

    def verdicts(self) -> list[tuple[str, bytes]]:
        """Further validators' names and signed verdicts, which the gateway has verified."""
        found = []
        names = self._connection.execute("SELECT name FROM validators ORDER BY name").fetchall()
        for (name,) in names:
            rows = self._connection.execute(
                "SELECT entry, data FROM verdicts WHERE validator = ? AND entry > ?"
                " ORDER BY entry LIMIT ?",
                (name, self._verdicts.get(name, -1), ROWS_MAX),
            )
            for entry, data in rows.fetchall():
                self._verdicts[name] = entry
                found.append((name, data))
        return found

    def refusals(self) -> list[Refusal]:
        """What was refused since the last look, with the newest message of each reason."""
        found = []
        rows = self._connection.execute("SELECT reason, device, count, message FROM refusals")
        for reason, device, count, message in rows.fetchall():
            more = count - self._refused.get((reason, device), 0)
            if more:
                self._refused[reason, device] = count
                found.append(Refusal(reason, device, message, more))
        return found
