"""What a device reads in little heap is what the general readers read, and nothing more."""

from pathlib import Path
from typing import Any

import pytest

from support.station import FLEET, Fleet
from tallystick.evidence import checkpoint, custody, devicehold
from tallystick.evidence import welcome as welcomes
from tallystick.evidence._statementmaker import sign
from tallystick.evidence.cbor import encode
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.devicehold import DeviceHold
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import EDDSA, ES256, PublicKey, device_text
from tallystick.evidence.kinds import CUSTODY_RECEIPT, DEVICE_HOLD, WELCOME
from tallystick.evidence.limits import HOLD_MS_MAX
from tallystick.evidence.welcome import Welcome
from tallystick.recorder import held, plain, welcoming

DEVICE = bytes(range(32))
CONFIG = {"fleet": FLEET, "device": device_text(DEVICE)}
EPOCH = b"epoch-01"
ROOT = bytes(range(100, 132))
RECEIPT = CustodyReceipt(EPOCH, 3, 9, ROOT, True, 1_790_000_000_000)
HEAD = Checkpoint(EPOCH, 9, ROOT, 1, 2, 3000, [1_790_000_000_000, 1000], 7, None)
TIME_MS = 1_790_000_000_000
SIGNED: dict[str, Any] = {
    "receipt": RECEIPT,
    "checkpoint": HEAD,
    "hold": DeviceHold(7, TIME_MS + HOLD_MS_MAX, TIME_MS),
    "hold that ends": DeviceHold(8, None, TIME_MS),
}
HOLD = ("device", "serial", "until_ms", "time_ms")
READERS: dict[str, tuple[Any, Any]] = {
    "receipt": (plain.read_receipt, custody.parse),
    "checkpoint": (welcoming.read_checkpoint, checkpoint.parse),
    "hold": (held.read_hold, devicehold.parse),
    "hold that ends": (held.read_hold, devicehold.parse),
}
FIELDS = {
    "hold": HOLD,
    "hold that ends": HOLD,
    "receipt": ("device", "epoch", "from_", "to", "root", "bodies", "time_ms", "digest"),
    "checkpoint": ("device", "epoch", "size", "root", "digest"),
}


@pytest.fixture(params=[EDDSA, ES256])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, alg=request.param)


def signed(fleet: Fleet, kind: str) -> bytes:
    return bytes(SIGNED[kind].sign(fleet.gateway, FLEET, DEVICE))


def read(kind: str, data: bytes) -> Any:
    return READERS[kind][0](data, CONFIG, DEVICE)


def general(kind: str, data: bytes) -> Any:
    return READERS[kind][1](data)


def verify(found: Any, key: PublicKey) -> None:
    work = found.verifier(key)
    while not work.step():
        pass


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_the_usual_form_is_read_alike_and_verifies(fleet: Fleet, kind: str) -> None:
    data = signed(fleet, kind)
    found, known = read(kind, data), general(kind, data)
    assert found is not None
    for name in FIELDS[kind]:
        assert getattr(found, name) == getattr(known, name), name
    assert found.received().kid == known.received().kid
    key = fleet.gateway.public_key()
    verify(found, key)
    with pytest.raises(Unverified):
        verify(found, fleet.root.public_key())


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_no_changed_byte_is_taken_that_the_general_reader_refuses(fleet: Fleet, kind: str) -> None:
    data = signed(fleet, kind)
    taken = 0
    for at in range(len(data)):
        for flipped in (1, 0x20, 0x80):
            changed = data[:at] + bytes([data[at] ^ flipped]) + data[at + 1 :]
            found = read(kind, changed)
            if found is None:
                continue
            taken += 1
            try:
                known = general(kind, changed)
            except TallyError:
                known = None
            # A checkpoint's other fields are what this very device signed, or it is refused.
            assert known is not None or kind == "checkpoint"
            if known is not None:
                for name in FIELDS[kind]:
                    assert getattr(found, name) == getattr(known, name)
            with pytest.raises(Unverified):
                verify(found, fleet.gateway.public_key())
    assert taken > len(data)
    for size in range(len(data)):
        assert read(kind, data[:size]) is None
    assert read(kind, data + b"\0") is None


def test_what_is_not_usual_is_left_to_the_general_reader(fleet: Fleet) -> None:
    other = bytes(32)
    for iss, sub in (("other-fleet", DEVICE), (FLEET, other)):
        data = RECEIPT.sign(fleet.gateway, iss, sub)
        custody.parse(data)
        assert plain.read_receipt(data, CONFIG, DEVICE) is None
    data = signed(fleet, "receipt")
    assert welcoming.read_checkpoint(data, CONFIG, DEVICE) is None
    assert plain.read_receipt(signed(fleet, "checkpoint"), CONFIG, DEVICE) is None
    assert plain.payload_kind(data) == CUSTODY_RECEIPT
    assert plain.payload_kind(b"") == plain.payload_kind(b"\xd2\x80") == -1


@pytest.mark.parametrize(
    "values",
    [
        [DEVICE_HOLD, 1, TIME_MS + 5, TIME_MS],
        [DEVICE_HOLD, 0, None, 0],
        [DEVICE_HOLD, 1, TIME_MS + HOLD_MS_MAX + 1, TIME_MS],
        [DEVICE_HOLD, 1, TIME_MS, TIME_MS],
        [DEVICE_HOLD, 1, TIME_MS - 5, TIME_MS],
        [DEVICE_HOLD, 1, 0, 0],
        [DEVICE_HOLD, -1, None, TIME_MS],
        [DEVICE_HOLD, 1 << 63, None, TIME_MS],
        [DEVICE_HOLD, 1, None, None],
        [DEVICE_HOLD, 1, True, 0],
        [DEVICE_HOLD, 1, "later", TIME_MS],
        [DEVICE_HOLD, 1, None],
        [DEVICE_HOLD, 1, None, TIME_MS, 5],
        [DEVICE_HOLD + 1, 1, None, TIME_MS],
        {DEVICE_HOLD: 0, 1: 0, 50: 0, 49: 0},
        bytes((DEVICE_HOLD, 1, 50, 49)),
        5,
    ],
)
def test_a_hold_is_read_as_by_the_general_reader(fleet: Fleet, values: Any) -> None:
    data = sign(fleet.gateway, FLEET, device_text(DEVICE), encode(values))
    try:
        known: DeviceHold | None = devicehold.parse(data)
    except TallyError:
        known = None
    found = held.read_hold(data, CONFIG, DEVICE)
    assert (found is None) == (known is None)
    if known is not None:
        assert [getattr(found, name) for name in HOLD] == [getattr(known, name) for name in HOLD]


@pytest.mark.parametrize("values", [{7: 5}, {at: at for at in range(7)}, bytes(7), 5, "seven.."])
def test_a_receipt_that_is_no_array_is_left_to_the_general_reader(
    fleet: Fleet, values: Any
) -> None:
    data = sign(fleet.gateway, FLEET, device_text(DEVICE), encode(values))
    assert plain.read_receipt(data, CONFIG, DEVICE) is None


@pytest.mark.parametrize(
    "values",
    [
        [WELCOME, 5, b"head", b"custody"],
        [WELCOME, 0, None, None],
        [WELCOME, -1, None, None],
        [WELCOME, 1 << 63, None, None],
        [WELCOME, 5, "text", None],
        [WELCOME, 5, None, bytes(513)],
        [WELCOME, 5, None],
        [WELCOME, 5, None, None, None],
        [WELCOME + 1, 5, None, None],
        [True, 5, None, None],
        {WELCOME: 5},
        5,
    ],
)
def test_a_welcome_is_read_as_by_the_general_reader(values: Any) -> None:
    data = encode(values)
    try:
        known: Welcome | None = welcomes.parse(data)
    except TallyError:
        known = None
    found = welcoming.read_welcome(data)
    assert (found is None) == (known is None)
    if found is not None and known is not None:
        assert (found.time_ms, found.checkpoint, found.custody) == (
            known.time_ms,
            known.checkpoint,
            known.custody,
        )
    assert welcoming.read_welcome(data + b"\0") is None
    assert welcoming.read_welcome(b"") is None
