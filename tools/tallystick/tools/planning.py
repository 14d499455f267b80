"""What a fleet takes, computed from the format's own encoders: bytes a day, disk, link.

Everything that has a size on the wire is made, with signatures of zeros, and measured. What SQLite
adds to it is a factor, which a test compares with a real store.
"""

from dataclasses import asdict, dataclass
from typing import Any

from tallystick.evidence import receipt, statement
from tallystick.evidence.batch import Batch
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.keys import EDDSA, device_text, from_raw
from tallystick.evidence.notarised import Notarised
from tallystick.evidence.segment import Segment, Stretch

DAY_S = 86_400
HASH = bytes(32)
_SIGNATURE = bytes(64)
_KEY = from_raw(EDDSA, b"\x58" + b"\x66" * 31)  # the curve's base point: a key of the right length
_ISS = "x" * 20  # the longest
_TIME_MS = 1_790_000_000_000
_TOPIC = "tallystick/1/acme/{}/down"
# TCP, IP and TLS around one message and its acknowledgement.
_LINE_BYTES = 160
_HTTP_BYTES = 700  # headers of a request and its answer
_BATCHES_PER_S = 1.0  # to one validator, at most: more segments make longer batches
# SQLite: pages are not full, rows and keys have heads. Compared with a store by a test.
_STORE_FACTOR = 1.05
_ROW_BYTES = 12  # of a row and each key of an index, beside its values
_EDGE = 32 * 8  # of a device's tree, on average
_NODES = 2  # of the gateway's log, a segment, on average


@dataclass(frozen=True)
class Fleet:
    """What is asked: rates are those of one device."""

    devices: int
    decisions_per_s: float
    decision_bytes: int
    records_per_segment: int
    validators: int
    days: int


@dataclass(frozen=True)
class Plan:
    """Bytes and bits; a day's where the name says so."""

    segment_bytes: int
    added_bytes_per_decision: float
    segments_per_day: float
    device_up_bits_per_s: float
    device_down_bits_per_s: float
    broker_bytes_per_day: float
    validator_bytes_per_day: float
    validator_bits_per_s: float
    store_bytes_per_day: float
    store_left_bytes_per_day: float
    store_bytes: float
    store_bytes_after_a_year: float

    def rows(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _signed(made: statement.Signed) -> bytes:
    return statement.prepare(_KEY, _ISS, device_text(HASH), made.payload()).finish(_SIGNATURE)


def _sizes(fleet: Fleet) -> tuple[bytes, bytes, bytes, bytes]:
    """A segment, a custody receipt, a validator's receipt, and a pruned segment, in mid-life."""
    count = fleet.records_per_segment
    size = max(count, int(fleet.days * DAY_S * fleet.decisions_per_s)) // count * count
    head = Checkpoint(bytes(8), size, HASH, 0, 100, 10**9, [_TIME_MS, 1_000], None, HASH)
    checkpoint = _signed(head)
    stretch = Stretch([bytes(fleet.decision_bytes)] * count, HASH, checkpoint)
    segment = Segment(HASH, bytes(8), size - count, None, [stretch]).encode()
    left = Stretch([(level, HASH) for level in range(count.bit_length())], None, checkpoint)
    pruned = Segment(HASH, bytes(8), size - count, None, [left]).encode()
    custody = _signed(CustodyReceipt(bytes(8), 0, size, HASH, bodies=True, time_ms=_TIME_MS))
    # A validator's log holds two statements of each segment, of all gateways alike.
    entries = max(2, int(2 * fleet.devices * size / count))
    path = [HASH] * entries.bit_length()
    root = receipt.prepare(_KEY, _ISS, "validator.example/log", _TIME_MS // 1000, HASH)
    return segment, custody, root.finish(_SIGNATURE).inclusion(entries, 0, path), pruned


def plan(fleet: Fleet) -> Plan:
    """What this fleet takes."""
    segment, custody, receipted, pruned = _sizes(fleet)
    per_s = fleet.decisions_per_s / fleet.records_per_segment
    segments_per_s = fleet.devices * per_s
    topic = len(_TOPIC.format(device_text(HASH)))
    notarised = Notarised(bytes(8), 10**9, receipted).encode()
    up = len(segment) + topic + _LINE_BYTES
    down = len(custody) + fleet.validators * len(notarised)
    down += (1 + fleet.validators) * (topic + _LINE_BYTES)
    batch = _signed(
        Batch((1 << 16) - 1, [HASH] * 16, [], [], [], [], _signed(GatewayHead(1, HASH, _TIME_MS)))
    )
    batches_per_s = min(segments_per_s, _BATCHES_PER_S)
    sent_per_s = segments_per_s * (len(segment) + len(custody) + 2 * (len(receipted) + 36))
    sent_per_s += batches_per_s * (len(batch) + _HTTP_BYTES)
    stored = (len(segment) + _beside(custody, len(receipted), fleet)) * _STORE_FACTOR
    # Of a pruned segment, that validators receipted it is kept, not their receipts.
    left = (len(pruned) + _beside(custody, 0, fleet)) * _STORE_FACTOR
    per_day = segments_per_s * DAY_S
    kept = min(fleet.days, 365)
    return Plan(
        segment_bytes=len(segment),
        added_bytes_per_decision=len(segment) / fleet.records_per_segment - fleet.decision_bytes,
        segments_per_day=per_day,
        device_up_bits_per_s=8 * per_s * up,
        device_down_bits_per_s=8 * per_s * down,
        broker_bytes_per_day=per_day * (up + down),
        validator_bytes_per_day=DAY_S * sent_per_s,
        validator_bits_per_s=8 * sent_per_s,
        store_bytes_per_day=per_day * stored,
        store_left_bytes_per_day=per_day * left,
        store_bytes=per_day * stored * fleet.days,
        store_bytes_after_a_year=per_day * (stored * kept + left * (365 - kept)),
    )


def _beside(custody: bytes, receipt_bytes: int, fleet: Fleet) -> float:
    # What the store keeps of a segment beside its bytes: columns, index, nodes, receipts.
    columns = 3 * 32 + _EDGE + 40 + _ROW_BYTES
    index = 32 + 12 + _ROW_BYTES
    nodes = _NODES * (32 + 6 + _ROW_BYTES)
    receipt_ = 32 + 32 + len(custody) + 8 + _ROW_BYTES
    # Of its checkpoint, and of the custody receipt that the checkpoint names.
    theirs = fleet.validators * 2 * (16 + 32 + receipt_bytes + _ROW_BYTES)
    return columns + index + nodes + receipt_ + theirs
