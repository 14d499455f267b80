"""Scores: what logs show of validators and gateways, computed again by anyone."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import guilt
from support.devices import key
from support.story import NOW_S, START_MS, Story, StoryValidator
from tallystick.evidence import checkpoint, cose, enrolment, keychange, score, verdict
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.entry import TimeEntry
from tallystick.evidence.errors import TallyError
from tallystick.evidence.score import Score, in_order
from tallystick.hw.software_key import FileKey
from tallystick.verify import Policy, check_evidence, load_evidence
from tallystick.verify.logcopy import LogCopy
from tallystick.verify.report import Proven
from tallystick.verify.scorecheck import check_score, scored_again
from tallystick.verify.scoring import compute_delays as delays
from tallystick.verify.scoring import score as compute
from tallystick.verify.scoring import validator_of

FROM_MS, TO_MS = START_MS - 1000, START_MS + 3_600_000
STORY = guilt.matched()


def copies(story: Story = STORY) -> list[LogCopy]:
    return [LogCopy(log.note(), log.entries) for log in story.validators]


def row(made: Score, log: StoryValidator) -> dict[str, object]:
    (found,) = [one for one in made.validators if one.origin == log.origin]
    return dict(found._asdict())


def with_gateway(story: Story) -> Story:
    """Its logs with the enrolments of devices and gateways, and custody receipts."""
    for log in story.validators:
        for device in (story.giver, story.receiver):
            log.append(device.credential[0])
        for _, credential in story.gateways.values():
            log.append(credential[0])
        for data in story.custody:
            log.append(data)
        log.tick(0)
    return story


def test_three_honest_validators_agree() -> None:
    made = compute(copies(), FROM_MS, TO_MS)
    for log in STORY.validators:
        found = row(made, log)
        assert (found["verdicts"], found["compared"], found["agreed"]) == (1, 2, 2)
        assert (found["missed"], found["against"]) == (0, 0)
        assert found["delay"] == [10, 10, 10]
    assert made.gateways == []


@given(st.permutations(range(3)))
def test_the_order_of_logs_changes_nothing(order: list[int]) -> None:
    logs = copies()
    one, other = (compute(given, FROM_MS, TO_MS) for given in (logs, [logs[n] for n in order]))
    assert one.payload() == other.payload()


def test_who_decides_otherwise_agrees_with_nobody() -> None:
    story = Story()
    log = story.validators[1]
    log.entries[-1] = guilt.said(log, guilt.lie(guilt.true_finding()), len(log.entries) - 2)
    made = compute(copies(story), FROM_MS, TO_MS)
    assert [row(made, one)["agreed"] for one in story.validators] == [1, 0, 1]
    assert [row(made, one)["compared"] for one in story.validators] == [2, 2, 2]


def test_who_says_nothing_on_claims_that_it_has_missed_them() -> None:
    story = Story()
    silent, without = story.validators[1], story.validators[2]
    del silent.entries[-1]
    del without.entries[guilt.place_of(without, story.giver) :]
    made = compute(copies(story), FROM_MS, TO_MS)
    assert [row(made, one)["missed"] for one in story.validators] == [0, 1, 0]
    assert [row(made, one)["verdicts"] for one in story.validators] == [1, 0, 0]


def test_other_inputs_are_not_compared() -> None:
    made = compute([copies()[0], copies(Story(x="1.7"))[1]], FROM_MS, TO_MS)
    assert [one.compared for one in made.validators] == [0, 0]


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "verdicts"),
    [
        (START_MS, START_MS + 11, 1),
        (START_MS, START_MS + 10, 0),
        (START_MS + 10, START_MS + 11, 1),
        (START_MS + 11, TO_MS, 0),
    ],
)
def test_a_period_has_its_begin_and_not_its_end(from_ms: int, to_ms: int, verdicts: int) -> None:
    made = compute(copies(), from_ms, to_ms)
    assert {one.verdicts for one in made.validators} == {verdicts}


def test_a_later_verdict_on_the_same_claims_is_no_delay() -> None:
    story = Story()
    log = story.validators[0]
    log.tick(60_000)
    log.append(guilt.said(log, verdict.parse(log.entries[-2]).finding))
    made = compute(copies(story), FROM_MS, TO_MS)
    assert row(made, log)["delay"] == [10, 10, 10]


def test_a_closing_begins_the_delay_of_who_is_missing() -> None:
    made = compute(copies(Story(answers=False)), FROM_MS, TO_MS)
    assert [one.delay for one in made.validators] == [[10, 10, 10]] * 3


def test_delays_are_those_of_the_nearest_rank() -> None:
    assert delays([]) is None
    assert delays([7]) == [7, 7, 7]
    assert delays(list(range(1, 101))) == [50, 95, 100]
    assert delays([3, 1, 2]) == [2, 3, 3]


def test_gateways() -> None:
    story = with_gateway(Story())
    made = compute(copies(story), FROM_MS, TO_MS)
    (found,) = made.gateways
    assert found.gateway == story.gateways["borealis"][0].public_key().thumbprint()
    # Dated half a second after the head was logged: nobody waited.
    assert (found.heads, found.compared, found.agreed, found.missed) == (1, 3, 3, 0)
    assert found.delay == [0, 0, 0]
    assert compute(copies(story), FROM_MS, START_MS + 500).gateways == []


def test_a_head_that_a_log_passed_over() -> None:
    story = Story()
    device = story.receiver
    device.record(1)
    story._custody(device, START_MS + 900)
    device.record(1)
    for at, log in enumerate(with_gateway(story).validators):
        for sealed in device.stretches[1 if at == 0 else 2 :]:
            log.tick(1000)
            log.append(sealed.checkpoint)
    (found,) = compute(copies(story), FROM_MS, TO_MS).gateways
    # Two heads in custody; the second one is in the first log only.
    assert (found.heads, found.compared, found.agreed, found.missed) == (2, 4, 4, 2)
    assert found.delay is not None and found.delay[2] == 110


def unsigned(data: bytes, **changed: object) -> bytes:
    """A checkpoint with other values, under the signature that it had."""
    head = checkpoint.parse(data)
    was, head.statement = head.received().sign1, None
    for name, value in changed.items():
        setattr(head, name, value)
    return cose.encode(was.protected, head.payload(), was.signature, was.unprotected)


@pytest.mark.parametrize("signer", ["nobody", "another key"])
def test_heads_that_their_device_did_not_sign_count_against_no_gateway(signer: str) -> None:
    """A lying validator's log: another root at the size in custody, and heads all around it."""
    story = with_gateway(Story())
    liar, device = story.validators[1], story.receiver
    true = device.stretches[0].checkpoint
    at = liar.entries.index(true)
    liar.entries[at] = TimeEntry(START_MS).encode()
    honest = compute(copies(story), FROM_MS, TO_MS).gateways
    assert (honest[0].compared, honest[0].agreed, honest[0].missed) == (2, 2, 0)
    for values in ({"root": bytes(32)}, {"size": device.size - 1}, {"size": device.size + 1}):
        forged = unsigned(true, **values)
        if signer == "another key":
            made = checkpoint.parse(forged)
            made.statement = None
            forged = made.sign(key("a lying validator's"), "borealis", device.id)
        liar.append(forged)
    assert compute(copies(story), FROM_MS, TO_MS).gateways == honest


@pytest.mark.parametrize("forged", [0, 2, None])
def test_a_head_is_passed_over_only_between_heads_that_the_device_signed(
    forged: int | None,
) -> None:
    """Three heads, the middle one in custody; a log holds the others, one of them forged."""
    story = Story()
    device = story.receiver
    device.record(1)
    story.custody.clear()
    story._custody(device, START_MS + 900)
    device.record(1)
    heads = [one.checkpoint for one in device.stretches]
    if forged is not None:
        heads[forged] = unsigned(heads[forged], root=bytes(32))
    log = with_gateway(story).validators[1]
    log.entries[log.entries.index(device.stretches[0].checkpoint)] = heads[0]
    log.append(heads[2])
    (found,) = compute(copies(story), FROM_MS, TO_MS).gateways
    assert (found.heads, found.missed) == (1, 1 if forged is None else 0)


def test_another_root_that_the_device_signed_is_compared() -> None:
    story = with_gateway(Story())
    log, device = story.validators[1], story.receiver
    true = checkpoint.parse(device.stretches[0].checkpoint)
    log.entries[log.entries.index(true.encode())] = TimeEntry(START_MS).encode()
    true.root, true.statement = bytes(32), None
    log.append(true.sign(device.signer, "borealis", device.id))
    (found,) = compute(copies(story), FROM_MS, TO_MS).gateways
    assert (found.compared, found.agreed) == (3, 2)


def test_a_custody_receipt_that_its_gateway_did_not_sign_counts_for_nobody() -> None:
    story = Story()
    forged = bytearray(story.custody[0])
    forged[-1] ^= 1
    story.custody = [bytes(forged)]
    assert compute(copies(with_gateway(story)), FROM_MS, TO_MS).gateways == []


def rotation(
    story: Story, old: FileKey, new: FileKey, *, by_old: FileKey, by_new: FileKey
) -> bytes:
    """Of borealis' gateway, from a key to another, with the signatures of `by_old` and `by_new`."""
    gateway, _ = story.gateways["borealis"]
    id_, alg = gateway.public_key().thumbprint(), old.public_key().alg
    made = keychange.rotate(old, new, "borealis", id_, 0, [], None, START_MS)
    made.possession = by_new.sign(enrolment.possession_message(alg, id_, "borealis"))
    made.old_signature = by_old.sign(made.old_message(alg))
    return made.sign(story.borealis.root, "borealis", id_)


def taken(story: Story, signer: FileKey) -> bytes:
    """A custody receipt over a head of the receiver that no log has."""
    device = story.receiver
    made = CustodyReceipt(device.epoch, 0, device.size, bytes(32), True, START_MS + 600)
    return made.sign(signer, "borealis", device.id)


@pytest.mark.parametrize("by", ["new key alone", "old key alone", "nobody"])
def test_a_forged_rotation_in_a_lying_log_changes_no_gateway(by: str) -> None:
    story = with_gateway(Story())
    honest = compute(copies(story), FROM_MS, TO_MS).gateways
    gateway, _ = story.gateways["borealis"]
    liar, nobody = key("a lying validator's"), key("nobody's")
    by_old = gateway if by == "old key alone" else nobody
    by_new = liar if by == "new key alone" else nobody
    forged = rotation(story, gateway, liar, by_old=by_old, by_new=by_new)
    for data in (forged, taken(story, liar)):
        story.validators[1].append(data)
    assert compute(copies(story), FROM_MS, TO_MS).gateways == honest


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_rotated_keys_of_a_gateway_count_each_by_the_one_before_it(order: tuple[int, int]) -> None:
    story = with_gateway(Story())
    first, second, third = story.gateways["borealis"][0], key("its second"), key("its third")
    made = [
        rotation(story, old, new, by_old=old, by_new=new)
        for old, new in ((first, second), (second, third))
    ]
    log = story.validators[1]
    log.append(taken(story, third))
    assert compute(copies(story), FROM_MS, TO_MS).gateways[0].heads == 1
    log.append(made[order[0]])
    assert compute(copies(story), FROM_MS, TO_MS).gateways[0].heads == 1
    log.append(made[order[1]])
    assert compute(copies(story), FROM_MS, TO_MS).gateways[0].heads == 2


def proofs() -> list[Proven]:
    made = [guilt.ignored(), guilt.two_stories(), guilt.disagreement()]
    policy = Policy.parse(STORY.policy)
    return [
        check_evidence(load_evidence(one.file().encode()), policy, NOW_S).proven[0] for one in made
    ]


def test_proofs_count_once_against_whom_they_convict() -> None:
    made = compute(copies(), FROM_MS, TO_MS, [*proofs(), *proofs()])
    assert [row(made, one)["against"] for one in STORY.validators] == [1, 0, 0]
    assert len(made.proofs) == 3
    assert validator_of(copies()[0]) == STORY.validators[0].id


def test_one_log_counts_once() -> None:
    with pytest.raises(TallyError, match="twice"):
        compute([*copies(), copies()[0]], FROM_MS, TO_MS)


# --- checking -------------------------------------------------------------------------------------


def signed(made: Score) -> Score:
    return score.parse(made.sign(STORY.acme.root, "acme", "score"))


def reason(
    made: Score, logs: Sequence[LogCopy], given: Sequence[Proven] = (), says: str | None = None
) -> str:
    with pytest.raises(TallyError, match=says) as caught:
        scored_again(made, logs, given)
    return caught.value.reason


def test_a_score_is_computed_again_from_logs_that_grew() -> None:
    story = Story()
    made = signed(compute(copies(story), FROM_MS, TO_MS, proofs()))
    scored_again(made, copies(story), proofs())
    for log in story.validators:
        log.tick(5)
        log.append(guilt.said(log, guilt.lie(guilt.true_finding())))
        log.tick(5)
    scored_again(made, copies(story), [*proofs(), *proofs()])
    assert compute(copies(story), FROM_MS, TO_MS).payload() != made.payload()


def test_what_the_logs_do_not_give_is_refused() -> None:
    made = compute(copies(), FROM_MS, TO_MS)
    better = in_order([one._replace(verdicts=2) for one in made.validators])
    other = in_order([one._replace(root=bytes(32)) for one in made.logs])
    for logs, validators, says in (
        (made.logs, better, "do not give this"),
        (made.logs, made.validators[1:], "leaves out"),
        (other, made.validators, "another root"),
    ):
        lie = Score(FROM_MS, TO_MS, logs, validators, made.gateways, made.proofs)
        assert reason(signed(lie), copies(), says=says) == "tampered"


def test_what_is_not_there_cannot_be_checked() -> None:
    made = compute(copies(), FROM_MS, TO_MS, proofs())
    assert reason(made, copies()[1:], proofs()) == "truncated"
    assert reason(made, copies(), proofs()[1:]) == "truncated"
    assert reason(made, [copies()[0].at(3), *copies()[1:]], proofs()) == "truncated"


def test_who_signed_a_score() -> None:
    policy = Policy.parse(STORY.policy)
    made = signed(compute(copies(), FROM_MS, TO_MS))
    assert check_score(made, policy) == "by acme"
    for signer, name in ((STORY.borealis.root, "acme"), (STORY.acme.root, "somebody")):
        other = score.parse(made.sign(signer, name, "score"))
        with pytest.raises(TallyError) as caught:
            check_score(other, policy)
        assert caught.value.reason == "wrong-key"
    data = bytearray(made.encode())
    data[-1] ^= 1
    with pytest.raises(TallyError):
        check_score(score.parse(bytes(data)), policy)
