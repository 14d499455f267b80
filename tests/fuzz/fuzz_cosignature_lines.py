"""cosignature.parse_lines returns signatures that lines() writes as they came, or Malformed."""

from support import examples as ex
from tallystick.evidence import cosignature
from tallystick.evidence.errors import Malformed

_MADE = [cosignature.cosign(ex.NOTE_SIGNER, name, "x\n1\n", 7) for name in ("a", "b.example")]
SEEDS = (cosignature.lines(_MADE[:1]).encode(), cosignature.lines(_MADE).encode())


def target(data: bytes) -> None:
    try:
        text = data.decode()
        got = cosignature.parse_lines(text)
    except (Malformed, UnicodeDecodeError):
        return
    assert cosignature.lines(got) == text
