# claim(): loaded when it is called, and its parts one after another, so that a microcontroller
# needs room for one of them only.

from tallystick.evidence.cbor import encode, head
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.kinds import CHECKPOINT, HALF
from tallystick.evidence.limits import (
    CHECKPOINT_BYTES_MAX,
    HALF_BYTES_MAX,
    RECORD_DEVICE_BYTES_MAX,
)
from tallystick.recorder.files import MICROPYTHON, Loaded
from tallystick.recorder.handle import Handle, add_sealed, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.deviceprofile import DeviceProfile
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

# What a claim says beside the fields of its profile.
WORDS = ("task", "interaction", "relied", "constraints", "interval")
# Of a half beside record and path: checkpoint, salt, credential's digest, framing.
HALF_ROOM_BYTES = 640
HASH_BYTES = 34
SUFFIX = ".cbor"
# ENOENT and ENOTDIR; what else open() says is a fault of the flash.
MISSING = (2, 20)
PROFILE_CODE = ("evidence.deviceprofile",)
CLAIM_CODE = (
    "evidence.claim",
    "evidence.ids",
    "evidence._text",
    "evidence._shape",
    "evidence._wire",
    "evidence._comparing",
    "evidence._cborreader",
    "evidence.half",
    "evidence._reading",
    "evidence.leaf",
)
# Put together beforehand: where it is forgotten there may be no room to do so.
CODE = PROFILE_CODE + CLAIM_CODE


def claim(
    tally: "Recorder",
    profile: str,
    role: str,
    name: str,
    peers: "dict[str, Any]",
    wait: bool,  # noqa: FBT001  # a word of the interface
    fields: "dict[str, Any]",
) -> "Any":
    """See Recorder.claim."""
    task, interaction, relied, constraints, interval = [fields.pop(word, None) for word in WORDS]
    if (task is None) == (interaction is None):
        raise Malformed("bad-value", "a claim needs a task, or an interaction of 16 bytes")
    if not tally._credential:
        raise CouldNotCheck("not-enrolled", "claims need the credential of an enrolled device")
    handle = Handle()
    code = Loaded(CODE)
    try:
        digest, fields, rules, roles = _by_profile(
            tally, profile, role, name, fields, constraints or {}
        )
        code.forget(PROFILE_CODE)
        record = _record(
            tally,
            (task if task is not None else interaction, digest, role, name, fields),
            rules,
            _parties(tally._ledger, roles, role, peers),
            _interval(tally._ledger, interval),
            list(relied or ()),
        )
        code.forget(CLAIM_CODE)
        _seal(tally, record, handle)
    except OSError as error:
        # The flash's fault, not the caller's: seen in health, and in the log as a gap.
        tally._ledger.fault("flash", "profile", error)
        tally._ledger.refuse("flash")
        handle.lose("flash")
    except MemoryError:
        handle.lose("memory")
    code.forget(CODE)
    if handle.fault == "memory":
        tally._ledger.starved("claim")
    if not wait:
        if not MICROPYTHON:
            tally.wake()
        return handle
    return handle.result() if wait_for(tally, handle) else b""


# Each part in a function of its own, so that nothing of it stays in a variable.


def _profile(ledger: "Ledger", folder: str | None, name: str) -> "DeviceProfile":
    # The device profile `name@version`, from its file.
    from tallystick.evidence.deviceprofile import parse  # noqa: PLC0415  # forgotten again

    if type(name) is not str or "/" in name or folder is None:
        raise Malformed("bad-value", "no folder of profiles is configured, or a bad name")
    try:
        with open(folder + "/" + name + SUFFIX, "rb") as file:
            data = file.read()
    except OSError as error:
        if error.errno in MISSING:
            raise Malformed("bad-value", "profile %s is not provisioned on this device" % name)
        raise
    try:
        profile = parse(data)
    except Malformed as error:
        raise OSError(5, "profile %s is damaged: %s" % (name, error))
    if "%s@%d" % (profile.name, profile.version) != name:
        raise Malformed("bad-value", "the file of profile %s holds another one" % name)
    ledger.works("flash:profile")
    return profile


def _by_profile(
    tally: "Recorder",
    profile_name: str,
    role: str,
    claim: str,
    fields: "dict[str, Any]",
    constraints: "dict[str, Any]",
) -> "tuple[bytes, dict[str, Any], dict[str, Any], tuple[str, ...]]":
    # (the profile's digest, canonical fields, rules with units, roles).
    profile = _profile(tally._ledger, tally._config["profiles"], profile_name)
    canonical = profile.fields(role, claim, fields)
    units = profile.rules(role, claim)
    rules = {}
    for name, rule in constraints.items():
        # The profile's unit stands where the caller gives none.
        unit = units[name][1] if name in units else None
        rules[name] = rule + (unit,) if type(rule) is tuple and len(rule) == 2 else rule
    return profile.digest, canonical, rules, tuple(profile.claims)


def _record(
    tally: "Recorder",
    words: "tuple[Any, ...]",
    rules: "dict[str, Any]",
    parties: dict[str, list[bytes]],
    interval: list[int] | None,
    relied: "list[Any]",
) -> bytes:
    from tallystick.evidence.claim import Claim, check_parties, declare  # noqa: PLC0415  # as above

    interaction, digest, role, name, fields = words
    record = Claim(
        tally._clock.uptime_ms(),
        tally._config["namespace"],
        interaction,
        digest,
        role,
        name,
        fields,
        declare(fields, rules),
        check_parties(parties),
        interval,
        sorted(set([_reference(one) for one in relied])),  # noqa: C403  # costs less code there
    ).encode()
    if len(record) > RECORD_DEVICE_BYTES_MAX:
        raise Malformed("too-large", "a record is longer than 4096 bytes")
    # Before anything is recorded: the path of the newest leaf is the edge of the tree before it,
    # of a hash for each bit that is set in its index.
    ledger = tally._ledger
    path = bin(ledger.log.tree.size + ledger.queued()).count("1")
    if len(record) + HALF_ROOM_BYTES + HASH_BYTES * path > HALF_BYTES_MAX:
        raise Malformed("too-large", "a claim whose half would be longer than 4000 bytes")
    return record


def _parties(
    ledger: "Ledger", roles: tuple[str, ...], role: str, peers: "dict[str, Any]"
) -> dict[str, list[bytes]]:
    from tallystick.evidence._text import device_from_text  # noqa: PLC0415  # forgotten again

    if type(peers) is not dict:
        raise Malformed("bad-type", "peers is a dict of role to id or list of ids")
    parties: dict[str, list[bytes]] = {}
    for name, given in peers.items():
        if name not in roles:
            # It would only come out as a verdict that nobody wants.
            raise Malformed("bad-value", "peers: the profile has no role %r" % name)
        ids = list(given) if type(given) in (list, tuple) else [given]
        parties[name] = [device_from_text(one) if type(one) is str else one for one in ids]
    mine = parties.setdefault(role, [])
    if ledger.device not in mine:
        mine.append(ledger.device)
    for ids in parties.values():
        ids.sort()
    return parties


def _interval(ledger: "Ledger", given: "tuple[int, ...] | None") -> list[int] | None:
    wall = ledger.clock.wall()
    if given is None:
        # The moment of the call, where the clock is set.
        return [wall[0], wall[0], wall[1]] if wall else None
    if type(given) not in (tuple, list) or not 2 <= len(given) <= 3:
        raise Malformed("bad-type", "interval is (begin_ms, end_ms[, uncertainty_ms])")
    return list(given) + ([wall[1] if wall else 0] if len(given) == 2 else [])


def _reference(relied: "Any") -> bytes:
    if type(relied) is bytes and len(relied) == 32:
        return relied
    if type(relied) is bytes:
        from tallystick.evidence import ids  # noqa: PLC0415  # rarely
        from tallystick.evidence._reading import Read  # noqa: PLC0415  # rarely
        from tallystick.evidence.half import parse  # noqa: PLC0415  # rarely
        from tallystick.evidence.leaf import leaf  # noqa: PLC0415  # rarely

        half = parse(relied)
        read = Read(half.checkpoint, CHECKPOINT, CHECKPOINT_BYTES_MAX)
        return ids.claim_reference(
            read.device, read.values[0], half.index, leaf(half.salt, half.record)
        )
    reference: "Any" = getattr(relied, "reference", None)
    if type(reference) is not bytes:
        raise Malformed("bad-type", "relied holds halves, accepted halves or references")
    return reference


def _seal(tally: "Recorder", record: bytes, handle: Handle) -> None:
    handle.make = lambda checkpoint: _half(record, handle, checkpoint, tally._credential)
    if tally._refuse is not None:
        tally._refuse(tally._ledger, record)
    add_sealed(tally._ledger, record, handle)


def _half(record: bytes, handle: Handle, checkpoint: bytes, credential: list[bytes]) -> bytes:
    # The array of evidence/half.py, without what parses it; a test reads it back.
    index, salt, path = handle.place
    half = encode([HALF, record, salt, index, path, checkpoint, credential])
    if len(half) > HALF_BYTES_MAX:
        # Too large with the whole credential: its digest, for a receiver that has it.
        half = encode([HALF, record, salt, index, path, checkpoint, _digest(credential[-1])])
    return half


def _digest(statement: bytes) -> bytes:
    # Of our own statement: SHA-256 over its Sig_structure (RFC 9052, section 4.4).
    from tallystick.evidence.cbor import decode  # noqa: PLC0415  # rarely

    protected, _, payload, _ = decode(statement[1:])
    message = b"\x84\x6aSignature1" + head(2, len(protected)) + protected
    return sha256(message + b"\x40" + head(2, len(payload)) + payload)
