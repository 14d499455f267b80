"""Gateways' and validators' objects: round trips, flips, and what each refuses (CPython)."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence import strategies as made
from support import examples as ex
from support.mutants import flips
from tallystick.evidence import (
    batch,
    batchanswer,
    cose,
    entry,
    evidencefile,
    finding,
    gatewayhead,
    gatewaylog,
    genesis,
    note,
    receipt,
    segment,
    tree,
    verdict,
)
from tallystick.evidence.cbor import encode, head
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.limits import (
    BATCH_BYTES_MAX,
    BATCH_CBOR_ITEMS_MAX,
    EVIDENCE_BYTES_MAX,
    EVIDENCE_CBOR_ITEMS_MAX,
)
from tallystick.evidence.statement import Statement

HASHES, UINTS, NAMES = made.HASHES, made.UINTS, made.NAMES
PATHS = st.lists(HASHES, max_size=5)
BLOBS = st.binary(min_size=1, max_size=60)
STATUSES = st.sampled_from(finding.KEY_STATUSES)
CUSTODIES = st.integers(0, 3)
IDS16 = st.binary(min_size=16, max_size=16)


@st.composite
def _leaves(draw: st.DrawFn) -> gatewaylog.GatewayLeaf:
    from_, to = sorted([draw(UINTS), draw(UINTS)])
    return gatewaylog.GatewayLeaf(
        draw(HASHES), draw(made.EPOCHS), from_, to, draw(HASHES), draw(HASHES)
    )


LOGGED = st.builds(entry.LoggedClaim, HASHES, made.EPOCHS, UINTS, HASHES, UINTS, PATHS)
CLOSINGS = st.builds(entry.Closing, NAMES, IDS16, HASHES, UINTS, UINTS)
CLAIM_INPUTS = st.lists(
    st.builds(finding.ClaimInput, HASHES, HASHES, HASHES, STATUSES, CUSTODIES, st.booleans()),
    max_size=4,
)
TIME_INPUTS = st.lists(st.builds(finding.TimeInput, HASHES, HASHES, HASHES, UINTS), max_size=3)
INPUTS = st.builds(
    finding.FindingInputs,
    HASHES,
    NAMES,
    IDS16,
    made.PARTIES,
    CLAIM_INPUTS,
    CLAIM_INPUTS,
    TIME_INPUTS,
    st.one_of(st.none(), st.booleans()),
)
MISSING = st.builds(finding.Missing, NAMES, HASHES, NAMES, st.sampled_from(finding.ABSENCES))
CLAIM_ROWS = st.builds(finding.FindingClaim, HASHES, HASHES, NAMES, NAMES, STATUSES, CUSTODIES)
OTHER_ROWS = st.builds(finding.FindingOther, HASHES, HASHES, STATUSES, CUSTODIES)
CHECKED = st.builds(finding.CheckedValue, HASHES, NAMES, made.VALUES)


@st.composite
def _findings(draw: st.DrawFn) -> finding.Finding:
    claims = draw(st.lists(CLAIM_ROWS, max_size=4, unique=True))
    others = draw(st.lists(OTHER_ROWS, max_size=3, unique=True))
    places = list(range(len(claims) + len(others)))
    results = st.builds(
        finding.CheckResult,
        NAMES,
        NAMES,
        st.sampled_from(finding.RESULTS),
        NAMES,
        st.lists(CHECKED, max_size=3),
        PATHS,
        st.sets(st.sampled_from(places)).map(sorted) if places else st.just([]),
    )
    return finding.Finding(
        draw(HASHES),
        draw(NAMES),
        draw(IDS16),
        draw(made.PARTIES),
        draw(HASHES),
        draw(st.sampled_from(finding.STATES[1:])),
        draw(st.lists(MISSING, max_size=3)),
        draw(st.lists(results, max_size=3)),
        claims,
        others,
    )


FINDINGS = _findings()
ANSWERS = st.builds(
    batchanswer.BatchAnswer,
    UINTS,
    st.lists(st.tuples(HASHES, BLOBS), max_size=3),
    st.lists(st.tuples(UINTS, NAMES), max_size=3),
)
FILES = st.builds(
    evidencefile.EvidenceFile,
    st.lists(st.lists(BLOBS, min_size=1, max_size=3), max_size=2),
    st.lists(BLOBS, max_size=2),
    st.lists(made.halves(), max_size=2),
    st.lists(st.tuples(BLOBS, st.lists(BLOBS, max_size=2)), max_size=3),
    st.lists(BLOBS, max_size=2),
    st.lists(NAMES, max_size=2),
    st.one_of(st.none(), NAMES),
    st.lists(BLOBS, max_size=2),
)
PLAIN: dict[str, tuple[st.SearchStrategy[Any], Callable[[bytes], Any]]] = {
    "gateway leaf": (_leaves(), gatewaylog.parse),
    "time": (st.builds(entry.TimeEntry, UINTS), entry.parse_entry),
    "logged claim": (LOGGED, entry.parse_entry),
    "closing": (CLOSINGS, entry.parse_entry),
    "finding inputs": (INPUTS, finding.parse_inputs),
    "finding": (FINDINGS, finding.parse),
    "batch answer": (ANSWERS, batchanswer.parse),
    "evidence file": (FILES, evidencefile.parse),
}


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_round_trip(name: str, data: st.DataObject) -> None:
    strategy, parse = PLAIN[name]
    first = data.draw(strategy)
    again = parse(first.encode())
    assert again == first
    assert hash(again) == hash(first)
    # Not what was memoised: the fields make the same bytes once more.
    again._data = None
    assert again.encode() == first.encode()


@settings(max_examples=40, deadline=None)
@given(FINDINGS, UINTS, st.one_of(st.none(), HASHES), st.lists(HASHES, max_size=3, unique=True))
def test_verdicts_round_trip(
    found: finding.Finding, size: int, supersedes: bytes | None, uninvited: list[bytes]
) -> None:
    first = verdict.Verdict(found, size, supersedes, uninvited, 5)
    data = first.sign(ex.VALIDATOR, ex.INITECH, first.subject())
    again = verdict.parse(data).verify(ex.VALIDATOR.public_key())
    assert again.encode() == data
    assert again.values() == first.values()
    assert again.finding == found
    assert again.key == ex.VALIDATOR.public_key()


@settings(max_examples=40, deadline=None)
@given(made.NAMED, UINTS, st.sampled_from([ex.GIVER, ex.RECEIVER]))
def test_geneses_round_trip(policy: dict[str, Any], time_ms: int, signer: ex.Signer) -> None:
    first = genesis.Genesis("name", ex.ORIGIN, signer.public_key(), ex.note_key(), policy, time_ms)
    data = first.sign(signer, ex.INITECH, signer.id)
    again = genesis.parse(data).verify(signer.public_key())
    assert again.values() == first.values()
    assert again.note_key == ex.note_key()


@settings(max_examples=40, deadline=None)
@given(
    st.text(st.characters(min_codepoint=33, exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.integers(0, 2**63 - 1),
    HASHES,
)
def test_notes_round_trip(origin: str, size: int, root: bytes) -> None:
    first = note.Note(origin, size, root, [])
    signed = first.sign(ex.NOTE_SIGNER, ex.ORIGIN).sign(ex.GATEWAY, "witness.example")
    again = note.parse(signed.text())
    assert again == signed
    assert (again.origin, again.size, again.root) == (origin, size, root)
    again.verify(ex.note_key())
    again.verify(note.NoteKey("witness.example", ex.GATEWAY.public_key()))


def test_equal_inputs_have_one_digest_in_any_order_and_number() -> None:
    inputs = ex.inputs()
    rows = inputs.claims
    again = finding.FindingInputs(
        *(inputs.profile, inputs.namespace, inputs.interaction, inputs.parties),
        [*rows[::-1], *rows],
        inputs.others,
        [*inputs.times, *inputs.times],
        inputs.closed,
    )
    assert again.digest() == inputs.digest() == hashlib.sha256(inputs.encode()).digest()


def _receipt(data: bytes) -> Any:
    got = receipt.parse(data).verify(ex.validator_log()[4], ex.VALIDATOR.public_key())
    return got.root, got.iss, got.sub, got.iat


def _consistency(data: bytes) -> Any:
    roots = [tree.root_of(ex.log_leaves()[:size]) for size in (3, 8)]
    got = receipt.parse_consistency(data).verify(roots[0], roots[1], ex.VALIDATOR.public_key())
    return got.root, got.root1, got.iss, got.sub, got.iat


def _batch(data: bytes) -> Any:
    got = batch.verify_batch(batch.parse(data), ex.GATEWAY.public_key())
    return got.digest, got.tree.root()


VERIFIED: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
    "gateway head": (
        ex.gatewayhead_bytes,
        lambda data: gatewayhead.parse(data).verify(ex.GATEWAY.public_key()).digest,
    ),
    "verdict": (
        ex.the_verdict,
        lambda data: verdict.parse(data).verify(ex.VALIDATOR.public_key()).digest,
    ),
    "genesis": (
        ex.the_genesis,
        lambda data: genesis.parse(data).verify(ex.VALIDATOR.public_key()).digest,
    ),
    "receipt": (lambda: ex.inclusion_receipt(4, 8), _receipt),
    "consistency receipt": (lambda: ex.consistency_receipt(3, 8), _consistency),
    "batch": (ex.the_batch, _batch),
}


@pytest.mark.parametrize("name", VERIFIED)
def test_every_flipped_bit_is_refused_or_changes_nothing_signed(name: str) -> None:
    build, verify = VERIFIED[name]
    data = build()
    good = verify(data)
    for flipped in flips(data):
        try:
            assert verify(flipped) == good
        except TallyError:
            continue


@pytest.mark.parametrize("name", PLAIN)
def test_every_flipped_bit_of_an_unsigned_object_is_refused_or_another_object(name: str) -> None:
    parse = PLAIN[name][1]
    builders: dict[str, Callable[[], bytes]] = {
        "gateway leaf": ex.gateway_log()[0].encode,
        "time": lambda: ex.validator_log()[1],
        "logged claim": lambda: ex.validator_log()[4],
        "closing": lambda: ex.the_closing().encode(),
        "finding inputs": lambda: ex.inputs().encode(),
        "finding": lambda: ex.the_finding().encode(),
        "batch answer": lambda: ex.the_answer().encode(),
        "evidence file": lambda: ex.the_file().encode(),
    }
    for flipped in flips(builders[name]()):
        try:
            got = parse(flipped)
        except Malformed:
            continue
        assert got.encode() == flipped


def test_every_flipped_bit_of_a_note_is_refused() -> None:
    text = ex.log_checkpoint().text().encode()
    for flipped in flips(text):
        with pytest.raises(TallyError):
            note.parse(flipped.decode("utf-8", "surrogateescape")).verify(ex.note_key())


def test_one_signature_serves_every_entry_of_a_size() -> None:
    signed = ex.signed_root(8)
    leaves = ex.log_leaves()
    for index, data in enumerate(ex.validator_log()):
        got = receipt.parse(signed.inclusion(8, index, tree.inclusion_path(leaves, index, 8)))
        assert got.verify(data, ex.VALIDATOR.public_key()).root == tree.root_of(leaves)


def test_receipts_are_attached_and_emptied_again() -> None:
    statement = ex.giver_log().checkpoints[0]
    receipts = [ex.inclusion_receipt(2, 8), ex.inclusion_receipt(2, 8, ex.GATEWAY)]
    carrying = receipt.attach(statement, receipts)
    assert receipt.attached(carrying) == receipts
    assert receipt.attached(statement) == []
    parsed = entry.parse_entry(statement)
    assert isinstance(parsed, Statement)
    assert parsed.sign1.statement_bytes() == statement
    with pytest.raises(Malformed) as refused:
        entry.parse_entry(carrying)
    assert refused.value.reason == "bad-header"


def test_a_split_signature_is_the_same() -> None:
    root = tree.root_of(ex.log_leaves())
    unsigned = receipt.prepare(ex.VALIDATOR.public_key(), ex.INITECH, ex.ORIGIN, ex.TIME_S, root)
    signed = unsigned.finish(ex.VALIDATOR.sign(unsigned.to_be_signed))
    assert signed.signature == ex.signed_root(8).signature


@pytest.mark.parametrize(
    ("parse", "bytes_max"),
    [(batch.parse, BATCH_BYTES_MAX), (evidencefile.parse, EVIDENCE_BYTES_MAX)],
)
def test_too_many_bytes_are_refused_before_they_are_read(
    parse: Callable[[bytes], Any], bytes_max: int
) -> None:
    with pytest.raises(Malformed) as refused:
        parse(bytes(bytes_max + 1))
    assert refused.value.reason == "too-large"


def test_too_many_items_are_refused_before_they_are_made() -> None:
    # A megabyte and a half of empty arrays would become a hundred.
    count = EVIDENCE_CBOR_ITEMS_MAX + 1
    bomb = b"\x83\x16\x6ctallystick/1\xa1\x02" + head(4, count) + b"\x80" * count
    with pytest.raises(Malformed) as refused:
        evidencefile.parse(bomb)
    assert refused.value.reason == "too-large"
    count = BATCH_CBOR_ITEMS_MAX + 1
    payload = b"\x88\x08\x00\x80" + head(4, count) + b"\x80" * count
    bomb = b"\xd2\x84\x43\xa1\x01\x26\xa0" + encode(payload) + encode(bytes(64))
    with pytest.raises(Malformed) as refused:
        batch.parse(bomb)
    assert refused.value.reason == "too-large"
    answer = b"\x84\x18" + bytes([27]) + b"\x00" + head(4, 2**20 + 1) + b"\x80" * (2**20 + 1)
    with pytest.raises(Malformed) as refused:
        batchanswer.parse(answer)
    assert refused.value.reason == "too-large"


def test_only_what_verifies_is_of_the_verified_type() -> None:
    received = batch.parse(ex.the_batch())
    assert not isinstance(received, batch.VerifiedBatch)
    verified = batch.verify_batch(received, ex.GATEWAY.public_key())
    assert isinstance(verified.head, gatewayhead.VerifiedGatewayHead)
    assert [segment.parse(data).device for _, data in verified.segments] == [
        ex.GIVER.id,
        ex.RECEIVER.id,
    ]
    # The received object is as it was.
    assert type(received.head) is bytes
    with pytest.raises(Unverified):
        batch.verify_batch(received, ex.GIVER.public_key())


def test_a_batch_before_the_known_size_is_not_compared() -> None:
    known = (5, hashlib.sha256(b"of a longer log").digest())
    verified = batch.verify_batch(batch.parse(ex.the_batch()), ex.GATEWAY.public_key(), known)
    assert verified.tree.size == 2


def test_a_leaf_of_another_logs_checkpoint_is_refused() -> None:
    made_ = ex.segment_of(ex.giver_log())
    foreign = ex.receiver_log().checkpoints[1]
    stretch = segment.Stretch(made_.stretches[1].items, ex.SEED2, foreign)
    other = segment.Segment(made_.device, made_.epoch, 0, None, [made_.stretches[0], stretch])
    with pytest.raises(Unverified) as refused:
        gatewaylog.leaf_of(other)
    assert refused.value.reason == "wrong-device"


def test_a_leaf_of_a_checkpoint_of_another_size_is_refused() -> None:
    made_ = ex.segment_of(ex.giver_log())
    stretch = segment.Stretch(made_.stretches[1].items[:1], ex.SEED2, ex.giver_log().checkpoints[1])
    other = segment.Segment(made_.device, made_.epoch, 0, None, [made_.stretches[0], stretch])
    with pytest.raises(Unverified) as refused:
        gatewaylog.leaf_of(other)
    assert refused.value.reason == "bad-stretch"


def test_a_receipt_that_brings_its_root_is_not_even_read() -> None:
    good = cose.parse(ex.inclusion_receipt(4, 8), 4096)
    root = tree.root_of(ex.log_leaves())
    attached = cose.encode(good.protected, root, good.signature, good.unprotected)
    with pytest.raises(Malformed) as refused:
        receipt.parse(attached)
    assert refused.value.reason == "bad-type"
