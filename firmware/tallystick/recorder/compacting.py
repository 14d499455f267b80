# Making room in a full journal, a piece at a time (docs/recorder.md, "The journal").  A file is
# written anew with less in it, synced, named, and only then is the old one removed.  Loaded when
# the journal is full, and forgotten afterwards.

from tallystick.evidence.errors import Malformed
from tallystick.recorder.files import forget
from tallystick.recorder.journal import LESS, SEALING_BYTES, Journal, JournalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder
    from tallystick.recorder.rewriting import Plan, Rewriting

    Work = Generator[None, None, bool]

# Read in one step.
STEP_BYTES = 2048
# A file is not written anew for less.
GAIN_BYTES_MIN = 256
LEVEL_MAX = 4
RETRY_MS = 1000
# Where nothing is sent nobody else reads the journal.
READERS = ("recorder.walking", "evidence._cborreader")
HERE = (
    "recorder.compacting",
    "recorder.rewriting",
    "recorder.swapping",
    "recorder.telling",
    "recorder.giving",
    "recorder.held",
    "evidence.eventwriter",
)


def step(tally: "Recorder", now_ms: int) -> bool:
    """A bounded piece of making room, or of telling what was given up; False for nothing."""
    ledger = tally._ledger
    journal = ledger.journal
    failure = None
    worked = False
    try:
        if journal.work is None:
            # What is loaded again when it is needed.
            forget(("recorder.advancing",))
            if tally._sender is None:
                forget(READERS)
            journal.rewriting = True
            journal.work = _working(tally)
        next(journal.work)
    except StopIteration as end:
        worked = bool(end.value)
    except Exception as error:  # noqa: BLE001  # a flash driver's, or a damaged file
        failure = error
    else:
        return True
    journal.work = None
    journal.rewriting = False
    journal.aside = 0
    # What is noted is done, and not freed before.
    noted = _noted(ledger)
    journal.compacting = noted.number if noted is not None else 0
    if failure is not None:
        journal.retry_ms = now_ms + RETRY_MS
        _clean(journal)
    # Before what is said of it, which takes heap too.
    forget(HERE)
    if tally._sender is None:
        forget(READERS)
    if failure is not None:
        ledger.fault("journal", "compact", failure)
    return worked


def _clean(journal: Journal) -> None:
    # What was begun takes no room until it is begun again; opening looks for it too.
    try:
        journal.files.remove(LESS)
    except OSError:
        pass


def _working(tally: "Recorder") -> "Work":
    ledger = tally._ledger
    journal = ledger.journal
    if journal.leftover:
        journal.files.remove(journal.leftover)
        journal.leftover = ""
    if ledger.log.untold:
        from tallystick.recorder.telling import tell  # noqa: PLC0415  # forgotten with this

        if tell(ledger):
            return True
    if not journal.tight() and not _noted(ledger):
        return False
    file = journal.list[0]
    if len(journal.list) > 1 and file.epoch != ledger.log.epoch:
        _remove_left(ledger)
        if ledger.log.holds:
            from tallystick.recorder.held import broke  # noqa: PLC0415  # seldom

            broke(ledger)
        return True
    if ledger.log.holds:
        from tallystick.recorder.held import give_way  # noqa: PLC0415  # seldom

        if (yield from give_way(tally)):
            return True
    plan = yield from _choose(ledger)
    if plan is None:
        journal.stuck = journal.list[-1].number
        return False
    yield from _replace(tally, plan)
    ledger.works("journal:compact")
    return True


def _remove_left(ledger: "Ledger") -> None:
    # The oldest file, of an epoch that was left; nothing of it is sent any more.
    journal = ledger.journal
    with ledger.lock:
        file = journal.list[0]
        journal.files.remove(file.name)
        journal.list.pop(0)
        journal.used -= file.size


def _noted(ledger: "Ledger") -> JournalFile | None:
    # The file of which is noted what it loses, where it was not replaced yet.
    told = ledger.log.told
    for file in ledger.journal.list[:-1]:
        if told and file.number == told[0] and file.level < told[1]:
            return file
    return None


def _choose(ledger: "Ledger") -> "Generator[None, None, Plan | None]":
    # Oldest files first, level after level.
    from tallystick.recorder.rewriting import Rewriting  # noqa: PLC0415  # forgotten before this

    journal = ledger.journal
    files = journal.files
    log = ledger.log
    tried = {file.number: journal.tried.get(file.number, 0) for file in journal.list}
    journal.tried = tried
    known = log.custody[0] if log.custody else 0
    file = _noted(ledger)
    if file is not None:
        made = Rewriting(files, file, log.told[1], known)
        try:
            yield from _measure(journal, made)
        except Malformed:
            # It stays as it is: it cannot be read any more.
            log.told = []
            raise
        return made.plan()
    for level in range(1, LEVEL_MAX + 1):
        for file in journal.list[:-1]:
            if max(file.level, tried[file.number]) >= level:
                continue
            made = Rewriting(files, file, level, known)
            try:
                yield from _measure(journal, made)
            except Malformed as error:
                ledger.fault("journal", "read", error)
                tried[file.number] = LEVEL_MAX
                continue
            if file.size - made.size < GAIN_BYTES_MIN:
                tried[file.number] = level
            elif max(journal.used, journal.limit) + made.size + SEALING_BYTES <= journal.bytes_max:
                return made.plan()
    return None


def _measure(journal: Journal, made: "Rewriting") -> "Generator[None, None, None]":
    # Not freed meanwhile.
    journal.compacting = made.file.number
    begun = 0
    for piece in made.pieces():
        made.size += len(piece)
        if made.at - begun >= STEP_BYTES:
            begun = made.at
            yield


def _replace(tally: "Recorder", plan: "Plan") -> "Generator[None, None, None]":
    from tallystick.recorder.rewriting import Rewriting  # noqa: PLC0415  # as above

    journal = tally._ledger.journal
    file, level, known, last = plan[:4]
    journal.aside = plan[4]
    made = Rewriting(journal.files, file, level, known, last)
    yield from _write(journal, made)
    # One is forgotten before the other is loaded.
    del made, Rewriting
    forget(("recorder.rewriting",))
    journal.rewriting = False
    if tally._sender is None:
        forget(READERS)
    from tallystick.recorder.swapping import swap  # noqa: PLC0415  # as above

    yield from swap(tally, plan)


def _write(journal: Journal, made: "Rewriting") -> "Generator[None, None, None]":
    files = journal.files
    files.remove(LESS)
    handle = files.appending(LESS)
    try:
        begun = 0
        for piece in made.pieces():
            files.write(handle, piece)
            if made.at - begun >= STEP_BYTES:
                begun = made.at
                yield
        files.sync(handle)
    finally:
        handle.close()
