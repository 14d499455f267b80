"""What devices did, sent and were promised, by their own files: what stores are compared with."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from chaos.parts import Wrong
from chaos.reading import Log
from chaos.wirelog import ATTEMPT, BOOT, GIVEN, UP, URGENT, Lives
from tallystick.evidence import cbor, checkpoint, custody, keys, segment
from tallystick.evidence.errors import TallyError

SEGMENT = 13
STATEMENT = 0xD2  # the first byte of whatever is signed


class Promise(NamedTuple):
    """A custody receipt that reached its device."""

    gateway: str
    first: int
    to: int
    root: bytes
    bodies: bool
    time_ms: int


@dataclass
class Life:
    """Decisions of one device between two starts: numbers from `first` to below `end`."""

    first: int
    end: int


@dataclass
class Device:
    """One of them."""

    text: str
    folder: Path
    small: bool
    lives: list[Life] = field(default_factory=list)
    urgent: set[int] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)


@dataclass
class Truth:
    """All of it."""

    # By the text of a device's id.
    devices: dict[str, Device] = field(default_factory=dict)
    records: dict[Log, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    roots: dict[tuple[Log, int], bytes] = field(default_factory=dict)
    promises: dict[Log, set[Promise]] = field(default_factory=lambda: defaultdict(set))


def read_truth(folder: Path, drivers: tuple[str, ...], gateways: dict[str, str]) -> Truth:
    """gateways: the COSE key of each in hexadecimal digits."""
    truth = Truth()
    pinned = {
        name: keys.from_cose_key(cbor.decode(bytes.fromhex(key))) for name, key in gateways.items()
    }
    for driver in drivers:
        here = folder / driver
        devices = []
        for number, config in enumerate(json.loads((here / "devices.json").read_text())):
            small = config["journal_bytes"] < 1 << 16
            devices.append(Device(config["id"], here / f"device-{number}", small))
        truth.devices.update({device.text: device for device in devices})
        lives = Lives(here)
        for lines in lives.ledgers():
            for word, number, what in lines:
                _did(devices[number], word, what)
        seen: set[bytes] = set()
        for frame in lives.frames():
            if frame.way == UP:
                sent(truth, frame.message)
            elif frame.message[0] == STATEMENT and frame.message not in seen:
                seen.add(frame.message)
                _promised(truth, pinned, frame.message, devices[frame.device])
    return truth


def _did(device: Device, word: str, what: str) -> None:
    if word == BOOT:
        device.lives.append(Life(int(what), int(what)))
    elif word == ATTEMPT:
        device.lives[-1].end = int(what) + 1
    elif word == URGENT:
        device.urgent.add(int(what))
    elif word == GIVEN:
        device.tasks.add(what)


def sent(truth: Truth, message: bytes) -> None:
    if message[1] != SEGMENT:
        return
    received = segment.parse(message)
    log = received.device, received.epoch
    at = received.first
    for stretch in received.stretches:
        for item in stretch.items:
            if isinstance(item, bytes):
                if truth.records[log].setdefault(at, item) != item:
                    raise Wrong(f"index {at} of {log[1].hex()} was used for two records")
                at += 1
            else:
                at += 1 << item[0]
        head = checkpoint.parse(stretch.checkpoint)
        if truth.roots.setdefault((log, head.size), head.root) != head.root:
            raise Wrong(f"two heads of size {head.size} of {log[1].hex()} differ")


def _promised(
    truth: Truth, pinned: dict[str, keys.PublicKey], message: bytes, device: Device
) -> None:
    try:
        made = custody.parse(message)
    except TallyError:
        return  # a verdict
    for gateway, key in pinned.items():
        try:
            made.verify(key)
        except TallyError:
            continue
        log = keys.device_from_text(device.text), made.epoch
        promise = Promise(gateway, made.from_, made.to, made.root, made.bodies, made.time_ms)
        truth.promises[log].add(promise)
        return
    raise Wrong(f"a custody receipt for {device.text} by nobody")
