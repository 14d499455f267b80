# What the log says when a recorder was opened: the boot, and what is not as it was at the last one.
# Loaded once, and forgotten again.

import sys
from binascii import hexlify, unhexlify
from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.files import Files
    from tallystick.recorder.ledger import Ledger

MICROPYTHON = sys.implementation.name == "micropython"
# Bytes and not texts: MicroPython keeps each text of a program in its heap for good.
# In the journal's folder: what the last boot was like, one line.  Nothing depends on it; without it
# a change is not seen.
ABOUT = b"about"
PARTS = 5
ABOUT_BYTES_MAX = 512
NONE = "-"
NAME_BYTES_MAX = 64
HEX_SIZE = 64
BLOCK = 512
# Drawn by Linux at each start of the system.
BOOT_ID = b"/proc/sys/kernel/random/boot_id"
# The constants of a board's `machine`, and what they are here.
CAUSES = (
    b"PWRON_RESET power-on HARD_RESET hard-reset WDT_RESET watchdog"
    b" DEEPSLEEP_RESET deep-sleep SOFT_RESET soft-reset"
)
# What `tally device flash` leaves beside the library, and where a board has its program.
LIBRARY = b"/firmware.txt"
PROGRAM = b"/main.py"


def look(
    ledger: "Ledger",
    config: "dict[str, Any]",
    key: "tuple[str, bytes]",
    new_key: bool,  # noqa: FBT001  # of newkey.py
) -> "list[Any]":
    """More details of `boot`; then (event, details) of another key and of other settings."""
    # They are recorded by the caller, since a small heap has not room for this and what encodes.
    files = ledger.journal.files
    driver, thumbprint = key
    custody = getattr(ledger.signer, "custody", "") or NONE
    now = [_hex(config["digest"]), _hex(thumbprint), driver, custody, _boot_id()]
    last = _last(files)
    said = _cause(last[4] if last else NONE, now[4])
    config["firmware"] = (_firmware(config["firmware"]), said)
    told: "list[Any]" = [{"runtime": _runtime(), "key": [driver, _or_none(custody)]}]
    if new_key or (last and last[1:4] != now[1:4]):
        details = {"thumbprint": thumbprint, "driver": driver}
        if custody != NONE:
            details["custody"] = custody
        told.append(("key", details))
    if last and last[0] != now[0]:
        told.append(("config", {"digest": config["digest"], "previous": unhexlify(last[0])}))
    if last != now:
        try:
            _keep(files, now)
        except OSError as error:
            ledger.fault("flash", "write", error)
    return told


def _or_none(custody: str) -> str | None:
    return None if custody == NONE else custody


def _hex(data: bytes) -> str:
    return hexlify(data).decode()


def _last(files: "Files") -> "list[str]":
    try:
        with files.reading(ABOUT.decode()) as file:
            text = file.read(ABOUT_BYTES_MAX).decode()
    except (OSError, ValueError):
        return []
    parts: list[str] = text.split()
    # A torn one tells nothing.
    whole = text[-1:] == "\n" and len(parts) == PARTS and len(parts[0]) == HEX_SIZE
    return parts if whole else []


def _keep(files: "Files", now: "list[str]") -> None:
    files.remove(ABOUT.decode())
    with files.appending(ABOUT.decode()) as file:
        files.write(file, (" ".join(now) + "\n").encode())


def _boot_id() -> str:
    try:
        with open(BOOT_ID.decode()) as file:
            return file.read().strip() or NONE
    except OSError:
        return NONE


def _cause(last: str, now: str) -> str:
    """Why this began: by the board, or by Linux's word for the last start and for this one."""
    try:
        import machine  # noqa: PLC0415  # a board's

        asked = machine.reset_cause()
        words = CAUSES.decode().split()
        for at in range(0, len(words), 2):
            if getattr(machine, words[at], None) == asked:
                return words[at + 1]
    except (ImportError, AttributeError):
        pass
    if NONE in (last, now):
        return "start"
    return "restart" if last == now else "system-start"


def _runtime() -> "list[str]":
    """[interpreter, its version, what it runs on]."""
    said = sys.implementation
    version = ".".join([str(part) for part in said.version[:3]])
    if MICROPYTHON:
        place = getattr(said, "_machine", sys.platform)
    else:
        from os import uname  # noqa: PLC0415  # CPython's

        place = "%s %s" % (sys.platform, uname().machine)
    return [said.name, version, place.encode()[:NAME_BYTES_MAX].decode()]


def _firmware(configured: bytes | None) -> bytes | None:
    """The digest of library and program: as configured, else as far as it can be told."""
    if configured is not None:
        return configured
    if not MICROPYTHON:
        from tallystick.recorder.measuring import measure  # noqa: PLC0415  # CPython's

        return measure()
    # A folder without __init__.py has its place as a text.
    place = getattr(sys.modules.get("tallystick"), "__path__", "")
    try:
        with open(place + LIBRARY.decode()) as file:
            library = file.read(HEX_SIZE)
    except OSError:
        return None
    if len(library) != HEX_SIZE:
        return None
    text = (library + "  tallystick\n").encode()
    try:
        text = _hashed() + text
    except OSError:
        pass
    return sha256(text).digest()


def _hashed() -> bytes:
    # The program's line of sha256sum; its name comes before the library's.
    program = PROGRAM.decode()
    digest = sha256()
    with open(program, "rb") as file:
        while True:
            block = file.read(BLOCK)
            if not block:
                break
            digest.update(block)
    return (_hex(digest.digest()) + "  " + program[1:] + "\n").encode()
