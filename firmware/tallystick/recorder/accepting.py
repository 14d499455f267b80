# accept(): a half is checked in phases, and the code of each is forgotten before the next one is
# loaded (evidence/halfclaim.py), so that a microcontroller needs room for one of them only.

from tallystick.evidence.cbor import encode
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError, Unverified
from tallystick.evidence.kinds import ACCEPTED_HALF
from tallystick.evidence.limits import HALF_BYTES_MAX
from tallystick.recorder.accepted import Accepted
from tallystick.recorder.files import MICROPYTHON, Loaded
from tallystick.recorder.handle import Handle, add_sealed, wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.halfmaker import Maker
    from tallystick.evidence.keys import PublicKey
    from tallystick.recorder.recorder import Recorder

    Work = Generator[None, None, Any]

ACCEPTS_MAX = 16
# Verified makers that are known by their credential's digest; some 250 bytes of heap each.
MAKERS_MAX = 4 if MICROPYTHON else 16
CLAIM_CODE = (
    "evidence.halfclaim",
    "evidence.claim",
    "evidence.ids",
    "evidence._wire",
)
HEAD_CODE = (
    "evidence.halfhead",
    "evidence._inclusion",
)
READ_CODE = (
    "evidence.halfenrolment",
    "evidence._fields",
    "evidence._reading",
    "evidence._shape",
    "evidence._cborreader",
)
ROOT_CODE = ("evidence.root", "evidence._text", "evidence._cborreader")
MAKER_CODE = READ_CODE + (  # not on MicroPython
    "evidence.halfmaker",
    "evidence._text",
    "evidence.keys",
    "evidence._p256form",
    "evidence._p256",
    "evidence.root",
    "recorder.chipkeys",
)

# Put together beforehand: where it is forgotten there may be no room to do so.
CODE = CLAIM_CODE + HEAD_CODE + MAKER_CODE


def accept(tally: "Recorder", half: bytes, wait: bool) -> "Any":  # noqa: FBT001  # of the interface
    """See Recorder.accept."""
    handle = Handle()
    work = _accepting(tally, half, handle)
    if not wait:
        if len(tally.accepts) >= ACCEPTS_MAX:
            raise TallyError("over-quota", "too many halves wait: poll() first")
        tally.accepts.append(work)
        if not MICROPYTHON:
            tally.wake()
        return handle
    for _ in work:
        if tally.each_step is not None:
            tally.each_step()
    if handle.error is not None:
        raise handle.error
    # `kept` says whether this came in time; a key that is late makes it so afterwards.
    wait_for(tally, handle)
    # Nothing where the heap did not suffice.
    return handle.value or None


def _accepting(tally: "Recorder", data: bytes, handle: Handle) -> "Generator[None, None, None]":
    # Verify in bounded steps, journal and seal.
    ledger = tally._ledger
    code = Loaded(CODE)
    try:
        if type(data) is not bytes or len(data) > HALF_BYTES_MAX:
            raise Malformed("bad-type", "a half is bytes, at most %d" % HALF_BYTES_MAX)
        accepted: Accepted = yield from _checked(tally, data, code)
        code.forget(MAKER_CODE)
        # The array of evidence/accepted.py, without what parses it.
        record = encode([ACCEPTED_HALF, ledger.clock.uptime_ms(), data])
        handle.make = lambda _: _kept(accepted)
        # Verified it is, whatever becomes of the record.
        handle.value = accepted
        add_sealed(ledger, record, handle)
    except TallyError as error:
        handle.fail(error)
    except MemoryError:
        handle.lose("memory")
    code.forget(CODE)
    if handle.fault == "memory":
        ledger.starved("accept")


def _kept(accepted: Accepted) -> Accepted:
    accepted.kept = True
    return accepted


def _checked(tally: "Recorder", data: bytes, code: Loaded) -> "Work":
    record, salt, index, path, checkpoint, credential = _parts(data)
    makers, everyone = _claimed(record)
    code.forget(CLAIM_CODE)
    head, leaf = _head(checkpoint, makers, record, salt, index, path)
    del record, path, checkpoint
    code.forget(HEAD_CODE)
    yield
    device, epoch = head[1], head[6][0]
    status = "active"
    if type(credential) is list and len(credential) > 1:
        status = yield from _by_key_changes(tally, data)
    else:
        maker = yield from _maker(tally, credential, code)
        if maker is None:
            status = yield from _by_key_changes(tally, data)
        else:
            yield from _made(tally, head, maker)
    own = tally._ledger.device
    if device == own:
        raise Unverified("not-a-party", "the half is this device's own")
    if own not in everyone:
        raise Unverified("not-a-party", "this device is no party of the half's claim")
    # ids.claim_reference.
    reference = sha256(encode([device, epoch, index, leaf]))
    return Accepted(data, device, epoch, index, leaf, reference, status)


# Each phase in a function of its own, so that nothing of it stays in a variable.


def _parts(data: bytes) -> "tuple[Any, ...]":
    from tallystick.evidence.halfclaim import parts_of  # noqa: PLC0415  # forgotten again

    return tuple(parts_of(data))


def _claimed(record: bytes) -> "tuple[list[bytes], list[bytes]]":
    from tallystick.evidence.halfclaim import claimed  # noqa: PLC0415  # forgotten again

    return claimed(record)


def _head(*parts: "Any") -> "tuple[Any, bytes]":
    from tallystick.evidence.halfhead import read_head  # noqa: PLC0415  # forgotten again

    return read_head(*parts)


def _root(tally: "Recorder", iss: str) -> "PublicKey | None":
    from tallystick.evidence.root import parse_root  # noqa: PLC0415  # forgotten again

    for line in tally._config["roots"]:
        if line.partition("+")[0] == iss:
            return parse_root(line)[1]
    return None


def _now_s(tally: "Recorder") -> int | None:
    # Where the clock is not set the validity's time cannot be checked here; validators do.
    wall = tally._clock.wall()
    return wall[0] // 1000 if wall else None


def _wrap(tally: "Recorder") -> "Any":
    signer = tally._ledger.signer
    if not hasattr(signer, "verifier"):
        return _itself
    from tallystick.recorder.chipkeys import in_chip  # noqa: PLC0415  # forgotten again

    return lambda key: in_chip(signer, key)


def _enrolment(statement: bytes) -> "Any":
    from tallystick.evidence.halfenrolment import read_enrolment  # noqa: PLC0415  # as above

    return read_enrolment(statement)


def _maker(tally: "Recorder", credential: "bytes | list[bytes]", code: Loaded) -> "Work":
    # The maker by a credential without key changes; None where only one with them can be meant.
    read = None
    digest = credential
    if type(credential) is list:
        read = _enrolment(credential[0])
        digest = sha256(read[4])
    code.forget(READ_CODE)
    root = _root(tally, read[0]) if read is not None else None
    code.forget(ROOT_CODE)
    from tallystick.evidence import halfmaker  # noqa: PLC0415  # forgotten again

    at_s = _now_s(tally)
    for known in tally.makers:
        if known[0] == digest:
            if at_s is not None:
                halfmaker.check_time(known[5], known[6], at_s)
            return known
    if read is None:
        if tally.keyring is None:
            raise CouldNotCheck("unknown-device", "the credential with this digest is not known")
        return None
    maker: "Maker" = yield from halfmaker.verifying(read, root, at_s, _wrap(tally))
    tally.makers = tally.makers[1 - MAKERS_MAX :] + [maker]
    return maker


def _made(tally: "Recorder", head: "Any", maker: "Maker") -> "Work":
    from tallystick.evidence.halfmaker import made  # noqa: PLC0415  # forgotten again

    yield from made(head, maker, _wrap(tally))


def _itself(key: "PublicKey") -> "PublicKey":
    return key


def _by_key_changes(tally: "Recorder", data: bytes) -> "Work":
    from tallystick.recorder.accepting_changed import status_of  # noqa: PLC0415  # rarely

    return (yield from status_of(tally, data, _now_s(tally)))
