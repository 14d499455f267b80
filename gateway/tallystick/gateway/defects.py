"""How often a batch made a validator fail: the first time may pass, and need not be the batch's."""

from tallystick.gateway import limits
from tallystick.gateway.built import Built
from tallystick.gateway.http import Refusal


class Defects:
    """Of one validator, by where a batch begins: it grows and shrinks between two tries."""

    def __init__(self) -> None:
        self._seen: dict[tuple[bytes | None, int], int] = {}

    def blamed(self, built: Built, error: Refusal) -> bool:
        """Whether it is refused for what is in it: a failure only when it comes again."""
        if error.reason != "internal-error":
            return error.status in {400, 413}
        if len(self._seen) >= limits.DEFECTS_KEPT_MAX:
            self._seen.clear()
        place = (built.late, built.first)
        self._seen[place] = self._seen.get(place, 0) + 1
        return self._seen[place] >= limits.DEFECTS_MAX

    def over(self, built: Built) -> None:
        """Forget about a batch that was answered."""
        self._seen.pop((built.late, built.first), None)
