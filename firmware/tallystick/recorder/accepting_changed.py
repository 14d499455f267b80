# Halves of who changed keys: checked all at once, which needs more heap than accepting.py's phases.

from tallystick.evidence import half as halves
from tallystick.evidence.credential import Keyring
from tallystick.evidence.root import parse_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from tallystick.recorder.recorder import Recorder


def status_of(tally: "Recorder", data: bytes, at_s: int | None) -> "Generator[None, None, str]":
    """The key's status at the half's head, when the half holds."""
    if tally.keyring is None:
        roots = dict([parse_root(line) for line in tally._config["roots"]])
        tally.keyring = Keyring(roots)
    tally.keyring.at_s = at_s
    verified = yield from halves.verifying(halves.parse(data), tally.keyring)
    return verified.status
