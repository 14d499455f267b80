# What accept() gives: plain values, so that keeping one keeps no code that verifies in the heap.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence.claim import Claim
    from tallystick.evidence.half import Half


class Accepted:
    """A counterpart's half that was verified; `kept` once it is on flash, signed."""

    # `leaf` and `reference` as in docs/protocol.md, 1.3; `status` is the key's (section 5.2);
    # `data` are the half's bytes.

    def __init__(
        self,
        data: bytes,
        device: bytes,
        epoch: bytes,
        index: int,
        leaf: bytes,
        reference: bytes,
        status: str,
    ) -> None:
        self.data = data
        self.device = device
        self.epoch = epoch
        self.index = index
        self.leaf = leaf
        self.reference = reference
        self.status = status
        self.kept = False

    @property
    def half(self) -> "Half":
        """Read anew each time: on a microcontroller what reads it costs heap while it is used."""
        from tallystick.evidence.half import parse  # noqa: PLC0415  # costs heap

        return parse(self.data)

    @property
    def claim(self) -> "Claim":
        """What the counterpart claims; read anew each time, as `half`."""
        from tallystick.evidence.claim import parse  # noqa: PLC0415  # costs heap

        return parse(self.half.record)
