"""What happens when: drawn from the seed alone, so a run can be told again by its seed."""

import random
from dataclasses import dataclass

GATEWAYS = ("gateway-a", "gateway-b")
SPARE = "gateway-c"  # it takes a gateway's place once
VALIDATORS = ("notary-1", "notary-2", "notary-3")
DRIVERS = ("robots-0", "robots-1", "robots-2", "robots-3")
BROKER = "broker"
# Each on a machine with a clock of its own.
MACHINES = (*GATEWAYS, *VALIDATORS)
PROCESSES = (*GATEWAYS, *VALIDATORS, *DRIVERS, BROKER)
LINKS = (
    *(f"{name}>{BROKER}" for name in (*DRIVERS, *GATEWAYS)),
    *(f"{gateway}>{validator}" for gateway in GATEWAYS for validator in VALIDATORS),
)

KILL = "kill"  # SIGKILL, started again after a while
CUT = "cut"  # a link is down: connections are reset, new ones are refused
STALL = "stall"  # a link takes what it is given, and nothing of it arrives until later
PAUSE = "pause"  # SIGSTOP, SIGCONT after a while
FULL = "full"  # no file of a process may grow: its disk is full
CLOCK = "clock"  # a wall clock is put elsewhere while it is read: some devices', or a machine's
RESET = "reset"  # SIGKILL, and the machine comes back with another clock
MOVE = "move"  # the other gateway takes all devices over, and this one is killed and comes back
SPOILT = "spoilt"  # a gateway is told to read a configuration that is none
WIPE = "wipe"  # SIGKILL of the broker, and what it had saved is lost
PUT_BACK = "put-back"  # a validator comes back with the store of a while ago, and must refuse
REPLACE = "replace"  # a gateway goes for good and sends what it has; a new one takes its place
HOLD = "hold"  # some devices are held at a gateway for a while
KINDS = (
    *(KILL, CUT, STALL, PAUSE, FULL, CLOCK, RESET, MOVE, SPOILT),
    *(WIPE, PUT_BACK, REPLACE, HOLD),
)

# Of each kind: how often (one of 0 comes once), who may be hit, and from how many to how many
# seconds it lasts.
_WEIGHTS = (14, 5, 3, 2, 3, 4, 2, 2, 1, 1, 1, 0, 1)
_TARGETS = {
    KILL: PROCESSES,
    CUT: LINKS,
    STALL: LINKS,
    PAUSE: MACHINES,
    FULL: MACHINES,
    CLOCK: (*DRIVERS, *MACHINES),
    RESET: MACHINES,
    MOVE: GATEWAYS,
    SPOILT: GATEWAYS,
    WIPE: (BROKER,),
    PUT_BACK: VALIDATORS,
    REPLACE: (GATEWAYS[1],),
    HOLD: (GATEWAYS[0],),
}
_LASTS_S = {
    KILL: (0.2, 5.0),
    CUT: (1.0, 9.0),
    STALL: (1.0, 6.0),
    PAUSE: (1.0, 4.0),
    FULL: (3.0, 8.0),
    CLOCK: (0.0, 0.0),
    RESET: (0.2, 5.0),
    MOVE: (4.0, 9.0),
    SPOILT: (0.5, 1.5),
    WIPE: (0.5, 4.0),
    PUT_BACK: (5.0, 8.0),
    REPLACE: (0.0, 0.0),
    HOLD: (10.0, 30.0),
}
# What comes first, in an order of the seed's, so that a short run has all of it.
_ONCE = (
    *((KILL, name) for name in PROCESSES),
    (CUT, "robots-1>broker"), (CUT, "gateway-a>broker"), (CUT, "gateway-b>notary-2"),
    (STALL, "robots-2>broker"), (STALL, "gateway-b>broker"), (STALL, "gateway-a>notary-1"),
    (FULL, "gateway-a"), (FULL, "gateway-b"), (FULL, "notary-3"),
    (CLOCK, "robots-0"), (CLOCK, "robots-3"),
    (CLOCK, "gateway-a"), (CLOCK, "notary-2"), (CLOCK, "notary-3"),
    (RESET, "gateway-b"), (RESET, "notary-1"),
    (WIPE, BROKER), (PUT_BACK, "notary-2"), (REPLACE, "gateway-b"), (HOLD, "gateway-a"),
    (MOVE, "gateway-a"), (MOVE, "gateway-b"),
    (PAUSE, "gateway-a"), (PAUSE, "notary-1"),
    (SPOILT, "gateway-b"),
)  # fmt: skip
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
# By how much a device's wall clock is wrong from then on; None: it is not set.
JUMPS_MS = (None, -365 * DAY_MS, 365 * DAY_MS, -3 * DAY_MS, HOUR_MS, -90_000, 0)
# And a machine's, which always says something.
MACHINE_JUMPS_MS = (
    *(-365 * DAY_MS, 400 * DAY_MS, -30 * HOUR_MS, 26 * HOUR_MS, -5 * HOUR_MS, 3 * HOUR_MS),
    *(-HOUR_MS, HOUR_MS, -90_000, 65_000, -7_000, 4_000, -800, 0),
)
# How long faults begin in the run of `make test`.
SUITE_S = 140.0
# Between faults, and before whoever was hit is hit again.
GAP_S = (0.5, 5.5)
REST_S = 4.0


@dataclass(frozen=True)
class Fault:
    """One of them; `clock_ms` of CLOCK and RESET only: by how much clocks are wrong then."""

    at_s: float
    kind: str
    target: str
    for_s: float
    clock_ms: int | None = None

    def __str__(self) -> str:
        lasts = f" for {self.for_s:.1f} s" if self.for_s else ""
        clock = ""
        if self.kind in {CLOCK, RESET}:
            clock = " to none" if self.clock_ms is None else f" by {self.clock_ms} ms"
        return f"{self.at_s:7.1f} s  {self.kind} {self.target}{lasts}{clock}"


def other_gateway(name: str) -> str:
    """The one that is left."""
    return GATEWAYS[1 - GATEWAYS.index(name)]


def plan(seed: int, seconds: float) -> list[Fault]:
    """All faults of a run in which they may begin for so long, in their order."""
    chance = random.Random(f"tallystick chaos {seed}")
    first = list(_ONCE)
    chance.shuffle(first)
    free_s: dict[str, float] = {}
    made: list[Fault] = []
    at_s = chance.uniform(*GAP_S)
    while at_s < seconds:
        kind, target = _next(chance, first, free_s, at_s)
        for_s = round(chance.uniform(*_LASTS_S[kind]), 1)
        jump = None
        if kind in {CLOCK, RESET}:
            jump = chance.choice(MACHINE_JUMPS_MS if target in MACHINES else JUMPS_MS)
        made.append(Fault(round(at_s, 1), kind, target, for_s, jump))
        for name in _hit(kind, target):
            free_s[name] = at_s + for_s + REST_S
        at_s += chance.uniform(*GAP_S)
    return made


def _hit(kind: str, target: str) -> tuple[str, ...]:
    if kind == HOLD:
        return (HOLD,)  # whatever happens to the gateway meanwhile
    # For a move the other gateway must be there, and witnesses for one that is put back.
    together = {MOVE: GATEWAYS, REPLACE: GATEWAYS, PUT_BACK: VALIDATORS}
    return together.get(kind, (target,))


def _next(
    chance: random.Random, first: list[tuple[str, str]], free_s: dict[str, float], at_s: float
) -> tuple[str, str]:
    def free(kind: str, target: str) -> bool:
        return all(free_s.get(name, 0.0) <= at_s for name in _hit(kind, target))

    for chosen in first:
        if free(*chosen):
            first.remove(chosen)
            return chosen
    while True:
        (kind,) = chance.choices(KINDS, _WEIGHTS)
        target = chance.choice(_TARGETS[kind])
        if free(kind, target):
            return kind, target
