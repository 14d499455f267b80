"""The oracle, by a reading of its own: the wire's parsers and hashes are all that is shared.

No acknowledged record lost, none counted twice, order per device kept, every validator holds it
exactly once, every gap visible, and every store opens. It reads a run's folder and nothing else.
"""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.gatewaychecks import check_custody, check_gateway_log, check_receipts
from chaos.interactions import check_claims, check_findings
from chaos.parts import Wrong
from chaos.plan import DRIVERS, GATEWAYS, SPARE, VALIDATORS
from chaos.reading import (
    Gateway,
    Held,
    Item,
    Journal,
    Notary,
    read_gateway,
    read_journal,
    read_notary,
)
from chaos.times import Said, check_log_times, check_promises
from chaos.trees import Frontier, Tree
from chaos.truth import Device, Promise, Truth, read_truth
from tallystick.evidence import keys, note, record

DECISION, EVENT = 0, 2
# What a SIGKILL may take of one device: what it had not written yet.
UNWRITTEN_MAX = 8


@dataclass
class Report:
    """What was compared."""

    devices: int = 0
    attempted: int = 0
    records: int = 0
    acknowledged: int = 0
    promises: int = 0
    elided: int = 0
    unwritten: int = 0
    entries: int = 0
    receipts: int = 0
    claims: int = 0
    # Bodies in custody that a validator lacks, and decisions that one has or counts again; counted
    # beside the checks, which name the first of them and end.
    lost: int = 0
    twice: int = 0

    def lines(self) -> list[str]:
        """For whoever looks on."""
        return [
            f"{self.devices} devices, {self.attempted} decisions begun, {self.claims} claims",
            f"{self.records} records logged, each once at {len(VALIDATORS)} validators",
            f"{self.acknowledged} of them acknowledged, by {self.promises} custody receipts",
            f"acknowledged and lost: {self.lost}; twice: {self.twice}",
            f"given up by full journals, and told: {self.elided}",
            f"not written yet when a kill came: {self.unwritten}",
            f"{self.entries} entries and {self.receipts} receipts of validators checked",
        ]


@dataclass
class State:
    """All that a run left, as it was read."""

    folder: Path
    truth: Truth
    journals: dict[str, Journal]
    notaries: list[Notary]
    gateways: list[Gateway]
    said: Said
    # Of validators the keys of their checkpoints, of gateways their COSE keys, by name.
    notes: dict[str, str]
    keys: dict[str, str]


def check(folder: Path) -> Report:
    """Wrong where a promise is broken."""
    return judge(read(folder))


def read(folder: Path) -> State:
    """Wrong where something does not open."""
    public = json.loads((folder / "public.json").read_text())
    truth = read_truth(folder, DRIVERS, public["gateways"])
    return State(
        folder,
        truth,
        {text: read_journal(one.folder / "journal") for text, one in truth.devices.items()},
        [read_notary(name, folder / name / "validator.sqlite") for name in VALIDATORS],
        [
            read_gateway(name, path)
            for name in (*GATEWAYS, SPARE)
            if (path := folder / name / "gateway.sqlite").exists()
        ],
        Said(folder),
        public["notes"],
        public["gateways"],
    )


def judge(state: State) -> Report:
    """Wrong where a promise is broken."""
    report = Report(devices=len(state.truth.devices))
    check_promises(state.truth, state.said)
    for notary in state.notaries:
        judge_notary(notary, state, report)
    check_findings(state.notaries)
    for gateway in state.gateways:
        judge_gateway(gateway, state, report)
    _count(report, state.truth, state.notaries)
    return report


def judge_notary(notary: Notary, state: State, report: Report) -> None:
    """One validator's store."""
    _check_log(notary, state.folder / "notes", state.notes[notary.name])
    _check_content(notary, state.truth)
    _check_logs(notary)
    _check_promises(notary, state.truth)
    _check_gaps(notary)
    _check_journals(notary, state.journals)
    _check_decisions(notary, state.truth, report)
    check_claims(notary, state.truth)
    check_log_times(notary, state.said)


def judge_gateway(gateway: Gateway, state: State, report: Report) -> None:
    """One gateway's store."""
    _check_content(gateway, state.truth)
    check_custody(gateway, state.truth)
    check_gateway_log(gateway, state.notaries, state.keys[gateway.name])
    report.receipts += check_receipts(gateway, state.notaries)


def _count(report: Report, truth: Truth, notaries: list[Notary]) -> None:
    first = notaries[0]
    report.attempted = sum(
        life.end - life.first for device in truth.devices.values() for life in device.lives
    )
    report.records = sum(items[-1].to for items in first.items.values() if items)
    report.promises = sum(len(made) for made in truth.promises.values())
    report.acknowledged = sum(
        max(promise.to for promise in made) for made in truth.promises.values()
    )
    report.elided = sum(
        item.to - item.first
        for items in first.items.values()
        for item in items
        if item.record is None
    )
    report.entries = sum(len(notary.leaves) for notary in notaries)
    report.claims = len(first.claims)
    report.lost = sum(count_lost(notary, truth) for notary in notaries)
    report.twice = sum(count_twice(notary) for notary in notaries)


def count_lost(notary: Notary, truth: Truth) -> int:
    """Bodies in custody that it does not have."""
    return sum(
        len(_named(promises) - notary.records(log).keys())
        for log, promises in truth.promises.items()
    )


def count_twice(notary: Notary) -> int:
    """Decisions that stand more than once in its logs, or that it counts beyond those."""
    found = 0
    numbers: dict[bytes, list[int]] = {}
    for log in notary.items:
        numbers.setdefault(log[0], []).extend(_numbers(notary.records(log)))
    for device, made in numbers.items():
        found += max(len(made), notary.decisions[device]) - len(set(made))
    return found


# --- a validator's own log -----------------------------------------------------------------


def _check_log(notary: Notary, notes: Path, key: str) -> None:
    tree = Tree(notary.leaves)
    if max(notary.heads, default=0) != tree.size:
        raise Wrong(f"{notary.name}: its newest checkpoint is not that of its log")
    for size, root in notary.heads.items():
        if tree.root(size) != root:
            raise Wrong(f"{notary.name}: its log is another one than at size {size}")
    said = [data for data in notary.statements if data is not None]
    if len(set(said)) != len(said):
        raise Wrong(f"{notary.name}: a statement is logged twice")
    for path in sorted(notes.glob(f"{notary.name}-*")):
        published = note.parse(path.read_text()).verify(note.parse_key(key))
        if published.size > tree.size:
            raise Wrong(f"{notary.name}: it published size {published.size}, and has shrunk")
        if published.size and tree.root(published.size) != published.root:
            raise Wrong(f"{notary.name}: it published another root of size {published.size}")


# --- devices' logs -------------------------------------------------------------------------


def _check_content(held: Held, truth: Truth) -> None:
    for log in held.items:
        sent = truth.records.get(log, {})
        for at, data in held.records(log).items():
            if sent.get(at) != data:
                raise Wrong(f"{held.name}: index {at} of {log[1].hex()} is not what was sent")


def _roots(items: list[Item]) -> dict[int, bytes]:
    """The root at each size where an item ends; items without holes, from index 0 on."""
    found, frontier = {}, Frontier()
    for item in items:
        frontier.push(item.level, item.hash)
        found[item.to] = frontier.root()
    return found


def _check_logs(notary: Notary) -> None:
    """Every device's log is whole; a validator says itself what it covers."""
    for log, (began, size, covered) in notary.logs.items():
        at = 0
        for item in notary.items[log]:
            if item.first != at:
                raise Wrong(f"{notary.name}: a hole from {at} to {item.first} of {log[1].hex()}")
            at = item.to
        if (began, size, covered) != (0, at, at):
            raise Wrong(
                f"{notary.name}: it says of {log[1].hex()} that it covers {covered} indexes from "
                f"{began} to {size}, and it has {at}"
            )


def _check_promises(notary: Notary, truth: Truth) -> None:
    """What is in custody is here, with the bodies that the receipt named, in the signed order."""
    for log, promises in truth.promises.items():
        if log not in notary.items:
            raise Wrong(f"{notary.name}: of {log[1].hex()}, which is in custody, it has nothing")
        roots = _roots(notary.items[log])
        for promise in promises:
            if roots.get(promise.to) != promise.root:
                raise Wrong(
                    f"{notary.name}: what {promise.gateway} took into custody of {log[1].hex()} "
                    f"up to {promise.to} is not what is here"
                )
        bodies = notary.records(log)
        named = _named(promises)
        lost = sorted(named - set(bodies))
        if lost:
            raise Wrong(f"{notary.name}: bodies in custody are lost, of {log[1].hex()}: {lost}")


def _named(promises: set[Promise]) -> set[int]:
    """Indexes whose bodies were promised."""
    found: set[int] = set()
    reached = 0
    for first, to in sorted((made.first, made.to) for made in promises if made.bodies):
        found.update(range(max(first, reached), to))
        reached = max(reached, to)
    return found


def _told(records: dict[int, bytes]) -> int:
    """How many bodies `gap` events say were given up."""
    found = 0
    for data in records.values():
        if record.kind_of(data) == EVENT:
            event: Any = record.parse(data)
            if event.event == "gap":
                found += event.details["dropped"]
    return found


def _check_gaps(notary: Notary) -> None:
    for log, items in notary.items.items():
        gone = sum(item.to - item.first for item in items if item.record is None)
        told = _told(notary.records(log)) if gone else 0
        if gone > told:
            raise Wrong(
                f"{notary.name}: {gone} bodies of {log[1].hex()} are missing, and its device tells "
                f"of {told}"
            )


def _check_journals(notary: Notary, journals: dict[str, Journal]) -> None:
    """All that a device signed last is here, and what it still has is the same."""
    epochs = [log[0] for log in notary.items]
    if len(set(epochs)) != len(epochs):
        raise Wrong(f"{notary.name}: a device began an epoch although it had lost nothing")
    for text, journal in journals.items():
        log = journal.device, journal.epoch
        roots = _roots(notary.items.get(log, []))
        if max(roots, default=0) != journal.size or roots.get(journal.size) != journal.root:
            raise Wrong(
                f"{notary.name}: {text} signed {journal.size} records, and they are not what is "
                f"here: {max(roots, default=0)}"
            )
        if journal.custody != journal.size:
            raise Wrong(f"{text} has no custody receipt for its last records")
        held = notary.records(log)
        for at, data in journal.records.items():
            if held.get(at) not in {None, data}:
                raise Wrong(f"{notary.name}: index {at} of {text} is not what its journal has")


# --- decisions -----------------------------------------------------------------------------


def _numbers(records: dict[int, bytes]) -> list[int]:
    found = []
    for data in records.values():
        if record.kind_of(data) == DECISION:
            made: Any = record.parse(data)
            found.append(int(made.inputs["n"]))
    return found


def _check_decisions(notary: Notary, truth: Truth, report: Report) -> None:
    by_device: dict[str, list[int]] = {}
    for log in notary.items:
        numbers = _numbers(notary.records(log))
        if any(one >= other for one, other in itertools.pairwise(numbers)):
            raise Wrong(f"{notary.name}: decisions of {log[1].hex()} are out of order, or twice")
        if notary.decisions[log[0]] != len(numbers):
            raise Wrong(
                f"{notary.name}: it counts {notary.decisions[log[0]]} decisions of "
                f"{log[0].hex()}, and has {len(numbers)}"
            )
        by_device[keys.device_text(log[0])] = numbers
    report.unwritten = 0
    for text, device in truth.devices.items():
        report.unwritten += _check_lives(notary.name, device, set(by_device.get(text, [])))


def _check_lives(name: str, device: Device, found: set[int]) -> int:
    """What may be missing is the end of a life that was killed; how many are."""
    gone = device.urgent - found
    if gone:
        raise Wrong(f"{name}: urgent decisions {sorted(gone)} of {device.text} had returned")
    missing = 0
    for number, life in enumerate(device.lives):
        here = {n for n in found if life.first <= n < life.end}
        if device.small:
            continue  # what its journal gave up is compared with what it told
        lost = life.end - life.first - len(here)
        allowed = 0 if number == len(device.lives) - 1 else UNWRITTEN_MAX
        if here and max(here) - life.first + 1 != len(here):
            raise Wrong(f"{name}: {device.text} lacks decisions in the middle, in {sorted(here)}")
        if lost > allowed:
            raise Wrong(f"{name}: {device.text} lacks {lost} decisions before {life.end}")
        missing += lost
    strange = {n for n in found if not any(one.first <= n < one.end for one in device.lives)}
    if strange:
        raise Wrong(f"{name}: {device.text} never made decisions {sorted(strange)}")
    return missing
