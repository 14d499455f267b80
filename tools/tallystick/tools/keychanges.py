"""Rotation, replacement and revocation: what a fleet root signs of its members (protocol, 5.2).

What is signed is appended to the member's credential in the fleet's folder. Validators log it when
it reaches them: `publish` here, gateways by their enrolments folder, devices by their hello.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.evidence import cbor, checkpoint, enrolmentrequest, keychange, keycustody
from tallystick.evidence import keys as keys_of
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.enrolment import CUSTODIES, CUSTODY_SOFTWARE
from tallystick.evidence.errors import CouldNotCheck, Malformed, Unverified
from tallystick.evidence.keychange import REASONS, Replacement, Revocation, Rotation
from tallystick.evidence.keys import b64u, device_text, from_b64u
from tallystick.evidence.kinds import KEY_CHANGE
from tallystick.evidence.limits import CREDENTIAL_STATEMENTS_MAX, STATEMENT_BYTES_MAX
from tallystick.hw.signer import Signer
from tallystick.recorder.files import Files
from tallystick.recorder.journal import Journal
from tallystick.recorder.replay import open_journal
from tallystick.tools import chipslots
from tallystick.tools.fleetdir import Fleet, Member, read_credential, uncounted, write_private
from tallystick.tools.provision import CONFIGS

if TYPE_CHECKING:
    from tallystick.tools.api import ValidatorApi

Head = list[Any]  # [epoch, size, root]

PUBLISHED_AT_ONCE_MAX = 64
ROTATION_FIELDS = 10
JOURNAL_BYTES_MAX = 1 << 40
DAY_MS = 86_400_000
REQUEST_DAYS_MAX = 30


def now_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


# --- members ------------------------------------------------------------------------------------


def find(fleet: Fleet, name: str) -> Member:
    """A member by its label, by KIND/LABEL, or by its id."""
    found = [
        member
        for member in fleet.members()
        if name in {member.label, f"{member.kind}/{member.label}", member.id_text}
    ]
    if not found:
        raise Malformed("bad-value", f"no member {name!r}; see `tally fleet list {fleet.path}`")
    if len(found) > 1:
        kinds = " or ".join(f"{member.kind}/{member.label}" for member in found)
        raise Malformed("bad-value", f"{name!r} is more than one: say {kinds}")
    return found[0]


def _append(fleet: Fleet, member: Member, statement: bytes) -> Member:
    """The member with its longer credential, verified before it is written."""
    statements = [*read_credential(member.credential_path).statements, statement]
    if len(statements) > CREDENTIAL_STATEMENTS_MAX:
        raise Malformed(
            "too-large",
            f"{member.label} has {CREDENTIAL_STATEMENTS_MAX} statements, no more fit: enrol it "
            "anew and let the new id replace this one (`tally fleet replace`)",
        )
    verify_credential(Credential(statements), {fleet.name: fleet.key}, None)
    write_private(member.credential_path, cbor.encode(statements))
    return fleet.member(member.kind, member.label)


# --- rotation -------------------------------------------------------------------------------------


def make_rotation(
    old: Signer,
    new: Signer,
    iss: str,
    id_: bytes,
    head: Head | None,
    previous: bytes | None = None,
    *,
    as_software: bool = False,
) -> Rotation:
    """What both keys sign; the fleet root still has to. Blocks.

    `previous`: the digest of the newest key change in the credential, None before the first;
    `as_software`: claim no custody, where there is no evidence for it.
    """
    asked = enrolmentrequest.make(new, iss, id_)
    custody, evidence = (CUSTODY_SOFTWARE, []) if as_software else (asked.custody, asked.evidence)
    return keychange.rotate(old, new, iss, id_, custody, evidence, head, now_ms(), previous)


def request_bytes(rotation: Rotation) -> bytes:
    """The file that a device sends to its fleet root."""
    return cbor.encode(rotation.values())


def parse_request(data: bytes) -> Rotation:
    """A request for a rotation, as received: nothing of it is verified."""
    what = "no request for a rotation; `tally key rotate-request` makes one"
    if len(data) > STATEMENT_BYTES_MAX:
        raise Malformed("too-large", what)
    try:
        return _rotation(cbor.decode(data))
    except Malformed as error:
        raise Malformed(error.reason, f"{what}: {error.message}") from error


def _rotation(values: Any) -> Rotation:
    if not isinstance(values, list) or values[:2] != [KEY_CHANGE, keychange.ROTATION]:
        raise Malformed("unknown-kind", "the first elements are not those of a rotation")
    fields = values[2:]
    if len(fields) != ROTATION_FIELDS:
        raise Malformed("bad-value", f"it has not {ROTATION_FIELDS} fields")
    fields[2] = keys_of.from_cose_key(fields[2])
    return Rotation(*fields)


def sign_rotation(fleet: Fleet, member: Member, rotation: Rotation) -> Member:
    """Check what both keys signed, sign it as the root, keep it.

    Unverified when a signature is wrong, when the new key is another member's, or when its
    evidence shows less custody than it claims.
    """
    if rotation.id != member.id:
        raise Unverified("wrong-device", f"the rotation is of another id than {member.label}")
    if rotation.previous != member.identity.last_change:
        raise Unverified(
            "already-enrolled",
            f"the request was made with another credential than {member.label} has here: give the "
            "device its newest one, and make the request again",
        )
    # The time decides which attesters were valid: it is not for the device to choose.
    age_ms = now_ms() - rotation.time_ms
    if not -DAY_MS <= age_ms <= REQUEST_DAYS_MAX * DAY_MS:
        raise Unverified(
            "expired",
            f"the request is not of the last {REQUEST_DAYS_MAX} days by its own time: set the "
            "device's clock and make it again",
        )
    for other in fleet.members():
        if any(period.key == rotation.key for period in other.identity.keys):
            raise Unverified("already-enrolled", f"this key is enrolled already, as {other.label}")
    others = (other for other in fleet.members() if other.id != member.id)
    chipslots.check_free(others, rotation.evidence)
    if len(read_credential(member.credential_path).statements) >= CREDENTIAL_STATEMENTS_MAX - 1:
        raise Malformed(
            "too-large",
            f"{member.label} was rotated so often that only a revocation fits yet: enrol it anew "
            "and let the new id replace this one (`tally fleet replace`)",
        )
    counted = keycustody.count(
        rotation.key, rotation.id, fleet.name, fleet.key, rotation.custody, rotation.evidence,
        rotation.time_ms // 1000,
    )  # fmt: skip
    if counted.level != rotation.custody:
        raise uncounted(counted)
    return _append(fleet, member, rotation.sign(fleet.signer, fleet.name, member.id))


# --- replacement and revocation -------------------------------------------------------------------


def replace(fleet: Fleet, old: Member, new: Member, head: Head | None) -> Member:
    """Sign that `new` stands in for `old`; returns the new one."""
    if old.kind != new.kind:
        raise Malformed("bad-value", f"a {new.kind} cannot replace a {old.kind}")
    if new.identity.replaces is not None:
        which = old.label if new.identity.replaces == old.id else "another one"
        raise Malformed("bad-value", f"{new.label} stands in for {which} already")
    made = Replacement(new.id, old.id, head, now_ms(), new.identity.last_change)
    return _append(fleet, new, made.sign(fleet.signer, fleet.name, new.id))


def revoke(
    fleet: Fleet, member: Member, reason: str, head: Head | None, key: bytes | None = None
) -> Member:
    """Sign that a key ended at `head` (None: nothing that it signed is trusted).

    `key` is a thumbprint; the current one unless given.
    """
    thumbprint = key or member.identity.key.thumbprint()
    period = member.identity.period(thumbprint)
    if period.reason == "compromised":
        raise Malformed("bad-value", f"this key of {member.label} is revoked as compromised")
    previous = member.identity.last_change
    made = Revocation(member.id, thumbprint, head, REASONS.index(reason), now_ms(), previous)
    return _append(fleet, member, made.sign(fleet.signer, fleet.name, member.id))


# --- heads ----------------------------------------------------------------------------------------


def parse_head(text: str) -> Head:
    """EPOCH:SIZE:ROOT, as `tally fleet show` and the validators write them."""
    parts = text.split(":")
    if len(parts) != 3 or not parts[1].isascii() or not parts[1].isdigit() or len(parts[1]) > 19:
        raise Malformed("bad-value", f"a head is EPOCH:SIZE:ROOT, base64url, not {text!r}")
    return (
        keychange.check_head([from_b64u(parts[0], 8), int(parts[1]), from_b64u(parts[2], 32)]) or []
    )


def head_text(head: Sequence[Any]) -> str:
    """As parse_head reads it."""
    return f"{b64u(head[0])}:{head[1]}:{b64u(head[2])}"


def journal_head(folder: Path, device: bytes) -> Head | None:
    """The newest head that a stopped recorder's journal has signed, or is about to sign.

    CouldNotCheck while a recorder has it open: it would sign more.
    """
    if not folder.is_dir():
        raise CouldNotCheck("no-journal", f"{folder} is no journal; name the head with --head")
    files = Files(str(folder))
    try:
        files.lock()
    except Exception as error:
        raise CouldNotCheck(
            "no-journal", f"{folder} is in use: stop the recorder first ({error})"
        ) from error
    try:
        journal = Journal(files, JOURNAL_BYTES_MAX, JOURNAL_BYTES_MAX)
        log = open_journal(journal, device)
        if journal.damage:
            raise CouldNotCheck("no-journal", f"{folder} is damaged; name the head with --head")
    finally:
        files.unlock()
    if log is None or not log.sealed_size:
        return None
    return [log.epoch, log.sealed_size, log.sealed_root]


def _api(url: str) -> "ValidatorApi":
    try:
        from tallystick.tools.api import ValidatorApi  # noqa: PLC0415  # `tally fleet` needs no extra
    except ModuleNotFoundError as error:
        raise CouldNotCheck(
            "bad-value",
            f"asking a validator needs the package {error.name}: pip install 'tallystick[client]'",
        ) from error
    return ValidatorApi(url)


def head_at(url: str, member: Member) -> Head:
    """The newest head of a member that a validator logged, and that the member's own key signed."""
    with _api(url) as api:
        current = api.current_epochs(member.id)
        heads = [checkpoint.parse(data) for data in api.newest_heads(member.id)]
    verified = [
        head.verify(member.identity.own_key_of(head)) for head in heads if head.epoch in current
    ]
    if not verified:
        raise CouldNotCheck("bad-value", f"{url} shows no head of {member.label}")
    if len({head.epoch for head in verified}) > 1:
        named = ", ".join(head_text([h.epoch, h.size, h.root]) for h in verified)
        raise CouldNotCheck(
            "bad-value", f"{member.label} has several epochs; name the newest one: --head {named}"
        )
    head = max(verified, key=lambda one: one.size)
    return [head.epoch, head.size, head.root]


# --- validators -----------------------------------------------------------------------------------


def publish(url: str, members: Sequence[Member]) -> Iterator[tuple[Member, dict[str, Any]]]:
    """Hand credentials to a validator; what became of each, in order."""
    with _api(url) as api:
        for at in range(0, len(members), PUBLISHED_AT_ONCE_MAX):
            some = members[at : at + PUBLISHED_AT_ONCE_MAX]
            data = cbor.encode(
                [list(read_credential(member.credential_path).statements) for member in some]
            )
            yield from zip(some, api.publish(data), strict=True)


# --- showing --------------------------------------------------------------------------------------


def shown(fleet: Fleet, member: Member) -> dict[str, Any]:
    """Everything that the root signed of a member: keys, what ended when and why, in JSON."""
    identity = member.identity
    statements = read_credential(member.credential_path).statements
    changes = [keychange.parse(data) for data in statements[1:]]
    revoked = {c.key: c for c in changes if isinstance(c, Revocation)}
    rotated = {c.old: c for c in changes if isinstance(c, Rotation)}
    rows = []
    for period in identity.keys:
        thumbprint = period.key.thumbprint()
        held = keycustody.of_period(identity, period)
        ended: Any = revoked.get(thumbprint) if period.reason else rotated.get(thumbprint)
        rows.append(
            {
                "key": b64u(thumbprint),
                "alg": "ed25519" if period.key.alg == keys_of.EDDSA else "p256",
                "custody": CUSTODIES[held.level],
                "claimed": CUSTODIES[period.custody],
                "shown": held.shown,
                "not_proven": held.not_proven,
                "since_ms": period.since_s * 1000,
                "begins_at": None if period.begin is None else head_text(period.begin),
                "status": period.reason or ("rotated" if period.ended else "active"),
                "ended_ms": None if ended is None else ended.time_ms,
                "ends_at": None if period.end is None else head_text(period.end),
            }
        )
    others = list(fleet.members())
    replaced_by = [other.label for other in others if other.identity.replaces == identity.id]
    replaced = [other.label for other in others if other.id == identity.replaces]
    return {
        "label": member.label,
        "kind": member.kind,
        "id": member.id_text,
        "fleet": identity.iss,
        "status": identity.status,
        "valid_from_s": identity.enrolment.validity[0],
        "valid_until_s": identity.enrolment.validity[1],
        "replaces": None if identity.replaces is None else device_text(identity.replaces),
        "replaces_label": replaced[0] if replaced else None,
        "replaced_by": replaced_by,
        "keys": rows,
        "statements": len(statements),
        "config": str(member.path / CONFIGS[member.kind]),
    }
