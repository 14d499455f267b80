"""The scenarios of tests/vectors, told in code: what is given, and what must come of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.examples import Signer
from tallystick.evidence import cbor, cose
from tallystick.evidence.keys import PublicKey


@dataclass(frozen=True)
class Scenario:
    """One vector: `expect` is "ok" or the reason of the refusal (docs/protocol.md, 1.7)."""

    operation: str
    name: str
    section: str
    about: str
    given: dict[str, Any]
    expect: str


Scenarios = Iterator[Scenario]


def key_hex(key: PublicKey) -> str:
    return cbor.encode(key.cose_key()).hex()


def hexes(items: Any) -> list[str]:
    return [item.hex() for item in items]


def headers_of(data: bytes) -> dict[int, Any]:
    """A fresh copy of a statement's protected header."""
    headers = cbor.decode(cose.parse(data, 1 << 24).protected)
    return {label: dict(v) if isinstance(v, dict) else v for label, v in headers.items()}


def payload_of(data: bytes) -> bytes:
    payload = cose.parse(data, 1 << 24).payload
    assert payload is not None
    return payload


def craft(
    signer: Signer,
    headers: Any,
    payload: bytes | None,
    unprotected: dict[int, Any] | None = None,
    detached: bytes = b"",
) -> bytes:
    """A COSE_Sign1 with any header at all, rightly signed."""
    protected = headers if isinstance(headers, bytes) else cbor.encode(headers)
    signature = signer.sign(cose.to_be_signed(protected, payload or detached))
    return b"\xd2" + cbor.encode([protected, unprotected or {}, payload, signature])


def flip(data: bytes, at: int) -> bytes:
    """One bit changed in the byte at `at`."""
    return (
        data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if at >= 0
        else flip(data, len(data) + at)
    )


def replaced(values: Any, at: int, item: Any) -> bytes:
    """The encoding of the array with another element at `at`."""
    return cbor.encode([*values[:at], item, *values[at + 1 :]])
