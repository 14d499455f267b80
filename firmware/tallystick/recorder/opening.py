# Recorder.open(): configuration, key, journal.  Loaded once; a microcontroller forgets it, and what
# only it needed, before the first decision.

import sys

from tallystick.evidence import keys
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError
from tallystick.evidence.statement import prepare
from tallystick.recorder import config as configuration
from tallystick.recorder import epochs, identity
from tallystick.recorder.checkpointing import Policy
from tallystick.recorder.clock import SystemClock
from tallystick.recorder.files import MICROPYTHON, Files
from tallystick.recorder.health import Health
from tallystick.recorder.journal import Journal
from tallystick.recorder.ledger import Forms, Ledger, NoLock
from tallystick.recorder.replay import open_journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

# A journal file is freed, read at boot and repaired as a whole, so it is small on a device.
FILE_BYTES = 32768 if MICROPYTHON else 262144
FILE_BYTES_MIN = 2048
FILES_MIN = 8
JOURNAL_BYTES_MAX = 1 << 30
JOURNAL_SHARE = 4  # three quarters of the free space at the first start
# What nothing needs any more once a recorder is open.
FORGOTTEN = (
    "tallystick.recorder.opening",
    "tallystick.recorder.config",
    "tallystick.recorder.identity",
    "tallystick.recorder.replay",
    "tallystick.recorder.walking",
    "tallystick.recorder.repair",
    "tallystick.recorder.epochs",
    "tallystick.evidence.statement",
    "tallystick.evidence.cose",
)


def open_all(
    source: "Any", signer: "Any", clock: "Any", files: Files | None
) -> "tuple[dict[str, Any], Ledger, list[bytes]]":
    """(configuration, ledger, credential)."""
    config = configuration.load(source)
    if signer is None:
        from tallystick.hw.signer import Signer  # noqa: PLC0415  # may be given

        signer = Signer.from_uri(config["key"])
    credential = identity.read_credential(config["credential"])
    key = signer.public_key()
    device = identity.device_id(credential, config["fleet"], key)
    config["digest"] = _digest(config)
    if config["firmware"] is not None:
        from binascii import unhexlify  # noqa: PLC0415  # once

        config["firmware"] = unhexlify(config["firmware"])
    try:
        files = files or Files(config["journal"])
        ledger = _open_ledger(config, device, key, signer, clock, files)
    except OSError as error:
        raise TallyError("no-journal", "journal %s: %s" % (config["journal"], error))
    return config, ledger, credential


def _open_ledger(
    config: "dict[str, Any]",
    device: bytes,
    key: "PublicKey",
    signer: "Any",
    clock: "Any",
    files: Files,
) -> Ledger:
    bytes_max = config["journal_bytes"]
    if bytes_max is None:
        space = files.space()
        bytes_max = min(space - space // JOURNAL_SHARE, JOURNAL_BYTES_MAX)
    journal = Journal(
        files, bytes_max, min(FILE_BYTES, max(bytes_max // FILES_MIN, FILE_BYTES_MIN))
    )
    found = open_journal(journal)
    if found is not None:
        epochs.check_owner(found, device, files.folder)
    policy = Policy(
        config["checkpoint_records"],
        int(config["checkpoint_s"] * configuration.MS_PER_S),
        int(config["interval_s"] * configuration.MS_PER_S),
    )
    ledger = Ledger(
        journal,
        found or epochs.first_log(device),
        _forms(key, config["fleet"], keys.device_text(device)),
        signer,
        clock or SystemClock(config["clock_uncertainty_ms"]),
        policy,
        Health(),
        _lock(),
    )
    if journal.damage:
        ledger.fault("journal", "damaged", event=False)
        epochs.begin(ledger, "damaged", epochs.head_of(ledger.log))
    elif found is None:
        epochs.begin(ledger, "new", None)
    epochs.boot(ledger, config)
    if journal.unreadable:
        ledger.fault("journal", "unreadable")
    if journal.torn_bytes and not journal.damage:
        # What was torn was never synced, so nobody can say how many records it was.
        ledger.event("gap", {"dropped": 0, "reason": "torn"})
    return ledger


def _lock() -> "Any":
    if MICROPYTHON:
        return NoLock()
    from threading import RLock  # noqa: PLC0415  # CPython's

    return RLock()


def _forms(key: "PublicKey", iss: str, sub: str) -> Forms:
    # Taken from a checkpoint that is never sent: both end with payload and signature.
    payload = b"p"
    unsigned = prepare(key, iss, sub, payload)
    signature = bytes(64)
    signed = unsigned.finish(signature)
    cut = len(signed) - len(signature)
    # A byte string of 64 bytes has a head of two bytes, one of 1 byte a head of one.
    return Forms(unsigned.to_be_signed[:-2], signed[: cut - 4], signed[cut - 2 : cut])


def _digest(config: "dict[str, Any]") -> bytes:
    # Numbers as text: seconds may be floats, and JSON has them too.
    parts = ["%s=%s" % (name, config[name]) for name in sorted(configuration.KEYS)]
    return sha256("\n".join(parts).encode())


def forget() -> None:
    """Give the heap of what is not needed any more back; it is loaded again when it is."""
    for name in FORGOTTEN:
        if name in sys.modules:
            del sys.modules[name]
        package, _, child = name.rpartition(".")
        parent = sys.modules.get(package)
        if parent is not None and hasattr(parent, child):
            delattr(parent, child)
