"""Every limit of docs/protocol.md, section 1.6: what is as large passes, one more does not."""

from collections.abc import Callable
from typing import Any

import pytest

from support import circles, guilt
from support import examples as ex
from tallystick.evidence import (
    attester,
    batch,
    batchanswer,
    cbor,
    checkpoint,
    claim,
    credential,
    custody,
    custody_atecc608,
    custody_pkcs11,
    custody_tpm2,
    decision,
    devicehold,
    deviceprofile,
    enrolment,
    enrolmentrequest,
    entry,
    erasure,
    event,
    eventwriter,
    evidencefile,
    finding,
    half,
    invitation,
    joinanswer,
    joinrequest,
    limits,
    misbehaviour,
    note,
    peerfile,
    profile,
    queueorder,
    quotarefusal,
    receipt,
    segment,
    segmentrequest,
    statement,
    value,
    verdict,
)
from tallystick.evidence.errors import Malformed

HASH = bytes(32)


def changed(made: Any, **fields: Any) -> Any:
    """An object like this one, with other fields."""
    names = [name for name in vars(made) if not name.startswith("_") and name != "statement"]
    return type(made)(**{name: fields.get(name, getattr(made, name)) for name in names})


def hashes(count: int) -> list[bytes]:
    return [n.to_bytes(32, "big") for n in range(count)]


def a_claim(**fields: Any) -> claim.Claim:
    return claim.parse(changed(ex.make_claim("giver", "released"), **fields).encode())


def a_batch(items: list[Any]) -> batch.Batch:
    return batch.Batch(0, [], items, [], [], [], b"head")


def a_finding(**fields: Any) -> finding.Finding:
    return finding.parse(changed(ex.the_finding(), **fields).encode())


def a_profile(checks: int) -> profile.Profile:
    rows = [["agree", f"n{n}", {}] for n in range(checks)]
    return profile.parse(changed(ex.the_profile(), checks=rows, digest=None).encode())


def a_note(signatures: int) -> note.Note:
    body = ex.log_checkpoint().body()
    keys = [(f"witness-{n}", b"abcd", b"s") for n in range(signatures)]
    return note.parse(note.join(body, keys))


def a_segment(stretches: int, items: int) -> segment.Segment:
    last = segment.Stretch([(0, HASH)] * items, None, b"c")
    return segment.Segment(
        HASH, bytes(8), 0, None, [segment.Stretch([], None, b"c")] * (stretches - 1) + [last]
    )


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x80"


def rows(count: int) -> list[Any]:
    return [finding.CheckedValue(HASH, "item", n) for n in range(count)]


def a_check(**fields: Any) -> finding.CheckResult:
    made = finding.CheckResult("agree", "n", "pass", "Reason.", [], [], [])
    return changed(made, **fields)  # type: ignore[no-any-return]  # as what it was given


def padded(make: Callable[[int], bytes], size: int) -> bytes:
    """What `make` gives for the padding that makes it `size` bytes long."""
    return make(size - len(make(0)))


def an_event(padding: int) -> bytes:
    # Byte strings have no limit of their own in a record.
    return event.Event(0, "a.b", {"x": bytes(padding + 300)}).encode()


def an_answer(
    settings: str = "{}", profiles: dict[str, bytes] | None = None, ca: bytes | None = None
) -> joinanswer.JoinAnswer:
    return joinanswer.JoinAnswer(HASH, HASH, [b"x"], settings, profiles or {}, ca)


# Limit -> something of that size, given to what must bound it.
BOUNDED: dict[str, Callable[[int], Any]] = {
    "depth_max": lambda n: cbor.decode(nested(n - 1)),
    "record_device_bytes_max": lambda n: eventwriter.encode_event(
        0, "a.b", {"x": bytes(n - len(eventwriter.encode_event(0, "a.b", {"x": bytes(300)})) + 300)}
    ),
    "record_bytes_max": lambda n: event.parse(padded(an_event, n)),
    "relied_max": lambda n: a_claim(relied=hashes(n)),
    "text_bytes_max": lambda n: value.check("x" * n),
    "name_bytes_max": lambda n: value.check_name("x" * n),
    "iss_bytes_max": lambda n: statement.check_iss("x" * n),
    "path_hashes_max": lambda n: entry.LoggedClaim(HASH, bytes(8), 0, HASH, 0, [HASH] * n),
    "parties_max": lambda n: a_claim(parties={"giver": hashes(n)}),
    "segment_items_max": lambda n: a_segment(1, n),
    "segment_stretches_max": lambda n: a_segment(n, 1),
    "credential_statements_max": lambda n: credential.Credential([b"x"] * n),
    "custody_evidence_max": lambda n: enrolment.check_evidence([["x", b"y"]] * n),
    "batch_segments_max": lambda n: a_batch([b"s"] * n),
    "batch_items_max": lambda n: a_batch([(0, HASH)] * n),
    "profile_checks_max": a_profile,
    "log_checkpoint_signatures_max": a_note,
    "finding_rows_max": lambda n: a_check(values=rows(n)),
    "finding_checks_max": lambda n: a_finding(checks=[a_check(name=f"n{k}") for k in range(n)]),
    "join_profiles_max": lambda n: an_answer(profiles={f"p{k}": b"x" for k in range(n)}),
    "join_settings_bytes_max": lambda n: an_answer(settings='{"a":"' + "x" * (n - 8) + '"}'),
    "join_ca_bytes_max": lambda n: an_answer(ca=bytes(n)),
    "invitation_uses_max": lambda n: invitation.Invitation(bytes(16), HASH, n, [1, 2]),
    "lineage_max": guilt.chain,
    "score_rows_max": guilt.scored,
    "peer_roots_max": lambda n: circles.unsigned_file(
        roots=[(f"r{k}", ex.ACME_ROOT.public_key()) for k in range(n)]
    ),
    "peer_services_max": lambda n: circles.unsigned_file(gateways=[[b"x"]] * n),
    "peer_url_bytes_max": lambda n: peerfile.check_url("http://" + "x" * (n - 7)),
    "policy_roots_max": lambda n: circles.policy(
        roots=[[f"r{k:04}", HASH, None] for k in range(n)]
    ),
    "profiles_admitted_max": lambda n: circles.policy(profiles=hashes(n)),
    "erasure_ranges_max": lambda n: erasure.Erasure(
        bytes(8), [[2 * k, 2 * k + 1] for k in range(n)], [0], erasure.REQUEST, None, 1
    ),
    "uninvited_max": lambda n: verdict.Verdict(ex.the_finding(), 1, None, hashes(n), 1),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_one_more_is_too_many(name: str) -> None:
    most = getattr(limits, name.upper())
    BOUNDED[name](most)
    with pytest.raises(Malformed) as refused:
        BOUNDED[name](most + 1)
    assert refused.value.reason in ("too-large", "too-deep", "bad-header"), name


# Bytes that are refused unread: a parser looks at their number first.
READ: dict[str, list[Callable[[bytes], Any]]] = {
    "statement_bytes_max": [
        lambda data: statement.parse(data, 6),
        finding.parse,
        enrolmentrequest.parse,
    ],
    "custody_evidence_bytes_max": [
        custody_atecc608.parse,
        custody_tpm2.parse,
        custody_pkcs11.parse,
        attester.parse,
    ],
    "checkpoint_bytes_max": [
        checkpoint.parse,
        custody.parse,
        invitation.parse,
        queueorder.parse,
        quotarefusal.parse,
        devicehold.parse,
        segmentrequest.parse,
    ],
    "peer_file_bytes_max": [peerfile.parse],
    "join_request_bytes_max": [joinrequest.parse],
    "join_answer_bytes_max": [joinanswer.parse],
    "segment_bytes_max": [segment.parse],
    "half_bytes_max": [half.parse],
    "batch_bytes_max": [batch.parse, batchanswer.parse],
    "evidence_bytes_max": [evidencefile.parse, misbehaviour.parse],
    "profile_bytes_max": [profile.parse, deviceprofile.parse],
    "entry_bytes_max": [entry.parse_entry],
    "receipt_bytes_max": [receipt.parse, receipt.parse_consistency],
    "record_bytes_max": [decision.parse, claim.parse, event.parse],
    "log_checkpoint_bytes_max": [lambda data: note.parse("x" * len(data))],
}


def one_item(size: int) -> bytes:
    """A byte string whose encoding has so many bytes."""
    (found,) = [
        encoded
        for head in (1, 2, 3, 5)
        for encoded in [cbor.encode(bytes(size - head))]
        if len(encoded) == size
    ]
    return found


@pytest.mark.parametrize("name", READ)
def test_one_more_byte_is_refused_unread(name: str) -> None:
    most = getattr(limits, name.upper())
    for parse in READ[name]:
        for size, large in ((most, False), (most + 1, True)):
            with pytest.raises(Malformed) as refused:
                parse(one_item(size))
            assert (refused.value.reason == "too-large") is large


def test_every_limit_is_tried() -> None:
    ours = {name.lower() for name in vars(limits) if name.isupper()}
    elsewhere = {
        # test_validator_objects.py
        *("batch_cbor_items_max", "answer_cbor_items_max", "evidence_cbor_items_max"),
        # tests/validator: an unpacker's business.
        "batch_ratio_max",
        "refusal_ms_max",  # test_circle_properties.py
        *("hold_ms_max", "request_age_ms_max"),  # tests/vectors
        "evidence_note_bytes_max",
    }
    assert ours == set(BOUNDED) | set(READ) | elsewhere


def test_the_note_for_people_is_bounded() -> None:
    most = limits.EVIDENCE_NOTE_BYTES_MAX
    evidencefile.parse(changed(ex.the_file(), note="x" * most).encode())
    with pytest.raises(Malformed) as refused:
        evidencefile.parse(changed(ex.the_file(), note="x" * (most + 1)).encode())
    assert refused.value.reason == "too-large"
