# CPython only
"""Custody evidence of a PKCS#11 token: the attributes that it gives for a private key."""

# docs/protocol.md, 5.3: [token, attributes, mechanism]; PKCS#11 3.0, sections 3.2 and 4.9.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import value
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import EDDSA, ES256, PublicKey
from tallystick.evidence.limits import CUSTODY_EVIDENCE_BYTES_MAX, NAME_BYTES_MAX

TYPE = "pkcs11-attributes"
TOKEN = ("label", "manufacturer", "model", "serial")
# What each attribute must be; CKA_SENSITIVE and so on.
ATTRIBUTES = {
    "sensitive": True,
    "always_sensitive": True,
    "extractable": False,
    "never_extractable": True,
    "local": True,
    "private": True,
}
MECHANISMS = {ES256: ("CKM_ECDSA", "CKM_ECDSA_SHA256"), EDDSA: ("CKM_EDDSA",)}


class Pkcs11Attributes(Wire):
    """token: text by each of TOKEN; attributes: bool by each of ATTRIBUTES; mechanism: a name."""

    def __init__(self, token: dict[str, str], attributes: dict[str, bool], mechanism: str) -> None:
        self.token = _map(token, TOKEN)
        for text in token.values():
            _check_text(text)
        self.attributes = _map(attributes, tuple(ATTRIBUTES))
        for flag in attributes.values():
            shape.boolean(flag, TYPE)
        self.mechanism = value.check_name(mechanism)

    def values(self) -> list[Any]:
        """The array of the CDDL; it has no kind."""
        return [self.token, self.attributes, self.mechanism]

    def check(self, key: PublicKey, context: bytes) -> tuple[list[str], list[str]]:  # noqa: ARG002  # nothing here is attested
        """(what it shows, what it does not prove), sentences; Unverified("bad-custody")."""
        for name, wanted in ATTRIBUTES.items():
            if self.attributes[name] is not wanted:
                must = "must be" if wanted else "must not be"
                raise Unverified("bad-custody", f"the key {must} {name.replace('_', ' ')}")
        if self.mechanism not in MECHANISMS[key.alg]:
            raise Unverified("bad-custody", f"no key of this kind signs with {self.mechanism!r}")
        token = self.token
        model = f"{token['model']!r} of {token['manufacturer']!r}"
        return [
            "the token says that it made the key itself, gives it to nobody and never did",
            f"token {token['label']!r}: {model}, serial number {token['serial']!r}",
        ], [
            "that it is so: the token said it to the enrolling host, and nobody attests it",
            "that the token is hardware: one in software says the same",
        ]


def _map(given: Any, names: tuple[str, ...]) -> Any:
    if type(given) is not dict:
        raise Malformed("bad-type", f"{TYPE}: must be a map")
    if given.keys() != set(names):
        raise Malformed("bad-value", f"{TYPE}: must name {', '.join(names)}")
    return given


def _check_text(text: Any) -> None:
    # May be empty: a token need not have a label.
    if type(text) is not str:
        raise Malformed("bad-type", f"{TYPE}: must be text")
    if shape.utf8_size(text, TYPE) > NAME_BYTES_MAX:
        raise Malformed("too-large", f"{TYPE}: longer than {NAME_BYTES_MAX} bytes")


def parse(data: bytes) -> Pkcs11Attributes:
    """As received; Malformed with a reason of section 1.7."""
    values = decode(shape.blob(data, CUSTODY_EVIDENCE_BYTES_MAX, TYPE))
    evidence = Pkcs11Attributes(*shape.row(values, 3, TYPE))
    evidence._data = data
    return evidence
