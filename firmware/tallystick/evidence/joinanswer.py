"""Join answer: the fleet root lets a device in (docs/protocol.md, 5.5)."""

# [33, id, request, credential, settings, profiles, ca]; a signed statement.  `settings` is the text
# of a JSON object, since a configuration is one; where keys and files lie is the device's affair.

import json

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import JOIN_ANSWER
from tallystick.evidence.limits import (
    JOIN_ANSWER_BYTES_MAX,
    JOIN_CA_BYTES_MAX,
    JOIN_PROFILES_MAX,
    JOIN_SETTINGS_BYTES_MAX,
    NAME_BYTES_MAX,
    PROFILE_BYTES_MAX,
)
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps, finish

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.keys import PublicKey

# Settings that a device has by itself.
OWN = ("credential", "journal", "key", "off", "profiles", "tls")
_NAME = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@"


class JoinAnswer(Signed):
    """id, request: the device and the digest of its request; ca: the broker's, or None."""

    _signed_by = "root"

    def __init__(
        self,
        id: bytes,  # noqa: A002  # the name on the wire
        request: bytes,
        credential: list[bytes],
        settings: str,
        profiles: "dict[str, bytes]",
        ca: "bytes | None",
    ) -> None:
        what = "join answer"
        self.id = shape.octets(id, 32, what)
        self.request = shape.octets(request, 32, what)
        self.credential = shape.statements(credential, what)
        self.settings = shape.text(settings, JOIN_SETTINGS_BYTES_MAX, what)
        _check_settings(settings)
        self.profiles = _check_profiles(profiles)
        self.ca = None if ca is None else shape.blob(ca, JOIN_CA_BYTES_MAX, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            JOIN_ANSWER,
            self.id,
            self.request,
            self.credential,
            self.settings,
            self.profiles,
            self.ca,
        ]

    def config(self) -> "dict[str, Any]":
        """The settings as a configuration has them."""
        loaded: dict[str, Any] = json.loads(self.settings)
        return loaded

    def verify(self, root: "PublicKey") -> "VerifiedAnswer":
        """Unverified unless the root signed it, for the device that it names; blocks."""
        return finish(self._checking(root))  # type: ignore[no-any-return]  # a generator's result

    def verifier(self, root: "PublicKey") -> Steps:
        """As verify, in bounded steps; the result is a VerifiedAnswer."""
        return Steps(self._checking(root))

    def _checking(self, root: "PublicKey") -> "Generator[None, None, VerifiedAnswer]":
        if self.device != self.id:
            raise Unverified("wrong-device", "the answer's subject is not the id that it names")
        return (yield from self._verifying(VerifiedAnswer, root))


class VerifiedAnswer(JoinAnswer):
    """`root` signed it; made by verify() only."""

    root: "PublicKey"


def _check_settings(text: str) -> None:
    try:
        found = json.loads(text)
    except (ValueError, RuntimeError):  # RuntimeError: nested too deep
        raise Malformed("bad-value", "join answer: its settings are no JSON")
    if type(found) is not dict:
        raise Malformed("bad-value", "join answer: its settings are no JSON object")
    for name in OWN:
        if name in found:
            raise Malformed("bad-value", "join answer: %s is the device's own setting" % name)


def _check_profiles(profiles: "Any") -> "dict[str, bytes]":
    # Their names become files' names.
    if type(profiles) is not dict:
        raise Malformed("bad-type", "join answer: profiles must be a map")
    if len(profiles) > JOIN_PROFILES_MAX:
        raise Malformed("too-large", "join answer: over %d profiles" % JOIN_PROFILES_MAX)
    for name, data in profiles.items():
        raw = shape.text(name, NAME_BYTES_MAX, "join answer").encode()
        if raw[0] == 46:  # a dot
            raise Malformed("bad-value", "join answer: a profile's name begins with a dot")
        for byte in raw:
            if byte not in _NAME:
                raise Malformed("bad-value", "join answer: a profile's name is no file's name")
        shape.blob(data, PROFILE_BYTES_MAX, "join answer")
    checked: dict[str, bytes] = profiles
    return checked


def parse(data: bytes) -> JoinAnswer:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, JOIN_ANSWER, JOIN_ANSWER_BYTES_MAX)
    statement.subject_device(received)
    answer = JoinAnswer(*shape.row(received.values, 6, "join answer"))
    answer.statement = received
    return answer
