"""Who may read which bodies (ADR 6, ADR 13): tokens, each with a scope.

A scope is checked before the store is asked whether something exists, so a refusal is the same for
what is there and what is not.
"""

import hmac
import re
from dataclasses import dataclass, field

import msgspec

from tallystick.evidence.errors import Malformed
from tallystick.evidence.ids import INTERACTION_SIZE
from tallystick.evidence.keys import b64u, device_from_text, device_text, from_b64u
from tallystick.validator.limits import SCOPE_ROWS_MAX, TOKEN_CHARS_MIN
from tallystick.validator.problem import Problem

_FLEET = re.compile(r"[a-z0-9.-]{1,20}")


@dataclass(frozen=True)
class Scope:
    """Bodies made by these fleets and devices, or claimed in these namespaces and interactions.

    counterparts: of a party set in which one of them is named, the claims of all its parties.
    """

    everything: bool = False
    fleets: frozenset[str] = frozenset()
    devices: frozenset[bytes] = frozenset()
    namespaces: frozenset[str] = frozenset()
    interactions: frozenset[tuple[str, bytes]] = frozenset()
    counterparts: bool = False

    def words(self) -> str:
        """What it covers, for people."""
        if self.everything:
            return "everything"
        rows = (
            ("fleets", sorted(self.fleets)),
            ("devices", sorted(map(device_text, self.devices))),
            ("namespaces", sorted(self.namespaces)),
            ("interactions", sorted(f"{space}/{b64u(id_)}" for space, id_ in self.interactions)),
        )
        told = [f"{name} {' '.join(items)}" for name, items in rows if items]
        return ", ".join(told) + (", with their counterparts" if self.counterparts else "")

    def of(self, device: bytes, iss: str | None) -> bool:
        """Whether it covers what this device of this fleet made."""
        return self.everything or device in self.devices or iss in self.fleets

    def about(self, namespace: str, interaction: bytes) -> bool:
        """Whether it covers what was claimed in an interaction."""
        return (
            self.everything
            or namespace in self.namespaces
            or (namespace, interaction) in self.interactions
        )


EVERYTHING = Scope(everything=True)
NOTHING = Scope()


class RawReader(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One `[readers.NAME]` table."""

    token: str
    fleets: list[str] = []
    devices: list[str] = []
    namespaces: list[str] = []
    interactions: list[str] = []
    counterparts: bool = False


Raw = dict[str, str | RawReader]


def denied() -> Problem:
    """The one answer to whoever may not read something, be it there or not."""
    return Problem("not-authorised", "this token does not cover that", status=403)


def parse_readers(raw: Raw, operators: dict[str, str]) -> tuple[dict[str, str], dict[str, Scope]]:
    """(name to token, name to scope); Malformed names the reader and what to do."""
    tokens = {name: given if isinstance(given, str) else given.token for name, given in raw.items()}
    for name, token in [*tokens.items(), *operators.items()]:
        if len(token) < TOKEN_CHARS_MIN or not token.isascii() or not token.isprintable():
            raise Malformed(
                "bad-value",
                f"readers: the token of {name} must be {TOKEN_CHARS_MIN} or more printable "
                "ASCII characters; `openssl rand -hex 32` makes one",
            )
    every = [*tokens.values(), *operators.values()]
    if len(set(every)) != len(every):
        raise Malformed("duplicate-key", "readers: two names share a token")
    scopes = {
        name: EVERYTHING if isinstance(given, str) else _scope(name, given)
        for name, given in raw.items()
    }
    return tokens, scopes


def _scope(name: str, raw: RawReader) -> Scope:
    given = (raw.fleets, raw.devices, raw.namespaces, raw.interactions)
    if not any(given):
        raise Malformed(
            "bad-value",
            f"readers.{name}: name fleets, devices, namespaces or interactions; "
            f'one who may read everything is `{name} = "TOKEN"`',
        )
    if any(len(rows) > SCOPE_ROWS_MAX for rows in given):
        raise Malformed("too-large", f"readers.{name}: at most {SCOPE_ROWS_MAX} of each")
    for fleet in raw.fleets:
        if not _FLEET.fullmatch(fleet):
            raise Malformed("bad-value", f"readers.{name}.fleets: {fleet!r} is no fleet's name")
    try:
        devices = frozenset(device_from_text(text) for text in raw.devices)
    except Malformed as error:
        raise Malformed(error.reason, f"readers.{name}.devices: {error.message}") from None
    return Scope(
        fleets=frozenset(raw.fleets),
        devices=devices,
        namespaces=frozenset(raw.namespaces),
        interactions=frozenset(_interaction(name, text) for text in raw.interactions),
        counterparts=raw.counterparts,
    )


def _interaction(name: str, text: str) -> tuple[str, bytes]:
    namespace, slash, id_ = text.rpartition("/")
    try:
        if slash and namespace:
            return namespace, from_b64u(id_, INTERACTION_SIZE)
    except Malformed:
        pass
    raise Malformed(
        "bad-value",
        f"readers.{name}.interactions: NAMESPACE/ID with 22 base64url digits, not {text!r}",
    )


@dataclass(frozen=True)
class Doorkeeper:
    """Tokens to scopes; `operators` may put bodies on hold."""

    readers: dict[str, str] = field(repr=False)
    scopes: dict[str, Scope]
    operators: dict[str, str] = field(repr=False)

    def scope(self, token: str) -> Scope | None:
        """What a token may read; None for one that is not known."""
        name = _named(token, self.readers)
        return None if name is None else self.scopes[name]

    def operator(self, token: str) -> str | None:
        """The name of an operator, or None."""
        return _named(token, self.operators)


def _named(given: str, tokens: dict[str, str]) -> str | None:
    # Every token is compared, so that time tells nothing about which one was near.
    same = [
        name
        for name, token in tokens.items()
        if hmac.compare_digest(given.encode(), token.encode())
    ]
    return same[0] if same else None
