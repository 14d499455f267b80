"""What `tally log monitor` remembers between its rounds and runs: one JSON file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tallystick.evidence import cbor
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import note as notes
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey, b64u, from_b64u, from_cose_key
from tallystick.evidence.note import NoteKey
from tallystick.evidence.tree import Tree
from tallystick.tools._files import read_bytes
from tallystick.verify.devicekeys import KEYS_PER_DEVICE_MAX, DeviceKeys
from tallystick.verify.logcheck import DeviceLog, LogCheck, LoggedHead, LoggedVerdict, Told

STATE_BYTES_MAX = 1 << 30
FOUND_MAX = 1_000
FORMAT = "tallystick-monitor/2"


class _Head(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    data: str
    entry: int


class _Key(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    device: str
    key: str


class _Verdict(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    namespace: str
    interaction: str
    profile: str
    party_set: str
    state: str
    inputs: str
    decided: str
    entry: int


class _Log(msgspec.Struct, forbid_unknown_fields=True):
    note: str
    key: str
    receipt_key: str | None
    edge: list[str]
    time_ms: int
    heads: list[_Head]
    verdicts: list[_Verdict]
    keys: list[_Key]


class Found(msgspec.Struct, frozen=True):
    """A contradiction that was found; it stays, since neither side can take it back."""

    kind: str
    logs: list[str]
    says: str
    since_s: int
    proof: str  # a proof of misbehaviour (docs/protocol.md, 9), base64url; "" where there is none


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    logs: dict[str, _Log]
    found: list[Found]


@dataclass
class Followed:
    """One log as far as it was followed: its last checkpoint, verified, its tree, what it says."""

    note: notes.Note
    key: NoteKey
    receipt_key: PublicKey | None
    tree: Tree
    time_ms: int
    told: Told

    def check(self) -> LogCheck:
        """A check that goes on from here."""
        made = LogCheck(self.key.name, self.key, first=self.tree.size)
        told = Told(dict(self.told.heads), dict(self.told.verdicts), dict(self.told.keys))
        made.resume(self.time_ms, self.receipt_key, told)
        return made


@dataclass
class State:
    """All logs, by where they are read from, and what was found."""

    logs: dict[str, Followed] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def add(self, found: Found) -> bool:
        """Keep a contradiction; whether it is new."""
        known = {(one.kind, tuple(one.logs), one.says) for one in self.found}
        if (found.kind, tuple(found.logs), found.says) in known or len(self.found) >= FOUND_MAX:
            return False
        self.found.append(found)
        return True


def load(path: Path) -> State:
    """The state in a file, an empty one where there is none; Malformed for anything else."""
    if not path.exists():
        return State()
    try:
        return parse(read_bytes(path, STATE_BYTES_MAX))
    except Malformed as error:
        raise Malformed(error.reason, f"{path} is no state of a monitor: {error}") from error


def parse(data: bytes) -> State:
    """The state in these bytes, its checkpoints' signatures and trees checked again."""
    try:
        raw = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("bad-value", str(error)) from error
    if raw.format != FORMAT:
        raise Malformed("bad-value", f"it is of another version: {raw.format[:64]!r}")
    try:
        return State({where: _followed(log) for where, log in raw.logs.items()}, raw.found)
    except Unverified as error:
        raise Malformed(error.reason, error.message) from error


def encode(state: State) -> bytes:
    """What parse() reads."""
    raw = _File(FORMAT, {where: _log(log) for where, log in state.logs.items()}, state.found)
    return msgspec.json.encode(raw)


def save(path: Path, state: State) -> None:
    """Write it aside, sync it, rename it: a crash leaves the old one."""
    aside = path.with_name(path.name + ".new")
    with aside.open("wb") as file:
        file.write(encode(state))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _log(log: Followed) -> _Log:
    receipt_key = log.receipt_key
    return _Log(
        log.note.text(),
        log.key.text(),
        None if receipt_key is None else _key_text(receipt_key),
        [b64u(node) for node in log.tree.edge],
        log.time_ms,
        [
            _Head(b64u(one.data), one.entry)
            for _, one in sorted(log.told.heads.items(), key=lambda item: item[0])
        ],
        [
            _Verdict(
                namespace,
                b64u(interaction),
                b64u(profile),
                b64u(parties),
                one.state,
                b64u(one.inputs),
                b64u(one.decided),
                one.entry,
            )
            for (namespace, interaction, profile, parties), one in sorted(log.told.verdicts.items())
        ],
        [
            _Key(b64u(device), _key_text(key))
            for device, keys in sorted(log.told.keys.items())
            for key in keys
        ],
    )


def _followed(raw: _Log) -> Followed:
    key = notes.parse_key(raw.key)
    # The file is ours, and may have been changed: the signature is checked again.
    note = notes.parse(raw.note).verify(key)
    tree = Tree(note.size, [from_b64u(node, 32) for node in raw.edge])
    if tree.root() != note.root:
        raise Malformed("bad-root", "its tree is not that of its checkpoint")
    told = Told(
        dict(_head(one) for one in raw.heads),
        {
            (
                one.namespace,
                from_b64u(one.interaction, 16),
                from_b64u(one.profile, 32),
                from_b64u(one.party_set, 32),
            ): LoggedVerdict(
                one.state, from_b64u(one.inputs, 32), from_b64u(one.decided, 32), one.entry
            )
            for one in raw.verdicts
        },
        _keys(raw.keys),
    )
    receipt_key = None if raw.receipt_key is None else _key_of(raw.receipt_key)
    return Followed(note, key, receipt_key, tree, raw.time_ms, told)


def _head(raw: _Head) -> tuple[DeviceLog, LoggedHead]:
    made = checkpoints.parse(_bytes(raw.data))
    head = LoggedHead(made.size, made.root, made.encode(), raw.entry)
    return (made.device, made.epoch), head


def _keys(raw: list[_Key]) -> DeviceKeys:
    found: DeviceKeys = {}
    for one in raw:
        found.setdefault(from_b64u(one.device, 32), []).append(_key_of(one.key))
    for device, keys in found.items():
        if keys[0].thumbprint() != device or len(keys) > KEYS_PER_DEVICE_MAX:
            raise Malformed("bad-value", "a device's first key is not the one of its id")
    return found


def _key_text(key: PublicKey) -> str:
    return b64u(cbor.encode(key.cose_key()))


def _key_of(text: str) -> PublicKey:
    return from_cose_key(cbor.decode(_bytes(text)))


def _bytes(text: str) -> bytes:
    return from_b64u(text, len(text) * 3 // 4)
