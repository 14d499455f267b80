# What the recorder could not do, and what it did: counted, never raised into a control loop.

from tallystick.evidence.errors import TallyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.journal import Journal

NAMES_MAX = 32
OTHERS = "others"


class Health:
    """Counters since open(); `faults`, `refused` and `notices` map reasons to counts."""

    def __init__(self) -> None:
        self.records = 0
        self.dropped = 0
        # Of which only the hash is kept.
        self.elided = 0
        # Bodies that a full journal gave up, by kind.
        self.given_up: dict[str, int] = {}
        self.journal: "Journal | None" = None
        self.checkpoints = 0
        self.sent = 0
        self.resent = 0
        self.custody = 0
        self.connected = False
        self.flash_ok = True
        self.key_ok = True
        # Of the hardware counter, where there is one: value, raises left, and the years that they
        # last at least.
        self.counter: int | None = None
        self.counter_left: int | None = None
        self.counter_years: int | None = None
        self.last_fault = ""
        self.faults: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.notices: dict[str, int] = {}

    @property
    def journal_percent(self) -> int:
        """How much of `journal_bytes` is used."""
        journal = self.journal
        return 100 * journal.used // journal.bytes_max if journal is not None else 0

    def __repr__(self) -> str:
        return "Health(%s)" % self.as_dict()

    def as_dict(self) -> "dict[str, int | bool | str | dict[str, int] | None]":
        """All counters by name."""
        names = (
            "records dropped elided given_up journal_percent checkpoints sent resent custody"
            " connected flash_ok key_ok counter counter_left counter_years last_fault faults"
            " refused notices"
        )
        return {name: getattr(self, name) for name in names.split()}


def reason_of(error: Exception, otherwise: str = "io") -> str:
    """A token for what a driver raised; one of ours brings its own."""
    if isinstance(error, TallyError):
        return error.reason
    if isinstance(error, OSError):
        return otherwise
    return "memory" if isinstance(error, MemoryError) else "driver"


def one_more(counters: dict[str, int], reason: str) -> int:
    """One more; reasons that a stranger can choose are bounded in number."""
    if reason not in counters and len(counters) >= NAMES_MAX:
        reason = OTHERS
    counters[reason] = counters.get(reason, 0) + 1
    return counters[reason]
