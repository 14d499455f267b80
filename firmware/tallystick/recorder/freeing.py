# Which files of a journal hold what, and freeing those that are in custody.

from tallystick.recorder.journal import Journal


def first_index(journal: Journal, epoch: bytes) -> int:
    """The oldest index of this epoch that is still here."""
    for file in journal.list:
        if file.epoch == epoch:
            return file.first
    return 0


def release(journal: Journal, epoch: bytes, size: int, before: int) -> int:
    """Free files that end at or below `size` and lie before file number `before`."""
    freed = 0
    # Of a file that is being compacted, what it gives up is told already.
    if journal.compacting:
        before = min(before, journal.compacting)
    while len(journal.list) > 1:
        file, following = journal.list[0], journal.list[1]
        if file.number >= before or (file.epoch == epoch and following.first > size):
            break
        journal.files.remove(file.name)
        journal.list.pop(0)
        journal.used -= file.size
        freed += 1
    return freed


def index_of(journal: Journal, epoch: bytes, size: int) -> int:
    """The place in the list of the file with the stretch from `size` on, or of the oldest."""
    chosen = -1
    for at, file in enumerate(journal.list):
        if file.epoch == epoch and (chosen < 0 or file.first <= size):
            chosen = at
    return max(chosen, 0)
