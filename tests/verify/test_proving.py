"""What can be proven is found in whole logs, in files that convict; of honest logs nothing is."""

from collections.abc import Sequence

import pytest

from support import guilt
from support.story import NOW_S, Story, StoryValidator, disclose
from tallystick.evidence import cbor, note, verdict
from tallystick.evidence.errors import Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.half import Half
from tallystick.evidence.verdict import Verdict
from tallystick.verify import Policy, check_evidence, load_evidence
from tallystick.verify.logcopy import LogCopy, from_file
from tallystick.verify.proving import Prosecution
from tallystick.verify.report import Proven

STORY = guilt.matched()


def copy(log: StoryValidator) -> LogCopy:
    return LogCopy(log.note(), log.entries)


def found(
    *logs: StoryValidator, files: Sequence[EvidenceFile] = (), notes: Sequence[str] = ()
) -> list[Proven]:
    """What the files prove that are made of these logs."""
    parsed = [note.parse(text) for text in notes]
    prosecution = Prosecution([copy(log) for log in logs], files, parsed)
    proven = []
    for name, file in prosecution.all():
        data = file.encode()
        report = check_evidence(load_evidence(data), Policy.parse(STORY.policy), NOW_S)
        assert [one.name for one in report.proven] == [name], report.not_checked
        proven += report.proven
    return proven


def names(*logs: StoryValidator, files: Sequence[EvidenceFile] = ()) -> list[str]:
    return sorted(one.name for one in found(*logs, files=files))


def halves_file(halves: list[Half], *credentials: list[bytes]) -> EvidenceFile:
    return EvidenceFile(list(credentials), [], halves, [], [], [], None, [])


def log_of(*heads: bytes, credential: list[bytes] | None = None) -> StoryValidator:
    """A log of the first validator with an enrolment and these statements."""
    log = StoryValidator(STORY.validators[0].fleet)
    log.genesis()
    log.tick(0)
    for data in [*(credential or STORY.giver.credential), *heads]:
        log.append(data)
    log.tick(0)
    return log


@pytest.mark.parametrize("story", [Story(), Story(x="1.9"), Story(answers=False)])
def test_of_honest_logs_nothing_is_proven(story: Story) -> None:
    assert names(*story.validators, files=[story.evidence()]) == []


def test_a_log_is_whole_or_it_is_none() -> None:
    log = STORY.validators[0]
    assert copy(log).size == len(log.entries)
    with pytest.raises(Unverified) as caught:
        LogCopy(log.note(), log.entries[:-1])
    assert caught.value.reason == "bad-root"
    with pytest.raises(Unverified):
        LogCopy(log.note(), [*log.entries[:-1], b"\x82\x11\x01"])


def test_a_copy_fits_a_file() -> None:
    made = copy(STORY.validators[1])
    read = from_file(load_evidence(made.file().encode()))
    assert (read.entries, read.note) == (made.entries, made.note)


def test_a_rollback() -> None:
    device, first, second = guilt.put_back()
    log = log_of(first, second, credential=device.credential)
    (proven,) = found(log)
    assert (proven.name, proven.accused) == ("rollback", (device.id,))
    assert names(log_of(first, credential=device.credential)) == []


def test_two_roots_of_one_size_are_a_fork() -> None:
    device = STORY.acme.device("arm-1")
    device.record(2)
    twin = device.clone()
    one, other = device.record(1).checkpoint, (twin.decision("stop"), twin.seal())[1].checkpoint
    assert names(log_of(one, other, credential=device.credential)) == ["device fork"]


@pytest.mark.parametrize("made", [guilt.revived, guilt.revived_by_receipt])
def test_a_revived_epoch(made: object) -> None:
    case = made()  # type: ignore[operator]  # one of guilt's
    head, lineage, receipt = case.proof.fields()
    half = case.proof.lineage[0]
    more = [] if receipt is None else [receipt]
    log = log_of(half.checkpoint, *more, head, credential=case.credentials[0])
    files = [halves_file([half], *case.credentials)]
    assert names(log, files=files) == ["revived epoch"]
    assert lineage
    # Without the first record of the later epoch nothing says which came first.
    assert names(log) == []


@pytest.mark.parametrize(
    ("steps_s", "expect"), [((50, 50, 50), ["missed interval"]), ((60, 60), []), ((70, 70), [])]
)
def test_a_missed_interval(steps_s: tuple[int, ...], expect: list[str]) -> None:
    device, log = guilt.log_with_a_gap(steps_s)
    log.entries.insert(2, device.credential[0])
    assert names(log) == expect


@pytest.mark.parametrize("grown", [0, 1])
def test_two_logs_of_one_validator(grown: int) -> None:
    one, other = STORY.validators[0], Story(x="1.7").validators[0]
    for _ in range(grown):
        other.tick(1)
    # The devices of these two worlds have the same keys too, so each told two stories.
    files = [halves_file([], STORY.receiver.credential)]
    assert names(one, other, files=files) == ["device fork", "validator with two logs"]
    (proven,) = found(other, notes=[one.note()])
    assert proven.name == "validator with two logs"
    assert found(one, notes=[one.note()]) == []


def test_a_false_verdict_and_what_disagrees_with_it() -> None:
    story = Story()
    log = story.validators[1]
    log.entries[-1] = guilt.said(log, guilt.lie(guilt.true_finding()), len(log.entries) - 2)
    credentials, halves, profiles = guilt.claims_of(story)
    file = EvidenceFile(credentials, list(profiles), list(halves), [], [], [], None, [])
    proven = {one.name: one.accused for one in found(*story.validators, files=[file])}
    assert proven == {
        "false verdict": (log.id,),
        "two verdicts on equal inputs": (),
    }
    assert names(*story.validators) == ["two verdicts on equal inputs"] * 2


def test_a_false_verdict_on_silence() -> None:
    story = Story(answers=False)
    log = story.validators[2]
    true = verdict.parse(log.entries[-1])
    values = true.finding.values()[1:]
    assert values[5] == "one_sided"
    values[5] = "unresolved"
    lie = Verdict(type(true.finding)(*values), true.size, None, [], true.time_ms)
    log.entries[-1] = lie.sign(log.key, log.name, lie.subject())
    proven = found(*story.validators, files=[story.evidence()])
    assert ("false verdict", (log.id,)) in [(one.name, one.accused) for one in proven]


def test_a_receipt_without_an_entry() -> None:
    story = Story()
    file = story.evidence()
    log = story.validators[0]
    del log.entries[3:]
    log.tick(5000)
    assert "receipt without an entry" in names(log, files=[file])
    # One that is merely shorter than the file's may be an older copy.
    assert names(log_of(), files=[file]) == []


def test_an_ignored_claim() -> None:
    story = Story()
    log = story.validators[0]
    log.append(guilt.overlooking(story))
    log.tick(0)
    assert story.took is not None
    files = [halves_file([disclose(story.receiver, story.took)], story.receiver.credential)]
    assert "ignored claim" in names(log, files=files)
    assert "ignored claim" not in names(log)


def test_a_verdict_without_its_claim() -> None:
    log = StoryValidator(STORY.validators[0].fleet, entries=list(STORY.validators[0].entries))
    size = guilt.place_of(log, STORY.receiver)
    log.append(guilt.said(log, guilt.true_finding(), size))
    log.tick(0)
    assert names(log) == ["verdict without its claim"]


@pytest.mark.parametrize(("last_ms", "expect"), [(39_999, True), (40_000, False)])
def test_a_closing_before_its_deadline(last_ms: int, expect: bool) -> None:
    log = guilt.closed_log((20_000, last_ms))
    assert names(log) == ["closing before its deadline"] * expect


def test_what_a_later_version_logs_is_no_hindrance() -> None:
    log = StoryValidator(STORY.validators[0].fleet, entries=list(STORY.validators[0].entries))
    log.append(cbor.encode([23, "an entry of a later version"]))
    made = copy(log)
    assert made.parsed[-1] is None
    assert names(log) == []
