"""Public and Certified read any bytes as a TPM would have written them, or raise Malformed."""

from support import heldkeys
from support.examples import RECEIVER
from tallystick.evidence import _tpm
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed

PUBLIC = heldkeys.public_area(RECEIVER.public_key().raw)
SEEDS = (PUBLIC, heldkeys.certify(bytes(34), bytes(32)))


def target(data: bytes) -> None:
    try:
        public = _tpm.Public(data)
    except Malformed:
        pass
    else:
        assert len(public.raw) == 64
        assert public.name == b"\x00\x0b" + sha256(data)
    try:
        certified = _tpm.Certified(data)
    except Malformed:
        return
    assert certified.name in data
    assert certified.extra_data in data
