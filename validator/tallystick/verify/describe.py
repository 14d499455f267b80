"""Any of our objects as a plain nested dict, with what of it is verified and what is not.

Bytes in, a dict of text, numbers, lists and dicts out: for `tally inspect` and for whoever debugs.
Nothing here takes a key, so no signature is checked; what an object shows by itself is.
"""

from __future__ import annotations

from typing import Any

from tallystick.evidence import (
    cbor,
    cose,
    credential,
    keychange,
    keys,
    misbehaviour,
    note,
    profile,
    receipt,
    root,
)
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.event import Event
from tallystick.evidence.keys import b64u
from tallystick.evidence.kinds import KEY_CHANGE, MISBEHAVIOUR
from tallystick.evidence.limits import BATCH_BYTES_MAX, EVIDENCE_BYTES_MAX
from tallystick.evidence.number import Dec, to_text
from tallystick.evidence.receipt import attached
from tallystick.verify._objects import (
    CODES,
    EVIDENCE,
    IDS,
    KEY_CHANGES,
    KINDS,
    PROOFS,
    ROWS,
    SECTIONS,
    STATEMENTS,
    Kind,
)
from tallystick.verify._own_proofs import shown_by
from tallystick.verify._text import printable, utc
from tallystick.verify.eventtext import told
from tallystick.verify.profile_toml import parse_profile

Described = dict[str, Any]

ITEMS_SHOWN_MAX = 64
NESTED_MAX = 4
BYTES_SHOWN_MAX = 96
KEY_FILE = b"tallystick-key/"
TEXT_BYTES_MAX = 65_536


# Bytes of these sizes are hashes, salts, epochs and signatures, unless a field says otherwise.
PLAIN_SIZES = {8, 16, 32, 64}
WRAPPING = {"record", "items", "half"}
VALIDITY = {"not_before_s", "not_after_s"}


def describe(data: bytes) -> Described:
    """What the bytes are: `object`, `bytes`, `fields`, `verified`, `not_verified`.

    Malformed when they are none of our objects, and for a key file: secrets are never shown.
    """
    if KEY_FILE in data[:32]:
        raise Malformed("bad-value", "this is a key file; its content is never shown")
    if len(data) > max(EVIDENCE_BYTES_MAX, BATCH_BYTES_MAX):
        raise Malformed("too-large", "larger than any of our objects")
    text = _as_text(data)
    if text is not None:
        return _describe_text(text, len(data))
    return _describe(data, 0)


def _as_text(data: bytes) -> str | None:
    if len(data) > TEXT_BYTES_MAX:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\n\t\r" for char in text) else None


def _describe_text(text: str, size: int) -> Described:
    if text.count("\n\n\u2014 ") or "\n\u2014 " in text:
        parsed = note.parse(text)
        signers = [f"{printable(name)} {key_id.hex()}" for name, key_id, _ in parsed.signatures]
        fields = {
            "origin": printable(parsed.origin),
            "size": parsed.size,
            "root": parsed.root.hex(),
            "signatures": signers,
        }
        return _described("log checkpoint (C2SP note)", size, fields, [], ["its signatures"])
    line = text.strip()
    if "\n" not in line:
        if line.count("+") == 1:
            name, key = root.parse_root(line)
            fields = {"name": name, **_key(key)}
            return _described("fleet root", size, fields, ["the key is sound"], [])
        if line.count("+") >= 2:
            parsed_key = note.parse_key(line)
            fields = {"name": parsed_key.name, **_key(parsed_key.key)}
            return _described("note key", size, fields, ["the key's hash"], [])
    if "[roles" in text:
        made = parse_profile(text)
        shown = _describe(made.encode(), 0)
        fields = {"digest": b64u(made.digest), **shown["fields"]}
        return _described("profile (TOML)", size, fields, shown["verified"], [])
    raise Malformed("unknown-kind", "this text is none of our objects")


def _described(
    name: str, size: int, fields: Described, verified: list[str], left: list[str]
) -> Described:
    return {
        "object": name,
        "bytes": size,
        "fields": fields,
        "verified": verified,
        "not_verified": left,
    }


def _describe(data: bytes, depth: int) -> Described:
    if data[:1] == b"\xd2":
        return _describe_statement(data, depth)
    head = data[:1] and data[0] >> 5
    if head == 5:
        key = keys.from_cose_key(cbor.decode(data))
        return _described("COSE key", len(data), _key(key), ["the key is sound"], [])
    if head != 4 or len(data) < 2:
        raise Malformed("unknown-kind", "these bytes are none of our objects")
    first = data[1] >> 5
    if first == 2:
        return _describe_credential(data, depth)
    kind = _kind_of(data)
    found = KINDS.get(kind) if data[0] & 31 < 24 else None
    if found is None or kind == 28:
        raise Malformed("unknown-kind", "an array that begins like none of our objects")
    if kind == KEY_CHANGE:
        return _describe_rotation_request(data, depth)
    if kind == MISBEHAVIOUR:
        return _describe_misbehaviour(data, depth)
    parsed = found.parse(data)
    values = cbor.decode(data)
    verified, left = shown_by(kind, data)
    fields = _fields(found.name, found.fields, values[1:], depth)
    if isinstance(parsed, Event) and (said := told(parsed)):
        fields = {"says": said, **fields}
    if kind == 11:
        fields = {"digest": b64u(profile.parse(data).digest), **fields}
    return _described(found.name, len(data), fields, ["it is in its one encoding", *verified], left)


def _describe_misbehaviour(data: bytes, depth: int) -> Described:
    proof = misbehaviour.parse(data)
    names = tuple(PROOFS[proof.TYPE].split())
    fields = _fields("misbehaviour", names, cbor.decode(data)[2:], depth)
    verified, left = shown_by(MISBEHAVIOUR, data)
    shown = {"proves": proof.NAME, **fields}
    return _described("misbehaviour", len(data), shown, verified, left)


def _describe_rotation_request(data: bytes, depth: int) -> Described:
    """What `tally key rotate-request` writes: a rotation before the fleet root signs it."""
    values = cbor.decode(data)
    name, text = KEY_CHANGES[keychange.ROTATION]
    names = tuple(text.split())
    if values[1:2] != [keychange.ROTATION] or len(values) != 2 + len(names):
        raise Malformed("unknown-kind", "an array that begins like none of our objects")
    fields = _fields("key change", names, values[2:], depth)
    values[4] = keys.from_cose_key(values[4])
    keychange.Rotation(*values[2:])
    verified = ["it is in its one encoding", "the new key is sound"]
    left = [
        "that the old key and the new one signed, and the evidence: the request names no fleet",
        "who asks: nobody vouches for a request",
    ]
    return _described(f"{name} request", len(data), fields, verified, left)


def _kind_of(array: bytes) -> int:
    # Kinds from 24 on take a second byte (RFC 8949, section 3).
    if len(array) < 2:
        return -1
    return array[2] if array[1] == 24 and len(array) > 2 else array[1]


def _describe_statement(data: bytes, depth: int) -> Described:
    sign1 = cose.parse(data, BATCH_BYTES_MAX)
    claims = sign1.headers.get(15, {})
    header: Described = {
        "alg": {-7: "ES256", -8: "EdDSA"}.get(sign1.alg, sign1.alg),
        "kid": sign1.headers.get(4, b"").hex(),
        "iss": printable(str(claims.get(1))),
        "sub": printable(str(claims.get(2))),
    }
    if sign1.payload is None:
        parsed = receipt.parse(data)
        fields = {
            **header,
            "iat": _time(parsed.iat * 1000),
            "size": parsed.size,
            "index": parsed.index,
            "path": [one.hex() for one in parsed.path],
        }
        left = ["its signature, and that it covers an entry"]
        return _described("receipt (COSE)", len(data), fields, [], left)
    kind = _kind_of(sign1.payload)
    found = KINDS.get(kind)
    if found is None or kind not in STATEMENTS:
        raise Malformed("unknown-kind", "a signed statement of a kind that is none of ours")
    (profile.parse_statement if kind == 11 else found.parse)(data)
    values = cbor.decode(sign1.payload)
    name, names = found.name, found.fields
    if kind == 7:
        name, text = KEY_CHANGES[values[1]]
        names, values = tuple(text.split()), values[1:]
    fields = _fields(found.name, names, values[1:], depth)
    verified, left = shown_by(kind, data)
    described = _described(
        name,
        len(data),
        {"statement": header, **fields},
        ["it is in its one encoding", *verified],
        ["its signature, for want of a key", *left],
    )
    receipts = attached(data)
    if receipts and depth < NESTED_MAX:
        described["receipts"] = [_nested(one, depth) for one in receipts]
    return described


def _describe_credential(data: bytes, depth: int) -> Described:
    statements = credential.parse(data).statements
    fields = {"statements": [_nested(one, depth) for one in statements]}
    left = ["its signatures, for want of a fleet root"]
    return _described("credential", len(data), fields, ["it is in its one encoding"], left)


def _key(key: keys.PublicKey) -> Described:
    return {
        "alg": {-7: "ES256", -8: "EdDSA"}[key.alg],
        "thumbprint": b64u(key.thumbprint()),
        "kid": key.kid().hex(),
    }


def _fields(path: str, names: tuple[str, ...], values: list[Any], depth: int) -> Described:
    return {
        name: _show(f"{path}.{name}", name, value, depth)
        for name, value in zip(names, values, strict=True)
    }


def _show(path: str, name: str, value: Any, depth: int) -> Any:
    if path in CODES and type(value) is int and value < len(CODES[path]):
        return CODES[path][value]
    if name.endswith("time_ms") and name != "uptime_ms" and type(value) is int:
        return _time(value)
    if name in VALIDITY and type(value) is int:
        return _time(value, to_ms=1000)
    if type(value) is list:
        return _show_list(path, name, value, depth)
    if type(value) is dict:
        return _show_map(path, name, value, depth)
    if type(value) is bytes:
        return _show_bytes(name, value, depth)
    if type(value) is Dec:
        return to_text(value)
    return printable(value, 1024) if type(value) is str else value


def _show_list(path: str, name: str, value: list[Any], depth: int) -> Any:
    if name == "finding":
        return _fields("finding", KINDS[20].fields, value[1:], depth)
    if path.endswith("sections.halves.*"):
        return _fields("half", KINDS[14].fields, value[1:], depth)
    if path.endswith("evidence.*") and value and type(value[0]) is str and value[0] in EVIDENCE:
        return {"type": value[0], "evidence": _show_evidence(EVIDENCE[value[0]], value[1], depth)}
    row = ROWS.get(path)
    if row is not None and len(value) == len(row.split()):
        return _fields(path.removesuffix(".*"), tuple(row.split()), value, depth)
    shown = [_show(f"{path}.*", name, item, depth) for item in value[:ITEMS_SHOWN_MAX]]
    if len(value) > ITEMS_SHOWN_MAX:
        shown.append(f"and {len(value) - ITEMS_SHOWN_MAX} more")
    return shown


def _show_evidence(found: Kind, data: bytes, depth: int) -> Any:
    try:
        found.parse(data)
    except TallyError as error:
        return f"{data[:BYTES_SHOWN_MAX].hex()} ({error.message})"
    return _fields(found.name, found.fields, cbor.decode(data), depth)


def _show_map(path: str, name: str, value: dict[Any, Any], depth: int) -> Any:
    if path == "evidence file.sections":
        return {
            SECTIONS[key]: _show(f"{path}.{SECTIONS[key]}", SECTIONS[key], item, depth)
            for key, item in value.items()
        }
    if name in {"key", "receipt_key"} and 1 in value:
        return _key(keys.from_cose_key(value))
    return {
        printable(str(key)): _show(f"{path}.*", name, item, depth) for key, item in value.items()
    }


def _show_bytes(name: str, value: bytes, depth: int) -> Any:
    if name in IDS and len(value) in {8, 16, 32}:
        return b64u(value)
    if depth < NESTED_MAX and (len(value) not in PLAIN_SIZES or name in WRAPPING):
        nested = _nested(value, depth)
        if nested is not None:
            return nested
    shown = value[:BYTES_SHOWN_MAX].hex()
    return shown if len(value) <= BYTES_SHOWN_MAX else f"{shown}… ({len(value)} bytes)"


def _nested(value: bytes, depth: int) -> Described | None:
    try:
        return _describe(value, depth + 1)
    except TallyError:
        # Bytes of a person's own making may look like anything.
        return None


def _time(value: int, *, to_ms: int = 1) -> str:
    shown = utc(value * to_ms)
    return f"{value} ({shown})" if shown.endswith("Z") else str(value)
