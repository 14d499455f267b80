"""The library onto a board, so that a half-written one can never be imported.

It is written into a folder of another name and takes the place of the old one when every hash was
verified on the board. Where the flash has no room for two, the old one gets that name first: then
the board has no library until this is through, and never a mixture. What an interrupted run left is
gone on with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.evidence.errors import TransportError
from tallystick.tools.device.board import LIBRARY, Found
from tallystick.tools.device.connection import Connection, Full, writing
from tallystick.tools.device.manifest import Library, hiding, sha256

NEW = LIBRARY + ".new"
OLD = LIBRARY + ".old"
# LittleFS: a file takes whole blocks, a folder a pair of them (which its statvfs counts twice) and
# another pair for some two dozen names; what is written anew needs a block to go to before the old
# one is free.
ENTRIES_A_PAIR = 24
FOLDER_BLOCKS = 4
MARGIN_BLOCKS = 6
KIB = 1024
COPY = """
def _copy(source, target):
    with open(source, "rb") as old, open(target, "wb") as new:
        while True:
            data = old.read(512)
            if not data:
                break
            new.write(data)
"""

Files = dict[str, tuple[int, str]]


@dataclass
class Plan:
    """What is to be done; paths are below the library's folder.

    beside: the old library works until the new one is complete.
    """

    library: Library
    there: bool
    beside: bool
    remove: list[str] = field(default_factory=list)
    copy: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether all of it is on the board already."""
        return self.there and not self.others and not self.leftovers

    @property
    def bytes_to_send(self) -> int:
        """Over the cable."""
        sent = [self.library.files[path] for path in self.write]
        return sum(map(len, [*sent, *(self.library.others[path] for path in self.others)]))


def plan(connection: Connection, found: Found, library: Library) -> Plan:
    """Compare the board with the library; nothing is written.

    :raises TransportError: `wrong-format`, `hidden`. Full: there is no room.
    """
    _check_format(connection, found, library)
    unwanted = hiding(library.others)
    hidden = connection.ask(f"[path for path in {unwanted!r} if _there(path)]")
    if hidden:
        message = (
            f"{connection.port}: {hidden[0]} on the board would be imported in place of the "
            f"recorder's: remove it (mpremote rm -r :{hidden[0]}); nothing was changed"
        )
        raise TransportError("hidden", message)
    old, new, left = (connection.files(folder) for folder in (LIBRARY, NEW, OLD))
    wanted = {path: sha256(data) for path, data in library.files.items()}
    names = list(library.others)
    there = connection.ask(f"[_there(path) and _hash(path) for path in {names!r}]")
    others = [
        path
        for path, digest in zip(names, there, strict=True)
        if digest != sha256(library.others[path])
    ]
    leftovers = connection.ask(f"[path for path in {[NEW, OLD]!r} if _there(path)]")
    if _hashes(old, LIBRARY) == wanted:
        return Plan(library, there=True, beside=True, others=others, leftovers=leftovers)
    beside = _plan(library, wanted, old, new, beside=True)
    room = _room(found, [left, _wrong(new, NEW, wanted)])
    if not old or _need(beside, found, others) <= room:
        made = beside
    else:
        made = _plan(library, wanted, {}, _moved(old), beside=False)
        room = _room(found, [left, new, _wrong(old, LIBRARY, wanted)])
    made.others, made.leftovers = others, leftovers
    missing = _need(made, found, others) - room
    if missing > 0:
        message = (
            f"{connection.port}: the board's flash is full: the recorder needs "
            f"{missing // KIB + 1:,} KiB more than its {found.free_bytes // KIB:,}; "
            "nothing was changed"
        )
        raise Full("full-flash", message)
    return made


def install(
    connection: Connection, plan: Plan, progress: Callable[[int], None] = lambda _count: None
) -> None:
    """Do what was planned, on the connection that it was planned on."""
    if plan.done:
        return
    for path in plan.others:
        connection.put(path, plan.library.others[path], progress)
    if plan.there:
        for folder in plan.leftovers:
            connection.run(f"_remove({folder!r})")
        return
    try:
        _fill(connection, plan, progress)
    except Full as error:
        raise _filled(connection, plan) from error
    wanted = {path: sha256(data) for path, data in plan.library.files.items()}
    if _hashes(connection.files(NEW), NEW) != wanted:
        message = f"{connection.port}: what was written is not what the board reads: run this again"
        raise TransportError("damaged", message)
    connection.run(
        f"if _there({LIBRARY!r}): os.rename({LIBRARY!r}, {OLD!r})\n"
        f"os.rename({NEW!r}, {LIBRARY!r})\n"
        f"_remove({OLD!r})"
    )


def _fill(connection: Connection, plan: Plan, progress: Callable[[int], None]) -> None:
    files = plan.library.files
    connection.run(COPY)
    connection.run(f"_remove({OLD!r})")
    if not plan.beside:
        # From here on there is no library until the end.
        connection.run(
            f"if _there({LIBRARY!r}):\n _remove({NEW!r})\n os.rename({LIBRARY!r}, {NEW!r})"
        )
    connection.go([(f"_remove({NEW + '/' + path!r})", 0) for path in plan.remove])
    folders = {path.rpartition("/")[0] + "/" for path in files}
    connection.go([(f"_folders({NEW + '/' + folder!r})", 0) for folder in sorted(folders)])
    connection.go(
        [(f"_copy({LIBRARY + '/' + path!r}, {NEW + '/' + path!r})", 0) for path in plan.copy]
    )
    steps = (step for path in plan.write for step in writing(f"{NEW}/{path}", files[path]))
    connection.go(steps, progress)


def _filled(connection: Connection, plan: Plan) -> Full:
    # Other programs write too, and estimates may be wrong: the old library stays whole then.
    if not plan.beside:
        what = "it has no recorder now: make room, then run this again"
    else:
        connection.run(f"_remove({NEW!r})")
        what = "what was written is removed again, and nothing else was changed"
    return Full("full-flash", f"{connection.port}: the board's flash is full; {what}")


def _plan(
    library: Library, wanted: dict[str, str], old: Files, new: Files, *, beside: bool
) -> Plan:
    have, begun = _hashes(old, LIBRARY), _hashes(new, NEW)
    right = {path for path in wanted if begun.get(path) == wanted[path]}
    missing = [path for path in wanted if path not in right]
    copy = [path for path in missing if have.get(path) == wanted[path]]
    write = [path for path in missing if have.get(path) != wanted[path]]
    remove = [path for path in begun if path not in right]
    return Plan(library, there=False, beside=beside, remove=remove, copy=copy, write=write)


def _hashes(files: Files, folder: str) -> dict[str, str]:
    return {
        path[len(folder) + 1 :]: digest
        for path, (_, digest) in files.items()
        if not path.endswith("/")
    }


def _moved(files: Files) -> Files:
    return {NEW + path[len(LIBRARY) :]: value for path, value in files.items()}


def _wrong(files: Files, folder: str, wanted: dict[str, str]) -> Files:
    """Those that give way."""
    return {
        path: (size, digest)
        for path, (size, digest) in files.items()
        if digest and wanted.get(path[len(folder) + 1 :]) != digest
    }


def _blocks(size: int, block: int) -> int:
    return max(1, -(-size // block))


def _need(plan: Plan, found: Found, others: list[str]) -> int:
    """Bytes of flash that writing takes, at most."""
    block = found.block_bytes
    data = [plan.library.files[path] for path in [*plan.copy, *plan.write]]
    data += [plan.library.others[path] for path in others]
    folders = {path.rpartition("/")[0] for path in [*plan.copy, *plan.write, *others]}
    blocks = sum(_blocks(len(one), block) for one in data) + MARGIN_BLOCKS
    return block * (blocks + FOLDER_BLOCKS * (len(folders) + len(data) // ENTRIES_A_PAIR))


def _room(found: Found, given: list[Files]) -> int:
    """Bytes of flash that are free, or become free when these files are removed."""
    block = found.block_bytes
    gone = [size for files in given for size, digest in files.values() if digest]
    return found.free_bytes + block * sum(_blocks(size, block) for size in gone)


def _check_format(connection: Connection, found: Found, library: Library) -> None:
    for path, data in library.files.items():
        if not path.endswith(".mpy"):
            continue
        # Byte 1 is the format's version; byte 2 has the architecture above its lowest two bits,
        # 0 where there is no machine code.
        architecture = data[2] >> 2
        if data[1] != found.mpy & 0xFF or architecture not in {0, found.mpy >> 10 & 0x3F}:
            message = (
                f"{connection.port}: MicroPython {found.version_text} there cannot read the "
                f"library's compiled files (format {data[1]}, the board reads "
                f"{found.mpy & 0xFF}): put a newer MicroPython on it; nothing was changed"
            )
            raise TransportError("wrong-format", message)
