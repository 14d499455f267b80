"""What the page shows, as types: one snapshot of the gateway. Times are in ms since 1970."""

from msgspec import Struct, field


class Named(Struct, frozen=True):
    """A device, and what to call it."""

    id: str
    name: str


class Process(Struct, frozen=True, kw_only=True):
    """What only the running process knows."""

    started_ms: int
    connected: bool
    # Of the broker's connection: since it is as it is.
    connected_since_ms: int
    broker: str
    broker_error: str = ""
    store_error: str = ""
    store_error_since_ms: int | None = None
    key_error: str = ""
    not_taken: int = 0
    not_sent_down: int = 0
    clients_replaced: int = 0
    connections_lost: int = 0
    # Sessions that the broker was to keep and did not; messages that came twice on a connection.
    sessions_lost: int = 0
    duplicates: int = 0
    # Parked segments of devices that another gateway serves now.
    parked_dropped: int = 0
    # Segments verified ahead (ahead.py), those that were not in time, and processes replaced.
    verified_ahead: int = 0
    verified_late: int = 0
    verifiers_replaced: int = 0
    # Why the newest configuration file is not in force.
    config_error: str = ""
    # How far the wall clock went from the monotonic one since the start.
    clock_stepped_ms: int = 0
    clock_stepped_at_ms: int | None = None


class Disk(Struct, frozen=True, kw_only=True):
    """The store and the room for it (capacity.py): ok, warning, stopped or full, and since when."""

    level: str
    used_bytes: int
    allowed_bytes: int
    since_ms: int
    # What sets how much is allowed: store_bytes_max, or the disk.
    bound: str

    def percent(self) -> float:
        """How much of what is allowed is used."""
        return 100 * self.used_bytes / self.allowed_bytes


class Skew(Struct, frozen=True, kw_only=True):
    """A device's clock against this gateway's: positive is ahead.

    `steady`: later looks said the same, so it is no late delivery.
    """

    offset_ms: int
    uncertainty_ms: int
    steady: bool


class Device(Struct, frozen=True, kw_only=True):
    """One line of the devices; `tag` and `names` as the fleet signed them."""

    id: str
    iss: str
    tag: str | None
    status: str
    custody: str
    custody_claimed: str
    interval_s: int
    seen_ms: int | None
    records: int
    # Records here that some validator has not receipted.
    backlog: int
    # Indexes that are missing in what is here, and segments that wait for them.
    gaps: int
    parked: int
    skew: Skew | None
    # A hardware counter's place, and how far it can still count.
    counter: int | None
    counter_left: int | None
    suspect: str | None
    suspect_ms: int | None
    valid_until_s: int
    # What an operator's hold asks of it: held; to hold, to release (not known there yet).
    hold: str | None = None
    # Words for the conditions that hold of it.
    trouble: list[str] = field(default_factory=list)


class Validator(Struct, frozen=True, kw_only=True):
    """One validator: how far it is, and what it said."""

    name: str
    url: str
    cursor: int
    lag: int
    held: int
    # Of the oldest segment that it has not: when it came here.
    waits_since_ms: int | None
    batches: int
    receipts: int
    answered_ms: int | None
    error: str | None
    error_ms: int | None
    # Why it refuses what is sent, where it answers and says no.
    refuses: str | None
    set_aside: int
    verdicts: dict[str, int]
    # closed, open or half-open (circuit.py), and since when.
    circuit: str = "closed"
    circuit_since_ms: int | None = None


class Conflict(Struct, frozen=True, kw_only=True):
    """A conflicting interaction of the last day; `link`: its page at the validator."""

    validator: str
    namespace: str
    interaction: str
    entry: int
    time_ms: int
    link: str
    why: str
    devices: list[Named]


class Expiry(Struct, frozen=True, kw_only=True):
    """Something that ends: a certificate, an enrolment, a peer file."""

    what: str
    until_ms: int
    device: str | None = None


class Quarantined(Struct, frozen=True, kw_only=True):
    """Segments that were set aside, by who set them aside and why."""

    where: str
    reason: str
    count: int
    since_ms: int
    # Of them, those of devices whose key has ended: nothing is left to do.
    settled: int = 0


class Refused(Struct, frozen=True, kw_only=True):
    """What was refused at the door, by reason."""

    reason: str
    count: int
    last_ms: int
    message: str


class Hold(Struct, frozen=True, kw_only=True):
    """A hold in force: `devices` is how many it asks to keep theirs too, None for all."""

    name: str
    why: str
    since_ms: int
    devices: int | None


class Totals(Struct, frozen=True, kw_only=True):
    """What is here."""

    devices: int
    logs: int
    segments: int
    records: int
    custody_receipts: int
    parked_segments: int
    parked_bytes: int
    forks: int


class Snapshot(Struct, frozen=True, kw_only=True):
    """All of one look."""

    name: str
    gateway: str
    version: str
    time_ms: int
    process: Process
    disk: Disk
    totals: Totals
    devices: list[Device]
    validators: list[Validator]
    conflicts: list[Conflict]
    expiries: list[Expiry]
    quarantine: list[Quarantined]
    refused: list[Refused]
    holds: list[Hold]


class Condition(Struct, frozen=True, kw_only=True):
    """One of the ten that holds: what, since when, what to do, and which devices it is about."""

    name: str
    grave: bool
    sentence: str
    since_ms: int | None
    what_to_do: str
    devices: list[Named] = field(default_factory=list)
    # What it costs as long as it holds (pageguide.py).
    costs: str = ""
    # `since_ms` is when this process first saw it; it may have begun before.
    noticed: bool = False


class Sample(Struct, frozen=True, array_like=True):
    """A point of the plots; rates are of the step that ends at `time_ms`, None without one."""

    time_ms: int
    records_per_s: float | None
    segments_per_s: float | None
    backlog: int


class Status(Struct, frozen=True, kw_only=True):
    """What /v1/status and the stream tell: a snapshot without its devices, and what holds."""

    name: str
    gateway: str
    version: str
    time_ms: int
    sentence: str
    well: bool
    conditions: list[Condition]
    process: Process
    disk: Disk
    totals: Totals
    validators: list[Validator]
    conflicts: list[Conflict]
    expiries: list[Expiry]
    quarantine: list[Quarantined]
    refused: list[Refused]
    holds: list[Hold]
    # What is not well and none of the ten, as sentences.
    beside: list[str]
    sample: Sample | None


class Devices(Struct, frozen=True, kw_only=True):
    """A page of devices, those with trouble first; `next`: where the next page begins."""

    time_ms: int
    total: int
    found: int
    first: int
    next: int | None
    devices: list[Device]


class LogRow(Struct, frozen=True, kw_only=True):
    """One log of a device: what is here of it, as [from, to) pieces."""

    epoch: str
    size: int
    pieces: list[tuple[int, int]]
    left_at: int | None
    parked: int
    validators: dict[str, int]
    since_ms: int


class ForkRow(Struct, frozen=True, kw_only=True):
    """Two heads of one log that contradict each other."""

    epoch: str
    size: int
    time_ms: int


class OneDevice(Struct, frozen=True, kw_only=True):
    """A device's page."""

    device: Device
    details: dict[str, str]
    keys: list[str]
    logs: list[LogRow]
    forks: list[ForkRow]
    refused: list[Refused]
    conflicts: list[Conflict]


class History(Struct, frozen=True, kw_only=True):
    """The points of the plots, oldest first."""

    step_s: float
    samples: list[Sample]


class Problem(Struct, frozen=True, kw_only=True):
    """Why there is no answer (RFC 9457)."""

    reason: str
    title: str
    status: int
    reasons: list[str] = field(default_factory=list)
