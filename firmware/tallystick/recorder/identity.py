# Who this device is, from its configuration: id, credential, and the form of its checkpoints.

import os

from tallystick.evidence.cbor import decode, encode, head
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.kinds import ENROLMENT, KEY_CHANGE
from tallystick.recorder.core import Forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

CREDENTIAL_BYTES_MAX = 16384
ROTATION = 0


def read_credential(path: str | None) -> list[bytes]:
    """The statements of a credential file; empty where none is configured."""
    if path is None:
        return []
    try:
        # The size first: MicroPython's read(n) takes n bytes of heap before it reads.
        if os.stat(path)[6] > CREDENTIAL_BYTES_MAX:
            raise Malformed("bad-config", "credential %s is too long" % path)
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Malformed("bad-config", "credential %s cannot be read (%s)" % (path, error))
    statements = decode(data)
    if type(statements) is not list or not statements:
        raise Malformed("bad-config", "credential %s holds no enrolment" % path)
    return statements


def check_roots(lines: "list[Any]") -> None:
    """That each pinned fleet root is one, before a half has to be checked against it."""
    for line in lines:
        from tallystick.evidence.root import parse_root  # noqa: PLC0415  # with roots only

        try:
            parse_root(line)
        except Malformed as error:
            raise Malformed("bad-config", "roots: %r: %s" % (line, error))


def _parts(statement: bytes, kinds: tuple[int, ...]) -> "tuple[str, list[Any]]":
    # The name of the signer and the payload.  Nothing is verified: it is our own, and who receives
    # it verifies it.  So what verifies statements need not be loaded.
    protected, _, payload, _ = decode(statement[1:])
    values = decode(payload)
    if values[0] not in kinds:
        raise Malformed("bad-config", "the credential holds something else than an enrolment")
    iss: str = decode(protected)[15][1]
    return iss, values[1:]


def interval_s(credential: list[bytes]) -> int:
    """The longest time between two checkpoints that the enrolment names; 0 where there is none."""
    if not credential:
        return 0
    seconds: int = _parts(credential[0], (ENROLMENT,))[1][7]
    return seconds


def device_id(credential: list[bytes], fleet: str, key: "PublicKey") -> bytes:
    """The enrolled id, when the credential is this key's; else that of a key not yet enrolled."""
    if not credential:
        return key.thumbprint()
    try:
        iss, values = _parts(credential[0], (ENROLMENT,))
        device: bytes = values[1]
        current = values[2]
        for data in credential[1:]:
            _, change = _parts(data, (KEY_CHANGE,))
            if change[0] == ROTATION:
                current = change[3]
    except (ValueError, IndexError, KeyError, TypeError):
        raise Malformed("bad-config", "the credential is damaged: enroll the device again")
    if current != key.cose_key():
        raise KeyDriverError("wrong-key", "the credential is for another key than the device's")
    if iss != fleet:
        raise Malformed("bad-config", "the credential is by %s and not by fleet" % iss)
    return device


def rekeyed(current: Forms, credential: list[bytes], config: "dict[str, Any]") -> Forms:
    """Forms by key, where the credential has rotations: an older payload keeps its own."""
    from tallystick.evidence.keys import from_cose_key  # noqa: PLC0415  # after a key change only

    keys = [_parts(credential[0], (ENROLMENT,))[1][2]]
    for data in credential[1:]:
        change = _parts(data, (KEY_CHANGE,))[1]
        if change[0] == ROTATION:
            keys.append(change[3])
    if len(keys) == 1:
        return current
    from tallystick.recorder.rekeying import RekeyedForms  # noqa: PLC0415  # as above

    iss, sub = config["fleet"], config["device"]
    before = []
    for item in keys[:-1]:
        key = from_cose_key(item)
        before.append((key.kid(), form(Forms, key.alg, key.kid(), iss, sub)))
    key = from_cose_key(keys[-1])
    config["rekeyed"] = (key.alg, key.kid())
    made = form(RekeyedForms, key.alg, key.kid(), iss, sub)
    made.before = before  # type: ignore[attr-defined]  # it is rekeyed
    return made


def forms(key: "PublicKey", iss: str, sub: str) -> Forms:
    """What stands around the payload in this device's checkpoints."""
    return form(Forms, key.alg, key.kid(), iss, sub)


def form(kind: "type[Forms]", alg: int, kid: bytes, iss: str, sub: str) -> Forms:
    """As forms, for a key of which only algorithm and hint are at hand."""
    # As evidence/statement.py and cose.py make it (RFC 9052, 4.2 and 4.4), without loading what
    # reads statements; a test compares the two.
    protected = encode({1: alg, 4: kid, 15: {1: iss, 2: sub}})
    item = head(2, len(protected)) + protected
    return kind(b"\x84\x6aSignature1" + item + b"\x40", b"\xd2\x84" + item + b"\xa0", b"\x58\x40")
