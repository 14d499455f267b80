# Recorder.open(): configuration, key, journal, one after another.  A microcontroller forgets each
# part before the next one, and all of it before the first decision, so that 64 KiB are enough.

from tallystick.evidence.errors import TallyError
from tallystick.recorder.files import MICROPYTHON, Files, forget, preload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.core import Forms, Log
    from tallystick.recorder.journal import Journal
    from tallystick.recorder.ledger import Ledger

# A journal file is freed, read at boot and repaired as a whole, so it is small on a device.
FILE_BYTES = 32768 if MICROPYTHON else 262144
FILE_BYTES_MIN = 2048
FILES_MIN = 8
# Each file takes some 60 bytes of heap as long as it is kept.
FILES_MAX = 32 if MICROPYTHON else 4096
JOURNAL_BYTES_MAX = 1 << 30
JOURNAL_SHARE = 4  # three quarters of the free space at the first start
MS_PER_S = 1000
# Loaded first, so that what is forgotten leaves its room in one piece behind them.
LASTING = ("evidence.cbor", "evidence.tree", "recorder.core", "recorder.journal")
# By the scheme of the key's URI: what signs, while the rest of its driver is forgotten.
KEPT_OF_DRIVERS = {"file": ("hw.software_key",), "atecc608": ("hw.atecc608", "hw.atecc608_counter")}
# What nothing needs any more once its part is done.
CONFIGURED = ("recorder.config",)
IDENTIFIED = (
    "recorder.identity",
    "evidence.root",
    "evidence.keys",
    "hw.file_key",
    "hw.atecc608_open",
    "hw.atecc608_commands",
    "hw.signer",
)
READ = (
    "recorder.replay",
    "recorder.giving",
    "recorder.walking",
    "evidence._cborreader",
    "evidence._text",
)
OPENED = (
    "recorder.opening",
    "recorder.epochs",
    "recorder.filing",
    "recorder.newkey",
    "evidence.eventwriter",
    "evidence._cborreader",
    "evidence._shape",
    "evidence._text",
    "evidence._wire",
)


def open_all(
    source: "Any", signer: "Any", clock: "Any", files: Files | None
) -> "tuple[dict[str, Any], Ledger | None, list[bytes]]":
    """(configuration, ledger, credential); no ledger where the configuration is `off`."""
    preload(LASTING)
    config = _configure(source)
    forget(CONFIGURED)
    if "off" in config:
        return config, None, []
    if signer is None:
        preload(KEPT_OF_DRIVERS.get(config["key"].partition(":")[0], ()))
    signer, key, device, forms, credential = _identify(config, signer)
    forget(IDENTIFIED)
    locked = ledger = None
    try:
        files = files or Files(config["journal"])
        files.lock()
        locked = files
        journal, found = _open_journal(config, files, device)
        forget(READ)
        ledger = _open_ledger(config, journal, found, device, forms, signer, clock, key)
    except OSError as error:
        raise TallyError("no-journal", "journal %s: %s" % (config["journal"], error))
    finally:
        if ledger is None and locked is not None:
            locked.unlock()
    forget(OPENED)
    return config, ledger, credential


def _configure(source: "Any") -> "dict[str, Any]":
    from tallystick.recorder import config as configuration  # noqa: PLC0415  # forgotten again

    config = configuration.load(source)
    if "off" in config:
        return config
    if config["firmware"] is not None:
        from binascii import unhexlify  # noqa: PLC0415  # once

        config["firmware"] = unhexlify(config["firmware"])
    return config


def _identify(
    config: "dict[str, Any]", signer: "Any"
) -> "tuple[Any, tuple[str, bytes], bytes, Forms, list[bytes]]":
    from tallystick.recorder import identity  # noqa: PLC0415  # forgotten again

    driver = "program"
    if signer is None:
        driver = config["key"].partition(":")[0]
        from tallystick.hw.signer import Signer  # noqa: PLC0415  # may be given

        signer = Signer.from_uri(config["key"])
    credential = identity.read_credential(config["credential"])
    identity.check_roots(config["roots"])
    key = signer.public_key()
    device = identity.device_id(credential, config["fleet"], key)
    from tallystick.evidence.keys import device_text  # noqa: PLC0415  # forgotten again

    config["device"] = device_text(device)
    # The enrolment promises it to everyone; a device's own setting can only be shorter.
    promised = identity.interval_s(credential)
    if promised and config["interval_s"] > promised:
        config["interval_s"] = promised
    forms = identity.forms(key, config["fleet"], config["device"])
    if len(credential) > 1:
        forms = identity.rekeyed(forms, credential, config)
    return signer, (driver, key.thumbprint()), device, forms, credential


def _open_journal(
    config: "dict[str, Any]", files: Files, device: bytes
) -> "tuple[Journal, Log | None]":
    from tallystick.recorder.journal import Journal  # noqa: PLC0415  # in turn
    from tallystick.recorder.replay import open_journal  # noqa: PLC0415  # forgotten again

    bytes_max = config["journal_bytes"]
    if bytes_max is None:
        space = files.space()
        bytes_max = min(space - space // JOURNAL_SHARE, JOURNAL_BYTES_MAX)
    file_bytes = min(FILE_BYTES, max(bytes_max // FILES_MIN, FILE_BYTES_MIN))
    file_bytes = max(file_bytes, bytes_max // FILES_MAX)
    journal = Journal(files, bytes_max, file_bytes)
    journal.refuses = config["full"] == "refuse"
    return journal, open_journal(journal, device)


def _open_ledger(
    config: "dict[str, Any]",
    journal: "Journal",
    found: "Log | None",
    device: bytes,
    forms: "Forms",
    signer: "Any",
    clock: "Any",
    key: "tuple[str, bytes]",
) -> "Ledger":
    from tallystick.recorder import epochs  # noqa: PLC0415  # forgotten again
    from tallystick.recorder.checkpointing import Policy  # noqa: PLC0415  # in turn
    from tallystick.recorder.clock import SystemClock  # noqa: PLC0415  # in turn
    from tallystick.recorder.health import Health  # noqa: PLC0415  # in turn
    from tallystick.recorder.ledger import Ledger  # noqa: PLC0415  # in turn

    policy = Policy(
        config["checkpoint_records"],
        int(config["checkpoint_s"] * MS_PER_S),
        int(config["interval_s"] * MS_PER_S),
    )
    ledger = Ledger(
        journal,
        found or epochs.first_log(device),
        forms,
        signer,
        clock or SystemClock(config["clock_uncertainty_ms"]),
        policy,
        Health(),
        _lock(),
        config["buffer_bytes"],
    )
    if ledger.log.unsealed:
        # What was left without a checkpoint waits no longer than what is recorded now.
        policy.added(ledger.clock.uptime_ms())
    if journal.damage:
        ledger.fault("journal", "damaged")
        # What it knew of the counter may be as old as what is left of it.
        ledger.log.intent = None
        epochs.begin(ledger, "damaged", epochs.head_of(ledger.log))
    elif found is None:
        epochs.begin(ledger, "new", None)
    new_key = False
    if "rekeyed" in config:
        from tallystick.recorder import newkey  # noqa: PLC0415  # after a rotation only

        new_key = newkey.begin(ledger, forms, config["rekeyed"])  # type: ignore[arg-type]  # its own
        del newkey
    told = _look(ledger, config, key, new_key)
    epochs.boot(ledger, config, told[0])
    for name, details in told[1:]:
        ledger.event(name, details)
    if journal.unreadable:
        ledger.fault("journal", "unreadable")
    if journal.torn_bytes and not journal.damage:
        # What was torn was never synced, so nobody can say how many records it was.
        ledger.event("gap", {"dropped": 0, "reason": "torn"})
    while ledger.write():
        pass
    return ledger


def _look(
    ledger: "Ledger",
    config: "dict[str, Any]",
    key: "tuple[str, bytes]",
    new_key: bool,  # noqa: FBT001  # of newkey.py
) -> "list[Any]":
    # One after another: a small heap has not room for this and what encodes events.
    forget(("recorder.newkey", "evidence.eventwriter"))
    from tallystick.recorder import booting  # noqa: PLC0415  # forgotten again

    try:
        return booting.look(ledger, config, key, new_key)
    finally:
        del booting
        forget(("recorder.booting",))


def _lock() -> "Any":
    if not MICROPYTHON:
        from threading import RLock  # noqa: PLC0415  # CPython's

        return RLock()
    from tallystick.recorder.ledger import NoLock  # noqa: PLC0415  # in turn

    return NoLock()
