"""Evidence of peers that came and went: its rules are shown, and it outlives its peer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.devices import Fleet
from support.validating import HANDOVER, Clock, Gateway
from tallystick.evidence import cose, evidencefile, registration
from tallystick.evidence.cbor import decode
from tallystick.evidence.keys import b64u
from tallystick.validator import schema
from tallystick.validator.evidence import Exporter
from tallystick.verify import Policy, check, load_evidence
from tallystick.verify.report import Report
from validator.test_circle import BOREALIS, Imports, file_of, sent


@pytest.fixture
def room(tmp_path: Path, store: str) -> Iterator[Imports]:
    """A validator of acme that took a handover of borealis' robots."""
    made = Imports(tmp_path / "v", [Fleet("acme")], Clock(), store=store)
    made.put(BOREALIS)
    made.look()
    sent(made, "order", Gateway(BOREALIS), BOREALIS)
    made.settle()
    yield made
    made.close()


def exported(room: Imports) -> bytes:
    """What the door for evidence files gives."""
    sequencer = room.sequencer
    exporter = Exporter(sequencer.circle.once, sequencer.profiles, sequencer.config.credential)
    sequencer.log.publish()
    with sequencer.store.read() as connection:
        (row,) = connection.execute(sa.select(schema.party_sets)).all()
        return exporter.interaction(connection, row.namespace, row.interaction)


def checked(data: bytes) -> Report:
    """By a relying party that trusts borealis, whomever the validator accepts now."""
    lines = [Fleet(name).root_line for name in ("notary", "borealis")]
    text = (
        f"roots = {lines}\n[devices]\ncustody = 'software'\n[profiles]\n"
        f"digests = ['{b64u(HANDOVER.digest)}']\n[validators]\nat_least = 1\n"
        f"[[validators.accept]]\norganisation = 'N'\nroot = '{lines[0]}'\n"
    )
    return check(load_evidence(data), Policy.parse(text))


def kind_of(entry: bytes) -> int:
    if entry[:1] != b"\xd2":
        return -1
    kind: int = decode(cose.parse(entry, 1 << 16).payload or b"")[0]
    return kind


def test_a_file_shows_the_rules_that_its_claims_were_admitted_under(room: Imports) -> None:
    room.put(Fleet("corax"), file_of(Fleet("corax")))
    room.look()  # later rules are not those of the claims
    data = exported(room)
    entries = [entry for entry, _ in evidencefile.parse(data).entries]
    (found,) = [registration.parse(one) for one in entries if kind_of(one) == 40]
    assert [name for name, _, _ in found.roots] == ["acme", "borealis", "notary"]
    said = dict(checked(data).checked)["registration policy of notary"]
    assert said.endswith("these enrolled: acme, borealis, notary")


def test_evidence_of_a_removed_peer_is_made_and_checked_as_before(room: Imports) -> None:
    before = checked(exported(room))
    (room.peers / "borealis.peer").unlink()
    assert room.look()
    for _ in range(2):
        assert "borealis" not in room.roots()
        after = checked(exported(room))
        assert len(after.records) == len(before.records) > 1
        assert after.outcome == before.outcome
        # A restart forgets no root that vouched for what is in the log.
        room.close()
        room.open()
