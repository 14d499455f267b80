"""Findings and what verdicts say (docs/protocol.md, section 6.5)."""

from _signing import refused
from tallystick.evidence import finding, verdict
from tallystick.evidence.cbor import encode
from tallystick.evidence.number import Dec

A, B, HASH, ID16 = b"a" * 32, b"b" * 32, b"h" * 32, b"i" * 16
PARTIES = {"giver": [A], "receiver": [B]}


def found(state: str = "conflicting") -> finding.Finding:
    values = [finding.CheckedValue(HASH, "item", ["pallet-7", Dec(5, -1), None])]
    said = ("fail", "The items differ.", values, [A], [1, 2])
    check = finding.CheckResult("agree", "same item", *said)
    claims = [
        finding.FindingClaim(B, B, "receiver", "acquired", "active", 3),
        finding.FindingClaim(A, A, "giver", "released", "active", 0),
    ]
    missing = [finding.Missing("receiver", B, "confirmed", "unheard")]
    others = [finding.FindingOther(HASH, A, "active", 0)]
    fields = (HASH, "dock-3", ID16, PARTIES, HASH, state, missing, [check], claims, others)
    return finding.Finding(*fields)


def inputs(claims: "list[finding.ClaimInput]") -> finding.FindingInputs:
    times = [finding.TimeInput(A, HASH, HASH, 5)]
    return finding.FindingInputs(HASH, "dock-3", ID16, PARTIES, claims, [], times, True)


def test_a_finding_comes_back() -> None:
    again = finding.parse(found().encode())
    assert again == found()
    assert again.claims[0].role == "giver"  # in bytewise order, not as given
    assert again.checks[0].values[0].value[1] == Dec(5, -1)
    assert again.missing[0].absence == "unheard"
    assert again.used(again.checks[0]) == [again.claims[1].claim, HASH]
    assert refused(found, "true") == "bad-value"
    assert refused(finding.parse, found().encode()[:-1]) == "truncated"


def test_a_check_names_claims_that_are_there_in_order() -> None:
    for used, reason in (([3], "bad-value"), ([1, 0], "non-canonical"), ([1, 1], "non-canonical")):
        values = found().values()
        values[8][0][6] = used
        assert refused(finding.parse, encode(values)) == reason


def test_inputs_have_one_digest() -> None:
    rows = [
        finding.ClaimInput(A, A, HASH, "active", 0, True),
        finding.ClaimInput(B, B, HASH, "rotated", 3, False),
    ]
    first = inputs(rows)
    assert inputs([rows[1], rows[0], rows[1]]).digest() == first.digest()
    assert inputs(rows[:1]).digest() != first.digest()
    assert finding.parse_inputs(first.encode()) == first
    values = first.values()
    values[4] = [values[4][1], values[4][0]]
    assert refused(finding.parse_inputs, encode(values)) == "non-canonical"


def test_what_no_verdict_says() -> None:
    assert refused(verdict.Verdict, found("pending"), 1, None, [], 5) == "bad-value"
    assert refused(verdict.Verdict, found(), -1, None, [], 5) == "bad-value"
    assert refused(verdict.Verdict, found(), 1, b"short", [], 5) == "bad-value"
    made = verdict.Verdict(found(), 1, None, [B, A], 5)
    assert made.uninvited == [A, B] and made.subject() == "aWlpaWlpaWlpaWlpaWlpaQ"
