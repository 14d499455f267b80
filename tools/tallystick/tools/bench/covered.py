"""What a journal's signed checkpoints cover, verified as a gateway does it."""

import json
from pathlib import Path

from tallystick.evidence import segment
from tallystick.evidence.steps import finish
from tallystick.evidence.tree import Tree
from tallystick.recorder import identity, stretches
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.journal import Journal
from tallystick.recorder.replay import open_journal
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Member

# The journal was closed whole: opening it writes nothing.
FILE_BYTES_MAX = 1 << 30


def covered(config: Path, member: Member) -> int:
    """Records that verified checkpoints cover, from the first one on; BenchFailed when not all."""
    settings = json.loads(config.read_text())
    files = Files(str(config.parent / settings["journal"]))
    files.lock()
    try:
        journal = Journal(files, settings["journal_bytes"], FILE_BYTES_MAX)
        log = open_journal(journal, member.id)
        if log is None:
            message = f"{files.folder} holds no journal"
            raise BenchFailed("bench-failed", message)
        tree = _verified(journal, log, settings["fleet"], member)
        if tree.size != log.tree.size or tree.root() != log.tree.root():
            message = f"{log.tree.size} records, and signed checkpoints for {tree.size} of them"
            raise BenchFailed("bench-failed", message)
        return tree.size
    finally:
        files.unlock()


def _verified(journal: Journal, log: Log, fleet: str, member: Member) -> Tree:
    forms = identity.forms(member.identity.key, fleet, member.id_text)
    tree = Tree()
    place = (journal.list[0].number, 0)
    while True:
        found = finish(stretches.read_stretch(journal, place, tree.size))
        if found is None or found.ordinal > log.signed:
            return tree
        place = (found.number, found.end)
        if not found.count:
            continue
        signature = finish(
            stretches.read_signature(journal, found.number, found.end, found.ordinal)
        )
        signed = forms.checkpoint(found.payload, signature)
        sent = stretches.Outgoing(journal, found, member.id, log.epoch, None, signed)
        received = segment.parse(b"".join(sent.pieces()))
        tree = segment.verify_segment(received, member.identity, tree).tree
