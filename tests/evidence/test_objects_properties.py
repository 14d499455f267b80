"""Round trips of the objects that devices make, send and receive, and of what the API is given."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import strategies as made
from support.examples import ACME, ACME_ROOT, GIVER, ROOTS
from tallystick.evidence import (
    cbor,
    checkpoint,
    credential,
    custody,
    decision,
    decisionwriter,
    deviceprofile,
    enrolment,
    event,
    eventwriter,
    half,
    hello,
    keychange,
    notarised,
    notice,
    number,
    profile,
    record,
    resend,
    segment,
    value,
    welcome,
)
from tallystick.evidence.steps import Steps

PLAIN: dict[str, tuple[st.SearchStrategy[Any], Callable[[bytes], Any]]] = {
    "record": (made.RECORDS, record.parse),
    "credential": (made.credentials(), credential.parse),
    "half": (made.halves(), half.parse),
    "hello": (made.HELLOS, hello.parse),
    "welcome": (made.WELCOMES, welcome.parse),
    "resend": (made.RESENDS, resend.parse),
    "notarised": (made.NOTARISED, notarised.parse),
    "notice": (made.NOTICES, notice.parse),
    "profile": (made.PROFILES, profile.parse),
    "device profile": (made.DEVICE_PROFILES, deviceprofile.parse),
    "segment": (made.segments().map(lambda pair: pair[0]), segment.parse),
    "enrolment": (made.enrolments(GIVER, ACME), enrolment.parse),
    "rotation": (made.rotations(), keychange.parse),
    "replacement": (made.replacements(), keychange.parse),
    "revocation": (made.revocations(), keychange.parse),
}


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_round_trip(name: str, data: st.DataObject) -> None:
    strategy, parse = PLAIN[name]
    first = data.draw(strategy)
    again = parse(first.encode())
    assert again == first and hash(again) == hash(first)
    assert type(again) is type(first)
    assert again.encode() == first.encode()
    if not isinstance(first, segment.Segment):
        assert again.values() == first.values()


@pytest.mark.parametrize(
    ("unsigned", "parse"),
    [(made.CHECKPOINTS, checkpoint.parse), (made.CUSTODY_RECEIPTS, custody.parse)],
    ids=["checkpoint", "custody receipt"],
)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_round_trip_of_what_is_signed(unsigned: Any, parse: Any, data: st.DataObject) -> None:
    first = data.draw(unsigned)
    signer, iss = data.draw(made.SIGNERS)
    received = parse(first.sign(signer, iss, signer.id))
    assert received.values() == first.values()
    assert received.payload() == first.payload() == cbor.encode(first.values())
    assert (received.iss, received.device) == (iss, signer.id)
    verified = received.verify(signer.public_key())
    assert verified == received and verified.key == signer.public_key()
    steps: Steps = received.verifier(signer.public_key())
    while not steps.step():
        pass
    assert steps.result == verified and type(steps.result) is type(verified)


@settings(max_examples=60, deadline=None)
@given(made.credentials())
def test_credentials_verify(received: credential.Credential) -> None:
    identity = credential.verify_credential(received, ROOTS)
    assert identity.id == GIVER.id and identity.iss == ACME
    assert identity.enrolment.root == ACME_ROOT.public_key()
    assert len(identity.keys) == 1 + sum(
        isinstance(keychange.parse(data), keychange.Rotation) for data in received.statements[1:]
    )
    assert identity.digest == credential.digests_of(received)[-1]


@settings(max_examples=60, deadline=None)
@given(made.halves())
def test_halves_verify(received: half.Half) -> None:
    keyring = credential.Keyring(ROOTS)
    verified = half.verify_half(received, keyring)
    assert verified.claim.encode() == received.record
    assert verified.status == "active"
    # Known now: the digest is enough.
    named = half.Half(
        received.record,
        received.salt,
        received.index,
        received.path,
        received.checkpoint,
        verified.identity.digest,
    )
    assert half.verify_half(named, keyring).reference == verified.reference


def canonical(item: Any) -> Any:
    """What an API value means, by the slow way: numbers by number.of, the rest as it is."""
    if isinstance(item, dict):
        return {name: canonical(inner) for name, inner in item.items()}
    if isinstance(item, list):
        return [canonical(inner) for inner in item]
    if isinstance(item, float | tuple):
        return number.of(item)
    return item


API_NAMED = st.dictionaries(made.NAMES, made.API_VALUES, max_size=4)
API_CONSTRAINT = st.tuples(
    st.one_of(made.NUMBERS, st.floats(-9, 9)),
    made.OPERATORS,
    st.one_of(made.NUMBERS, made.NUMBERS.filter(bool).map(number.to_text), st.floats(-9, 9)),
    made.UNITS,
)


def _short(number_: Any) -> bool:
    return not isinstance(number_, str) or len(number_) <= number.TEXT_CHARS_MAX


@settings(max_examples=150, deadline=None)
@given(
    made.UINTS,
    made.MODELS.map(tuple),
    API_NAMED,
    st.dictionaries(made.NAMES, API_CONSTRAINT.filter(lambda c: _short(c[2])), max_size=3),
    API_NAMED,
    made.API_VALUES,
)
def test_the_fast_path_writes_what_the_class_writes(
    uptime_ms: int, model: Any, inputs: Any, constraints: Any, context: Any, output: Any
) -> None:
    wanted = {}
    for name, (checked, operator, limit, unit) in constraints.items():
        left, right = number.of(checked), number.of(limit)
        wanted[name] = [left, operator, right, unit, value.holds(left, operator, right)]
    slow = decision.Decision(
        uptime_ms,
        list(model),
        canonical(inputs),
        wanted,
        canonical(context),
        canonical(output),
    )
    for _ in range(2):  # from the caches the second time
        fast = decisionwriter.encode_decision(
            uptime_ms, model, inputs, constraints, context, output
        )
        assert fast == slow.encode()


@settings(max_examples=60, deadline=None)
@given(made.UINTS, st.sampled_from(eventwriter.NAMES), API_NAMED)
def test_events_likewise(uptime_ms: int, name: str, details: Any) -> None:
    if name == "config":
        details = {**details, "digest": bytes(32)}
    slow = event.Event(uptime_ms, name, canonical(details))
    assert eventwriter.encode_event(uptime_ms, name, details) == slow.encode()
