"""Device holds and segment requests: what is made is what is parsed, and no bit may change."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import strategies as made
from support import deviceholds
from support import examples as ex
from support.mutants import flips
from tallystick.evidence import devicehold, segmentrequest
from tallystick.evidence.devicehold import DeviceHold
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.limits import HOLD_MS_MAX, REQUEST_AGE_MS_MAX
from tallystick.evidence.segmentrequest import SegmentRequest

SETTINGS = settings(max_examples=60, deadline=None)
TIMES = st.integers(0, 2**62)


@SETTINGS
@given(made.UINTS, st.none() | st.integers(1, HOLD_MS_MAX), TIMES, made.HASHES, made.SIGNERS)
def test_holds_round_trip(
    serial: int, length_ms: int | None, time_ms: int, device: bytes, by: Any
) -> None:
    signer, iss = by
    until_ms = None if length_ms is None else time_ms + length_ms
    first = DeviceHold(serial, until_ms, time_ms)
    got = devicehold.parse(first.sign(signer, iss, device)).verify(signer.public_key())
    assert (got.values(), got.iss, got.device) == (first.values(), iss, device)


@SETTINGS
@given(made.HASHES, made.HASHES, st.integers(0, 2**40), st.integers(0, 2**40), TIMES, made.SIGNERS)
def test_requests_round_trip(
    validator: bytes, gateway: bytes, first: int, count: int, time_ms: int, by: Any
) -> None:
    signer, iss = by
    asked = SegmentRequest(validator, gateway, ex.EPOCH, first, first + count, time_ms)
    got = segmentrequest.parse(asked.sign(signer, iss, gateway))
    verified = got.verify(signer.public_key(), validator, time_ms + REQUEST_AGE_MS_MAX)
    assert verified.values() == asked.values()


def test_what_no_hold_and_no_request_says() -> None:
    for until_ms in (5, 4, 5 + HOLD_MS_MAX + 1):
        with pytest.raises(Malformed):
            DeviceHold(1, until_ms, 5)
    with pytest.raises(Malformed):
        SegmentRequest(ex.VALIDATOR.id, ex.GATEWAY.id, ex.EPOCH, 4, 3, 1)


@pytest.mark.parametrize("example", deviceholds.examples(), ids=lambda example: example[0])
def test_no_flipped_bit_is_believed(example: Any) -> None:
    name, _, data, parse = example
    key = ex.GATEWAY.public_key()
    believed = []
    for flipped in flips(data):
        try:
            got = parse(flipped)
            if name == "segment request":
                got.verify(key, ex.VALIDATOR.id, ex.TIME_MS)
            else:
                got.verify(key)
        except (Malformed, Unverified):
            continue
        believed.append(flipped)
    assert believed == []
