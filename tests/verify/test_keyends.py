"""Keys that ended and forks, as an evidence file shows them; and forged signatures in one."""

from typing import Any

import pytest

from support import forged
from support.devices import Device, Fleet
from support.keychanges import head_of, revoke
from support.story import NOW_S, Story
from tallystick.evidence import checkpoint, forkproof, keychange, tree
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.forkproof import ForkProof
from tallystick.evidence.half import Half
from tallystick.verify import Report, check, check_evidence, describe, load_evidence
from tallystick.verify.policy import Policy


def changed(file: EvidenceFile, **changes: Any) -> EvidenceFile:
    names = ("credentials", "profiles", "halves", "entries", "custody", "notes", "note", "heads",
             "forks")  # fmt: skip
    return EvidenceFile(*[changes.get(name, getattr(file, name)) for name in names])


def checked(file: EvidenceFile, story: Story) -> Report:
    return check(load_evidence(file.encode()), Policy.parse(story.policy), NOW_S)


def refused(file: EvidenceFile, story: Story) -> TallyError:
    with pytest.raises(TallyError) as caught:
        checked(file, story)
    return caught.value


def refused_half(
    story: Story, file: EvidenceFile, given: list[Any], others: list[Half]
) -> TallyError:
    half, statement = given
    try:
        made = Half(half.record, half.salt, half.index, half.path, statement, half.credential)
        return refused(changed(file, halves=[made, *others]), story)
    except TallyError as error:
        return error  # no half takes such a checkpoint at all


def fork_of(device: Device, keep: int = 1) -> ForkProof:
    """The device wrote on in two ways after its first `keep` stretches."""
    clone = device.clone()
    del clone.stretches[keep:]
    del clone.leaves[clone.stretches[-1].to :]
    device.record(5)
    clone.decision("let go")
    clone.record(1)
    ours = checkpoint.parse(device.stretches[-1].checkpoint)
    theirs = checkpoint.parse(clone.stretches[-1].checkpoint)
    path = tree.consistency_path(device.leaves, theirs.size)
    root = tree.root_of(device.leaves[: theirs.size])
    return forkproof.between(ours, theirs, [root, path])


def test_a_fork_in_the_file_makes_what_its_device_claims_suspect() -> None:
    story = Story()
    proof = fork_of(story.giver)
    file = changed(story.evidence(), forks=[proof.encode()])
    error = refused(file, story)
    assert error.reason == "bad-policy"
    assert "is suspect" in error.message
    report = check_evidence(load_evidence(file.encode()), Policy.parse(story.policy), NOW_S)
    assert [one.encode() for one in report.forks] == [proof.encode()]
    assert any(what.startswith("fork of device") for what, _ in report.checked)
    statuses = {record.device: record.status for record in report.records}
    assert statuses == {story.giver.id: "suspect", story.receiver.id: "active"}
    shown = describe.describe(proof.encode())
    assert shown["object"] == "fork proof"
    assert "the two heads contradict each other" in shown["verified"]


def test_a_fork_proof_that_nobody_signed_refuses_the_file() -> None:
    story = Story()
    proof = fork_of(story.giver)
    head = proof.first.encode()
    broken = head[:-1] + bytes([head[-1] ^ 1])
    made = ForkProof(broken, proof.second.encode(), proof.inside)
    assert refused(changed(story.evidence(), forks=[made.encode()]), story).reason == (
        "bad-signature"
    )
    for data in (b"\x80", proof.encode()[:-1]):
        assert refused(changed(story.evidence(), forks=[data]), story).reason != "bad-policy"


def test_two_heads_of_one_history_are_no_fork() -> None:
    story = Story()
    story.giver.record(3)
    first, second = (checkpoint.parse(s.checkpoint) for s in story.giver.stretches)
    path = tree.consistency_path(story.giver.leaves, first.size)
    with pytest.raises(Unverified):
        forkproof.between(first, second, [first.root, path])
    with pytest.raises(TallyError):
        forkproof.between(first, second, [bytes(32), path])


def test_a_fork_of_a_device_that_is_not_in_the_file_is_left() -> None:
    story = Story()
    stranger = Fleet("globex").device("a")
    stranger.record(2)
    report = checked(changed(story.evidence(), forks=[fork_of(stranger).encode()]), story)
    assert report.forks == []
    assert any(what.startswith("fork of device") for what, _ in report.not_checked)


def test_what_an_ended_key_wrote_beyond_its_end_is_no_fork_of_the_id() -> None:
    story = Story()
    giver = story.giver
    named = head_of(giver)
    credential = revoke(giver, keychange.RETIRED, named)
    proof = fork_of(giver)
    others = story.evidence().credentials[1:]
    file = changed(story.evidence(), credentials=[credential, *others], forks=[proof.encode()])
    report = checked(file, story)
    assert report.forks == []
    assert {record.status for record in report.records} == {"retired", "active"}


@pytest.mark.parametrize("name", list(forged.LOW_ORDER))
def test_no_key_of_low_order_is_parsed(name: str) -> None:
    from tallystick.evidence.keys import EDDSA, from_raw

    with pytest.raises(TallyError):
        from_raw(EDDSA, forged.LOW_ORDER[name])


def test_forged_signatures_refuse_the_file_or_are_no_part_of_it() -> None:
    story = Story()
    file = story.evidence()
    half = next(
        one for one in file.halves if checkpoint.parse(one.checkpoint).device == story.giver.id
    )
    for name, statement in forged.forgeries(story.giver.signer, half.checkpoint).items():
        others = [one for one in file.halves if one is not half]
        error = refused_half(story, file, [half, statement], others)
        assert error.reason != "bad-policy", name
    for name, (credential, _) in forged.credentials(story.acme).items():
        error = refused(changed(file, credentials=[credential, *file.credentials]), story)
        assert error.reason != "bad-policy", name
