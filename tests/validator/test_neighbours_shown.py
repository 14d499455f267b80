"""Evidence files show the claims of other interactions that a verdict used, and nothing more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.devices import Fleet
from support.story import reencode
from support.validating import START_MS, Room
from tallystick.evidence import evidencefile, verdict
from tallystick.evidence.errors import Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.finding import CheckResult, Finding
from tallystick.evidence.ids import interaction_id
from tallystick.evidence.keys import b64u
from tallystick.evidence.note import NoteKey
from tallystick.evidence.root import format_root
from tallystick.tools._checks import check_lines, check_rows
from tallystick.validator.access import Scope
from tallystick.validator.evidence import Exporter
from tallystick.verify import Report, check, check_evidence, load_evidence
from tallystick.verify.inputs import PartySetInputs
from tallystick.verify.policy import Policy, parse_policy
from tallystick.verify.reconcile import find
from validator.test_keychanges import NOW_S
from validator.test_neighbours import BAYS, TEXT, World


@pytest.fixture
def world(tmp_path: Path, fleet: Fleet) -> Iterator[World]:
    """a hands a box on that it got from b; the bay was used before and after, by others."""
    folder = tmp_path / "validator"
    room = Room(folder, [fleet])
    room.close()
    (folder / "profiles" / "bays.toml").write_text(TEXT)
    room.open()
    made = World(room, fleet)
    a, b, c = made.devices
    made.claim(b, "giver", c, "before", [90, 95, 1], [])
    made.claim(b, "giver", c, "after", [112, 118, 1], [])
    got = made.claim(a, "taker", b, "order-1", [80, 82, 0], [])
    made.claim(a, "giver", c, "order-2", [100, 105, 1], [got.reference])
    made.claim(c, "taker", a, "order-2", [106, 108, 0], [])
    made.deliver()
    made.close()
    yield made
    made.room.close()


def exported(world: World, scope: Scope | None = None) -> EvidenceFile:
    sequencer = world.room.sequencer
    config = sequencer.config
    exporter = Exporter(config.roots, sequencer.profiles, config.credential)
    wanted = interaction_id(BAYS.digest, "dock-3", "order-2")
    with sequencer.store.read() as connection:
        if scope is None:
            data = exporter.interaction(connection, "dock-3", wanted)
        else:
            data = exporter.interaction(connection, "dock-3", wanted, scope)
    return evidencefile.parse(data)


def policy(world: World, fleet: Fleet) -> Policy:
    keys = world.room.sequencer.keys
    note = NoteKey(keys.origin, keys.notes.public_key()).text()
    return parse_policy(
        f'roots = ["{fleet.root_line}"]\n[devices]\ncustody = "software"\n'
        f'[profiles]\ndigests = ["{b64u(BAYS.digest)}"]\n[validators]\nat_least = 1\n'
        f'[[validators.accept]]\norganisation = "{keys.name}"\n'
        f'key = "{format_root(keys.name, keys.signer.public_key())}"\nnote_key = "{note}"\n'
    )


def checked(world: World, fleet: Fleet, file: EvidenceFile) -> Report:
    return check(load_evidence(reencode(file)), policy(world, fleet), NOW_S)


def test_a_verdict_is_recomputed_with_what_it_used_of_other_interactions(
    world: World, fleet: Fleet
) -> None:
    report = checked(world, fleet, exported(world))
    (mine,) = report.party_sets
    assert mine.states == ["matched"]
    assert [said.recomputed for said in mine.said] == [True]
    finding = mine.said[0].verdict.finding
    # The acquisition, and who held the bay before and after.
    assert len(finding.others) == 3
    chain, alone, _ = finding.checks
    assert len(finding.used(chain)) == 2
    assert len(finding.used(alone)) == 3
    assert len(report.beside) == 3
    assert not any(one.said for one in report.beside)
    words = [what for what, _ in report.not_checked]
    assert sum(what.startswith("what became of ") for what in words) == 3
    lines = check_lines(report)
    assert sum(line.endswith(", of another interaction") for line in lines) == 3
    rows = check_rows(report, finding)
    assert [row["name"] for row in rows] == ["chain", "one-at-a-time", "mine-once"]
    assert all(read["name"] for row in rows for read in row["read"])


def test_without_them_it_is_not_recomputed(world: World, fleet: Fleet) -> None:
    bodies = [one.claim.encode() for one in world.known if one.claim is not None]
    for gone in bodies[:3]:
        file = exported(world)
        file.halves = [half for half in file.halves if half.record != gone]
        with pytest.raises(Unverified, match="vouch on bays"):
            checked(world, fleet, file)
        report = check_evidence(load_evidence(reencode(file)), policy(world, fleet), NOW_S)
        assert any("which is not disclosed, of another" in line for line in check_lines(report))
        whys = [why for what, why in report.not_checked if what.startswith("finding of")]
        assert len(whys) == 1
        assert whys[0].endswith(" that it used is not disclosed")


def test_who_may_not_read_them_does_not_get_them(world: World) -> None:
    wanted = interaction_id(BAYS.digest, "dock-3", "order-2")
    file = exported(world, Scope(interactions=frozenset({("dock-3", wanted)})))
    bodies = {one.claim.encode() for one in world.known[:3] if one.claim is not None}
    assert not bodies & {half.record for half in file.halves}
    assert len([half for half in file.halves if half.record[1] == 1]) == 2


def judged(world: World, fleet: Fleet, **changes: Any) -> Report:
    """The file with another verdict, by a validator that judges other interactions' claims so."""
    file = exported(world)
    keys = world.room.sequencer.keys
    own = [one for one in world.known if one.claim and one.claim.interaction == "order-2"]
    others = [one._replace(**changes) for one in world.known if one not in own]
    assert own[0].claim is not None
    found = find(
        PartySetInputs(
            *(BAYS, "dock-3", own[0].claim.interaction_id(), own[0].claim.parties, own, others),
            closed=False,
            silence=(),
        )
    )
    made = verdict.Verdict(found, 1000, None, [], START_MS + 10**9)
    file.entries = [*file.entries, (made.sign(keys.signer, keys.name, made.subject()), [])]
    return check_evidence(load_evidence(reencode(file)), policy(world, fleet), NOW_S)


def test_a_validator_that_counts_a_neighbour_s_key_better_is_not_recomputed(
    world: World, fleet: Fleet
) -> None:
    report = judged(world, fleet, custody=3)
    whys = [why for what, why in report.not_checked if what.startswith("finding of")]
    assert len(whys) == 1
    assert "as held in secure-element, and by the evidence" in whys[0]


def test_a_neighbour_s_key_is_what_the_validator_knew_it_to_be(world: World, fleet: Fleet) -> None:
    """It may know of a fork that the file does not show: then its verdict is not overtaken."""
    report = judged(world, fleet, status="suspect")
    (mine,) = report.party_sets
    assert mine.states == ["insufficient"]
    assert [(said.recomputed, said.outdated) for said in mine.said] == [(True, False)]


def test_a_lie_about_a_neighbour_is_found(world: World, fleet: Fleet) -> None:
    """A08: the validator says that the bay was free, or not, against what it read itself."""
    file = exported(world)
    keys = world.room.sequencer.keys
    (data,) = [data for data, _ in file.entries if data[:1] == b"\xd2" and _is_verdict(data)]
    true = verdict.parse(data)
    finding = true.finding
    checks = [
        CheckResult(one.check, one.name, "fail", one.reason, one.values, [], one.used)
        if one.name == "one-at-a-time"
        else one
        for one in finding.checks
    ]
    lie = Finding(
        finding.inputs,
        finding.namespace,
        finding.interaction,
        finding.parties,
        finding.profile,
        "conflicting",
        [],
        checks,
        finding.claims,
        finding.others,
    )
    made = verdict.Verdict(lie, true.size, None, [], true.time_ms)
    file.entries = [*file.entries, (made.sign(keys.signer, keys.name, made.subject()), [])]
    with pytest.raises(Unverified, match="is not what its own inputs give"):
        checked(world, fleet, file)


def _is_verdict(data: bytes) -> bool:
    try:
        verdict.parse(data)
    except Exception:  # noqa: BLE001  # whatever else it is
        return False
    return True
