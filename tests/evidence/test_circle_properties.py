"""Objects of the trust circle come back as they were, and no flipped bit of them is believed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import circles
from support import examples as ex
from support.mutants import flips
from tallystick.evidence import limits, peercircle, peerfile, quotarefusal, registration
from tallystick.evidence.errors import Malformed, TallyError, Unverified

SETTINGS = settings(max_examples=50, deadline=None)
TIMES = st.integers(0, 1 << 50)
HASHES = st.binary(min_size=32, max_size=32)


@SETTINGS
@given(st.text("abc XYZ", min_size=1, max_size=60), TIMES, st.lists(st.integers(0, 9), max_size=2))
def test_peer_files_round_trip(name: str, made_ms: int, kept: list[int]) -> None:
    whole = circles.unsigned_file()
    first = circles.unsigned_file(
        organisation=name, made_ms=made_ms, gateways=whole.gateways[: len(kept)]
    )
    got = peerfile.parse(first.sign(ex.INITECH_ROOT, ex.INITECH, ex.INITECH_ROOT.id))
    assert got.values() == first.values()
    verified = got.verify(ex.TIME_S)
    assert [one.id for one in verified.validator_ids] == [ex.VALIDATOR.id]
    assert dict(verified.roots)[ex.INITECH] == verified.root


@SETTINGS
@given(
    HASHES, st.sampled_from(quotarefusal.HOLDERS), st.sampled_from(quotarefusal.QUOTAS), HASHES,
    TIMES, st.integers(1, limits.REFUSAL_MS_MAX),
)  # fmt: skip
def test_refusals_round_trip(
    batch: bytes, holder: str, quota: str, key: bytes, time_ms: int, wait_ms: int
) -> None:
    data = circles.refusal(
        batch=batch, holder=holder, quota=quota, key=key, time_ms=time_ms,
        until_ms=time_ms + wait_ms,
    )  # fmt: skip
    got = quotarefusal.parse(data)
    said = got.verify(ex.VALIDATOR.public_key(), ex.INITECH, ex.GATEWAY.id, batch)
    assert (said.holder, said.key_id, said.quota, said.wait_ms) == (holder, key, quota, wait_ms)


@pytest.mark.parametrize("wait_ms", [0, -1, limits.REFUSAL_MS_MAX + 1])
def test_nobody_is_told_to_be_silent_for_ever(wait_ms: int) -> None:
    with pytest.raises(Malformed) as refused:
        circles.refusal(until_ms=ex.TIME_MS + wait_ms)
    assert refused.value.reason == "bad-value"


@SETTINGS
@given(st.dictionaries(st.text("abc.-", min_size=1, max_size=9), HASHES), st.sets(HASHES), TIMES)
def test_policies_round_trip(roots: dict[str, bytes], profiles: set[bytes], time_ms: int) -> None:
    rows = [[name, roots[name], None] for name in sorted(roots)]
    data = circles.policy(roots=rows, profiles=sorted(profiles), time_ms=time_ms)
    got = registration.parse(data).verify(ex.VALIDATOR.public_key(), ex.VALIDATOR.id)
    assert (got.roots, got.profiles) == (rows, sorted(profiles))
    later = registration.parse(circles.policy(time_ms=time_ms + 1, previous=got.digest))
    assert later.says_as(registration.parse(circles.policy(time_ms=time_ms)))
    assert not got.says_as(registration.parse(circles.policy(roots=[["x", HASH, None]])))


HASH = bytes(32)


def _verified(name: str, data: bytes) -> Any:
    if name == "peer file":
        return peerfile.parse(data).verify(ex.TIME_S)
    if name == "quota refusal":
        key = ex.VALIDATOR.public_key()
        return quotarefusal.parse(data).verify(key, ex.INITECH, ex.GATEWAY.id, circles.BATCH)
    return registration.parse(data).verify(ex.VALIDATOR.public_key(), ex.VALIDATOR.id)


@pytest.mark.parametrize("name", ["quota refusal", "registration policy"])
def test_no_flipped_bit_is_believed(name: str) -> None:
    data = {row[0]: row[2] for row in circles.examples()}[name]
    _verified(name, data)
    for flipped in flips(data):
        with pytest.raises(TallyError):
            _verified(name, flipped)


def test_no_flipped_bit_of_a_peer_file_is_believed() -> None:
    """Each bit of its ends; in between, where a whole would take minutes, one of each byte."""
    data = circles.peer_file()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(TallyError):
            _verified("peer file", bytes(changed))


def test_the_fingerprint_is_of_all_that_is_in_it() -> None:
    said = peerfile.parse(circles.peer_file()).spoken
    assert [len(group) for group in said.split()] == [5] * 8 and said.replace(" ", "").isdigit()
    changes: tuple[dict[str, Any], ...] = (
        {"organisation": "Initech Gmbh"},
        {"made_ms": ex.TIME_MS + 1},
        {"gateways": []},
        {"validity": [ex.TIME_S, ex.TIME_S + 1]},
        {"validators": []},
        {"roots": [(ex.INITECH, ex.INITECH_ROOT.public_key())]},
    )
    others = {peerfile.parse(circles.peer_file(**change)).spoken for change in changes}
    assert len(others) == 6 and said not in others
    # A leading nought is said too.
    assert peerfile.spoken(bytes(31) + b"\x07") == " ".join(["00000"] * 7 + ["00007"])


@pytest.mark.parametrize(
    "url",
    [
        *("", "http://", "https:///x", "ftp://a", "http://a b", "http://a/", "http://u@a"),
        *("http://a?q", "http://a#f", "HTTP://a", "http://\u00e4", "http://:80", "http://a\n"),
    ],
)
def test_an_address_is_a_scheme_and_a_host(url: str) -> None:
    with pytest.raises(Malformed):
        peerfile.check_url(url)


def test_a_credential_speaks_for_no_other_organisation() -> None:
    """A file by initech cannot bring a gateway of acme, whatever roots stand in it."""
    theirs = ex.enrol(ex.GATEWAY, 1, ex.ACME, ex.INITECH_ROOT).encode()
    with pytest.raises(Unverified) as refused:
        peerfile.parse(circles.peer_file(gateways=[[theirs]])).verify(ex.TIME_S)
    assert refused.value.reason == "not-enrolled"


def test_the_largest_policy_is_a_statement_that_a_log_takes() -> None:
    roots = [[f"root-{k:015}", HASH, HASH] for k in range(limits.POLICY_ROOTS_MAX)]
    profiles = [k.to_bytes(32, "big") for k in range(limits.PROFILES_ADMITTED_MAX)]
    big = dict.fromkeys(("records_per_s", "burst_s", "bytes_per_day"), 1 << 44)
    data = circles.policy(
        roots=roots, profiles=profiles, quotas=dict.fromkeys(quotarefusal.HOLDERS, big)
    )
    assert len(data) <= limits.STATEMENT_BYTES_MAX
    assert registration.parse(data).roots == roots


def test_no_file_brings_more_roots_than_a_policy_holds() -> None:
    key = ex.ACME_ROOT.public_key()
    known = {f"r{k}": key for k in range(limits.POLICY_ROOTS_MAX - 1)}
    found = {"initech.peer": circles.peer_file()}  # of two roots
    plan = peercircle.Decider(known).decide(found, {})
    assert "too-large" in plan.wrong["initech.peer"] and not plan.files
    known.pop("r0")
    assert list(peercircle.Decider(known).decide(found, {}).files) == ["initech"]


def test_only_so_many_files_of_a_folder_are_read() -> None:
    found = {f"p{k:02}.peer": b"" for k in range(peercircle.FILES_MAX)}
    plan = peercircle.Decider({}).decide({**found, "z.peer": circles.peer_file()}, {})
    assert len(plan.wrong) == peercircle.FILES_MAX + 1
    assert "files are read" in plan.wrong["z.peer"]
