"""What `tally bench urgent` measures: robots, Mosquitto, a gateway, three validators; all real.

Each validator is of an organisation of its own. All processes are the product's own commands, on
one machine; the robots are recorders in this process, as in a robot's program.
"""

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from tallystick.evidence import custody, half, notarised, verdict
from tallystick.evidence.keys import from_b64u
from tallystick.recorder import Recorder
from tallystick.tools import provision
from tallystick.tools.bench import handovers
from tallystick.tools.bench.notary import Notary
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.sending import wait
from tallystick.tools.bench.urgent_legs import Passed
from tallystick.tools.bench.urgent_streams import Event, Stream
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.postgres import Postgres
from tallystick.tools.replay.processes import Processes
from tallystick.validator import schema
from tallystick.validator.place import Server

VALIDATORS = 3
ORGANISATIONS = ("acme", "borealis", "assure")
NAMESPACE = "dock-3"
# Nothing is sealed for any other reason than that somebody waits.
INTERVAL_S = 86_400
CHECKPOINT_S = 3_600
ANSWER_S_MAX = 60.0
START_S_MAX = 90.0
LOOK_S = 0.01
STREAM = "/v1/verdicts/events"


class Robot:
    """A recorder, and which of its checkpoints how many validators have told that they have."""

    def __init__(self, config: Path, member: Member) -> None:
        self.id = member.id
        self.tally = Recorder.open(str(config))
        self._told: dict[int, set[bytes]] = {}
        self._more = threading.Condition()
        self.tally.listen(self._heard)

    def _heard(self, name: str, message: bytes) -> None:
        if name != "notarised":
            return
        found = notarised.parse(message)
        with self._more:
            self._told.setdefault(found.size, set()).add(found.receipt)
            self._more.notify_all()

    def wait_for(self, size: int, validators: int) -> None:
        """Until so many have receipted a checkpoint of this size."""
        with self._more:
            if not self._more.wait_for(
                lambda: len(self._told.get(size, ())) >= validators, ANSWER_S_MAX
            ):
                message = f"not all validators had the first claim in {ANSWER_S_MAX:.0f} s"
                raise BenchFailed("bench-failed", message)
            self._told = {at: found for at, found in self._told.items() if at > size}

    def all_given(self) -> bool:
        """Whether the gateway has all, its start and the link's included."""
        return bool(self.tally.flush()) and self.tally.backlog() == 0

    def until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for something that this robot knows."""
        end = time.monotonic() + START_S_MAX
        while not ready():
            if time.monotonic() > end:
                raise BenchFailed("bench-failed", f"a robot waits for {what} in vain")
            time.sleep(LOOK_S)


class Site:
    """A context manager; `handover` is one interaction from its first claim to three verdicts."""

    def __init__(self, folder: Path, postgres: Postgres | None, workers: int) -> None:
        self._folder = folder
        self._postgres = postgres
        self._workers = 0 if postgres is None else workers
        self._numbers = itertools.count()
        self._stack = ExitStack()
        self._found: list[tuple[Passed, int, list[Event]]] = []

    def __enter__(self) -> "Site":
        """Start all of it."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all of it."""
        self._stack.close()

    def _start(self) -> None:
        fleets = [Fleet.init(self._folder / name, name) for name in ORGANISATIONS]
        for fleet in fleets:
            for other in fleets:
                if other is not fleet:
                    fleet.trust(other.root_line)
        home = fleets[0]
        self.notaries = [self._notary(fleet) for fleet in fleets]
        broker = self._stack.enter_context(Mosquitto(self._folder / "broker"))
        url = f"mqtt://{broker.host}:{broker.port}"
        peers = [
            provision.ValidatorPeer(
                fleet.name, notary.url, notary.member.credential_path, send="full"
            )
            for fleet, notary in zip(fleets, self.notaries, strict=True)
        ]
        gateway = home.enrol("gateway", "gateway")
        config = provision.gateway(home, gateway, broker=url, validators=peers)
        self._gateway = config.parent / "gateway.sqlite"
        processes = self._stack.enter_context(Processes(self._folder / "logs"))
        for fleet, notary in zip(fleets, self.notaries, strict=True):
            processes.tally(fleet.name, "validator", "run", "--config", str(notary.path))
        names = list(ORGANISATIONS)
        for notary in self.notaries:
            wait(notary.url, lambda: processes.check(names))
            notary.wait_for_workers(self._workers)
        processes.tally("gateway", "gateway", "run", "--config", str(config))
        self._check = partial(processes.check, [*names, "gateway"])
        self._giver, self._receiver = (self._robot(home, name, url) for name in ("giver", "taker"))
        self._streams = [
            self._stack.enter_context(Stream(notary.url, STREAM)) for notary in self.notaries
        ]

    def _notary(self, fleet: Fleet) -> Notary:
        url = None if self._postgres is None else self._postgres.database()
        return Notary(fleet, "validator", url, workers=self._workers)

    def _robot(self, fleet: Fleet, label: str, broker: str) -> Robot:
        member = fleet.enrol("device", label, interval_s=INTERVAL_S)
        config = provision.device(
            fleet,
            member,
            uplink=broker,
            namespace=NAMESPACE,
            profiles=[provision.profile_file(handovers.TEXT)],
            settings={"checkpoint_s": CHECKPOINT_S},
        )
        robot = Robot(config, member)
        self._stack.callback(robot.tally.close)
        robot.until(lambda: robot.tally.health.connected and robot.all_given(), "its gateway")
        return robot

    def handover(self, rest: Callable[[], None]) -> float:
        """Seconds from the second robot's decision to the last of the three verdicts.

        `rest` is called between the two claims, when every validator has the first one.
        """
        self._check()
        task = f"box-{next(self._numbers)}"
        given = self._claim(self._giver, self._receiver, "giver", "released", task)
        self._giver.wait_for(half.parse(given).index + 1, VALIDATORS)
        rest()
        made = self._receiver.tally.health.checkpoints
        start_s, start_wall_s = time.monotonic(), time.time()
        taken = self._claim(self._receiver, self._giver, "receiver", "acquired", task)
        signed_wall_s = time.time()
        events = [stream.next(ANSWER_S_MAX) for stream in self._streams]
        if self._receiver.tally.health.checkpoints != made + 1:
            # The bare path signs once for it, and so must we.
            raise BenchFailed("bench-failed", "the robot signed more than one checkpoint")
        last = max(events, key=lambda event: event.at_s)
        passed = Passed(start_wall_s, signed_wall_s, last.wall_s)
        passed.validator = events.index(last)
        self._found.append((passed, half.parse(taken).index, events))
        return last.at_s - start_s

    def _claim(self, robot: Robot, other: Robot, role: str, claim: str, task: str) -> bytes:
        """What the robot decided, and its part of the interaction: one signature over both."""
        peer = "receiver" if role == "giver" else "giver"
        robot.tally.decision(
            "grasp-net@3f2a91",
            {"item": task, "range_m": "0.412"},
            {"speed_m_s": ("0.25", "<=", "0.5", "m/s")},
            {"action": claim},
        )
        made: bytes = robot.tally.claim(
            "handover@1",
            role=role,
            claim=claim,
            peers={peer: other.id},
            task=task,
            item=task,
            position_m=["1.25", "7.5"],
        )
        if not made:
            raise BenchFailed("bench-failed", f"the robot did not sign: {robot.tally.health}")
        return made

    # --- afterwards ---------------------------------------------------------------------------

    def passed(self) -> list[Passed]:
        """When each interaction passed where, by what gateway and validators keep of it.

        Every verdict is verified, and must say `matched`.
        """
        committed = self._committed()
        times = [self._times(notary) for notary in self.notaries]
        for passed, index, events in self._found:
            for notary, event in zip(self.notaries, events, strict=True):
                text = event.data["statement"]
                received = verdict.parse(from_b64u(text, len(text) * 3 // 4))
                found = received.verify(notary.member.identity.key).finding
                if found.state != "matched":
                    message = f"a verdict says {found.state} instead of matched"
                    raise BenchFailed("bench-failed", message)
            entry = int(events[passed.validator].data["entry"])
            claimed, judged = times[passed.validator]
            passed.committed_s = committed[index + 1] / 1000
            passed.logged_s = claimed[index] / 1000
            passed.judged_s = judged[entry] / 1000
        return [passed for passed, _, _ in self._found]

    def _committed(self) -> dict[int, int]:
        # The time in a custody receipt is taken right after the COMMIT that it promises.
        with sqlite3.connect(self._gateway) as connection:
            rows = connection.execute(
                "SELECT data FROM custody WHERE device = ?", (self._receiver.id,)
            ).fetchall()
        receipts = [custody.parse(data) for (data,) in rows]
        return {receipt.to: receipt.time_ms for receipt in receipts}

    def _times(self, notary: Notary) -> tuple[dict[int, int], dict[int, int]]:
        # Log time of the second robot's claims by index, and of verdicts by entry.
        store = notary.config().store
        url = (
            store.url if isinstance(store, Server) else sa.URL.create("sqlite", database=str(store))
        )
        engine = sa.create_engine(url)
        claims, entries, verdicts = schema.claims, schema.entries, schema.verdicts
        try:
            with engine.connect() as connection:
                claimed = connection.execute(
                    sa.select(claims.c.at, claims.c.time_ms).where(
                        claims.c.device == self._receiver.id
                    )
                ).all()
                judged = connection.execute(
                    sa.select(entries.c.entry, entries.c.time_ms).join(
                        verdicts, verdicts.c.entry == entries.c.entry
                    )
                ).all()
        finally:
            engine.dispose()
        return dict(map(tuple, claimed)), dict(map(tuple, judged))
