# CPython only
"""What goes wrong with a chip on request: for tests, demonstrations and drills."""

from tallystick.evidence.errors import KeyDriverError

CUTS = ("before", "after")
COUNT_MAX = 1_000_000
SLOW_MAX = 1_000


class Faults:
    """What shall go wrong next; a plain chip has none."""

    def __init__(self) -> None:
        self.nack = 0  # so many transfers are not acknowledged
        self.crc = 0  # so many answers arrive with a wrong CRC
        self.cut = ""  # power is lost `before` or `after` the next write of the EEPROM
        self.slow = 1  # each command takes so many times as long
        self.stuck = False  # the next command never ends, until the power was off
        self.unplugged = False  # no transfer is acknowledged, and no wake heard
        self.self_test = 0  # these tests of SelfTest fail

    @classmethod
    def parse(cls, wanted: "tuple[str, ...]") -> "Faults":
        """From `nack=N`, `crc=N`, `cut=before`, `cut=after`, `slow=N`, `stuck`, `unplugged`."""
        faults = cls()
        for text in wanted:
            name, _, value = text.partition("=")
            if name in ("stuck", "unplugged") and not value:
                setattr(faults, name, True)
            elif name == "cut" and value in CUTS:
                faults.cut = value
            elif name in ("nack", "crc", "slow") and value.isascii() and value.isdecimal():
                most = SLOW_MAX if name == "slow" else COUNT_MAX
                if not 1 <= int(value[:10]) <= most:
                    raise KeyDriverError("bad-fault", f"{name} is 1 to {most:,}")
                setattr(faults, name, int(value))
            else:
                known = "nack=N, crc=N, cut=before, cut=after, slow=N, stuck, unplugged"
                raise KeyDriverError("bad-fault", f"no fault is called {text[:40]!r}: {known}")
        return faults

    def take(self, name: str) -> bool:
        """Whether `nack` or `crc` strikes now; counts it down."""
        left = getattr(self, name)
        if left:
            setattr(self, name, left - 1)
        return bool(left)
