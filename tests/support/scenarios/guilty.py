"""Proofs of misbehaviour: one that holds of every type, and what is nearly one; scores."""

from typing import Any

from support import guilt
from support.scenarios import Scenario, Scenarios, flip, key_hex
from support.story import Story, StoryValidator, disclose
from tallystick.evidence import cbor, tree
from tallystick.evidence.entry import TimeEntry

NO = "no-contradiction"
SECTIONS = {
    **dict.fromkeys(("disorder", "revived", "missed"), "9.2"),
    **dict.fromkeys(("two-stories", "equivocation"), "9.3"),
}


def _of(number: int, *items: Any) -> bytes:
    return cbor.encode([36, number, *items])


def _devices() -> list[tuple[str, str, str, str, bytes]]:
    device, late, back = guilt.put_back()
    early, repeated = device.stretches[0].checkpoint, device.seal().checkpoint
    counted, later, first = guilt.two_epochs(counted=True)
    counted.counter = 8
    as_high = counted.record(1).checkpoint
    uncounted = guilt.two_epochs(counted=False)[0].record(1).checkpoint
    second = disclose(later, 1).encode()
    fields = guilt.revived_by_receipt().proof.fields()
    quick, soon = guilt.log_with_a_gap((50, 50), back=True)
    return [
        ("in-order", NO, "9.2", "A later head is larger.", _of(0, early, late)),
        ("one-head", NO, "9.2", "One head is in order.", _of(0, late, late)),
        ("repeated-head", NO, "9.2", "The same head, later.", _of(0, late, repeated)),
        ("larger-first", "bad-value", "9.2", "The larger stands first.", _of(0, back, late)),
        ("equal-counters", NO, "9.2", "A late head.", _of(1, as_high, [first.encode()], None)),
        ("no-counter", NO, "9.2", "None counts.", _of(1, uncounted, [first.encode()], None)),
        ("second-record", "unknown-kind", "9.2", "It opens no epoch.",
         _of(1, as_high, [second], None)),
        ("receipt-not-named", NO, "9.2", "The head names none.",
         _of(1, uncounted, fields[1], fields[2])),
        ("short-gap", "ok", "9.2", "It holds; whether it is long enough, the enrolment says.",
         _of(3, quick.id, guilt.whole(soon, 1).array())),
        ("starts-after-the-head", NO, "9.2", "The head before is not shown.",
         _of(3, quick.id, guilt.whole(soon, 3).array())),
    ]  # fmt: skip


def _logs() -> list[tuple[str, str, str, str, bytes]]:
    one, two = guilt.two_stories(), guilt.leaves(b"other", 8)
    first, second, (root, path) = one.proof.fields()
    honest = guilt.gateway_head(two[:5])
    inside = [tree.root_of(two[:5]), tree.consistency_path(two, 5)]
    log = Story().validators[0]
    early = log.note()
    log.tick(5)
    grown = [tree.root_of(log.leaves[:8]), tree.consistency_path(log.leaves, 8)]
    return [
        ("one-story", NO, "9.3", "The second extends the first.", _of(2, honest, second, inside)),
        ("flipped-path", "bad-consistency-proof", "9.3", "One bit of the path.",
         _of(2, first, second, [root, [flip(path[0], 0), *path[1:]]])),
        ("no-path", "bad-value", "9.3", "Two sizes and nothing between.",
         _of(2, first, second, None)),
        ("log-that-grew", NO, "9.3", "A log that only grew.", _of(4, early, log.note(), grown)),
        ("other-log", NO, "9.3", "Two logs.",
         _of(4, log.note(), Story().validators[1].note(), None)),
    ]  # fmt: skip


def _validators() -> list[tuple[str, str, str, str, bytes]]:
    story = guilt.matched()
    log = story.validators[0]
    finding = guilt.true_finding()
    verdict, inputs = guilt.false_verdict().proof.fields()
    entry, receipt, _ = guilt.unlogged().proof.fields()
    there = guilt.hashes_of(log, {0, 1})
    short = StoryValidator(log.fleet, entries=log.entries[:3])
    called, half, extract = guilt.ignored().proof.fields()
    at = guilt.place_of(log, story.receiver)
    mine = disclose(story.giver, story.gave).encode()
    based, claim, _ = guilt.baseless().proof.fields()
    cut = guilt.whole(log).array()
    return [
        ("other-inputs", NO, "9.4", "Not what it read.",
         _of(5, verdict, cbor.encode([*cbor.decode(inputs)[:7], True]))),
        ("logged", NO, "9.4", "The log holds it.", _of(6, entry, receipt, there.array())),
        ("log-cut-short", NO, "9.4", "The log is not shown past the receipt.",
         _of(6, entry, receipt, guilt.hashes_of(short, {1}).array())),
        ("logged-later", NO, "9.4", "It read less.",
         _of(7, guilt.overlooking(story, at), half, extract)),
        ("not-called-missing", NO, "9.4", "It counted this claim.", _of(7, called, mine, extract)),
        ("claim-is-there", NO, "9.4", "The log holds it.",
         _of(8, log.entries[-1], claim, cut)),
        ("some-left-out", NO, "9.4", "An entry that it read is left out.",
         _of(8, based, claim, guilt.whole(log, 0, set(range(5))).array())),
        ("another-root", "bad-root", "9.1", "An entry is changed.",
         _of(8, based, claim, [*cut[:2], [*cut[2][:-1], TimeEntry(1).encode()], cut[3]])),
        ("in-time", NO, "9.4", "It came at the deadline.",
         _of(10, 5, guilt.whole(guilt.closed_log((20_000, 40_000)), 1, {1, 4, 5}).array())),
        ("times-left-out", NO, "9.4", "The entry before the closing is left out.",
         _of(10, 5, guilt.whole(guilt.closed_log(), 1, {1, 3, 5}).array())),
        ("begin-left-out", NO, "9.4", "No time stands before the first claim.",
         _of(10, 5, guilt.whole(guilt.closed_log(), 2, {4, 5}).array())),
        ("no-closing", NO, "9.4", "Another entry.",
         _of(10, 2, guilt.whole(guilt.closed_log(), 1, {1, 2, 4, 5}).array())),
        ("same-decision", NO, "9.4", "They agree.",
         _of(9, log.entries[-1], guilt.said(story.validators[1], finding))),
    ]  # fmt: skip


def all_scenarios() -> Scenarios:
    """Each names what is wrong with it."""
    for name, made in guilt.ALL.items():
        data = made().proof.encode()
        section = SECTIONS.get(name, "9.4")
        about = f"{made().proof.NAME.capitalize()}."
        yield Scenario("misbehaviour", name, section, about, {"data": data.hex()}, "ok")
    data = guilt.revived_by_receipt().proof.encode()
    yield Scenario("misbehaviour", "revived-by-receipt", "9.2", "A receipt shows it.",
                   {"data": data.hex()}, "ok")  # fmt: skip
    unknown = [("unknown-type", "bad-value", "9", "No such type.", _of(11, b"x", b"x"))]
    for name, expect, section, about, data in _devices() + _logs() + _validators() + unknown:
        yield Scenario("misbehaviour", name, section, about, {"data": data.hex()}, expect)
    key = key_hex(guilt.matched().acme.root.public_key())
    signed = guilt.signed_score()
    for name, expect, about, given in (
        ("one-log", "ok", "One of each.", signed),
        ("flipped", "bad-signature", "One bit of the signature.", flip(signed, -1)),
        ("other-subject", "bad-header", "It is about something else.",
         guilt.the_score().sign(guilt.matched().acme.root, "acme", "scores")),
    ):  # fmt: skip
        yield Scenario("signed-score", name, "10", about, {"data": given.hex(), "key": key}, expect)
