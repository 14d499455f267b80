# CPython only
"""Keys on a token: found, made, and what the token says of them."""

import os
import time
from typing import Any

from tallystick.evidence.custody_pkcs11 import ATTRIBUTES
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import KeyDriverError, Malformed, Unverified
from tallystick.evidence.keys import EDDSA, ES256, PublicKey, from_raw, low_s
from tallystick.hw._pkcs11_login import driver_error, gone
from tallystick.hw._pkcs11_module import binding
from tallystick.hw._pkcs11_uri import KeyUri

# CKA_EC_PARAMS (PKCS#11 3.0, section 2.3.3): the curve's OID, or its name as PrintableString.
P256_PARAMS: "tuple[bytes, ...]" = (b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",)
ED25519_PARAMS: "tuple[bytes, ...]" = (b"\x13\x0cedwards25519", b"\x06\x03\x2b\x65\x70")
ID_SIZE = 16
SIGNATURE_SIZE = 64
# Two are enough to know that a URI is not clear.
FOUND_MAX = 2
SEARCHES_MAX = 16
SETTLE_S = 0.25


class Handles:
    """A private key's handle in one session, and the public key that belongs to it."""

    def __init__(self, private: Any, public: PublicKey) -> None:
        self.private = private
        self.public = public

    @property
    def mechanism(self) -> str:
        """The PKCS#11 mechanism that it signs with."""
        # The digest is ours: many tokens have ECDSA, and not ECDSA with a hash.
        return "EDDSA" if self.public.alg == EDDSA else "ECDSA"

    def sign(self, message: bytes) -> bytes:
        """64 bytes, r || s with low s, or R || S."""
        mechanism = getattr(binding().Mechanism, self.mechanism)
        data = message if self.public.alg == EDDSA else sha256(message)
        made = self.private.sign(data, mechanism=mechanism)
        if len(made) != SIGNATURE_SIZE:
            raise KeyDriverError("token-failed", f"the token's signature has {len(made)} bytes")
        made = bytes(made)
        return made if self.public.alg == EDDSA else low_s(made)


def find(session: Any, uri: KeyUri) -> Handles:
    """The one private key that a URI names, shown to belong to its public key."""
    attribute = binding().Attribute
    kind = binding().ObjectClass
    where = uri.where()
    wanted = {attribute.CLASS: kind.PRIVATE_KEY, attribute.TOKEN: True, **_named(uri)}
    found = search(session, wanted)
    if not found:
        raise KeyDriverError(
            "no-key", f"{where}: no such private key on the token; `tally key create` makes one"
        )
    if len(found) > 1:
        raise KeyDriverError(
            "ambiguous-key", f"{where}: more than one private key; add id= to the URI"
        )
    private = found[0]
    if not hasattr(private, "sign"):
        raise KeyDriverError("cannot-sign", f"{where}: the token does not let this key sign")
    handles = Handles(private, _public(session, private, where))
    # The public key is an object of its own, which anybody with the PIN could have put there.
    probe = os.urandom(32)
    try:
        handles.public.verify(handles.sign(probe), probe)
    except Unverified:
        raise KeyDriverError(
            "wrong-key", f"{where}: the public key beside it is not the private key's"
        ) from None
    return handles


def search(session: Any, wanted: "dict[Any, Any]") -> "list[Any]":
    """At most FOUND_MAX objects."""
    for _ in range(SEARCHES_MAX - 1):
        try:
            return _search(session, wanted)
        except RuntimeError as error:
            # Another program removed one between the list and the look at it.
            if type(error).__name__ != "ObjectHandleInvalid":
                raise
    return _search(session, wanted)


def _search(session: Any, wanted: "dict[Any, Any]") -> "list[Any]":
    found: list[Any] = []
    objects = session.get_objects(wanted)
    try:
        for item in objects:
            found.append(item)
            if len(found) == FOUND_MAX:
                break
    finally:
        objects.close()  # ends the search: a session has one at a time
    return found


def _named(uri: KeyUri) -> "dict[Any, Any]":
    attribute = binding().Attribute
    named: dict[Any, Any] = {}
    if uri.object is not None:
        named[attribute.LABEL] = uri.object
    if uri.id is not None:
        named[attribute.ID] = uri.id
    return named


def _public(session: Any, private: Any, where: str) -> PublicKey:
    attribute = binding().Attribute
    alg = _algorithm(private, where)
    point = read(private, attribute.EC_POINT)
    if not point:
        wanted: dict[Any, Any] = {attribute.CLASS: binding().ObjectClass.PUBLIC_KEY}
        id_ = read(private, attribute.ID)
        # A pair shares its id (PKCS#11 2.40, section 4.4); labels may repeat.
        if id_:
            wanted[attribute.ID] = id_
        else:
            wanted[attribute.LABEL] = read(private, attribute.LABEL)
        found = search(session, wanted)
        point = read(found[0], attribute.EC_POINT) if len(found) == 1 else None
    if not point:
        raise KeyDriverError(
            "no-public-key", f"{where}: its public key is not on the token, or there are two"
        )
    try:
        return from_raw(alg, _raw(alg, bytes(point), where))
    except Malformed as error:
        raise KeyDriverError("wrong-key", f"{where}: {error.message}") from None


def _algorithm(private: Any, where: str) -> int:
    params = read(private, binding().Attribute.EC_PARAMS)
    if params in P256_PARAMS:
        return ES256
    if params in ED25519_PARAMS:
        return EDDSA
    raise KeyDriverError("no-such-key", f"{where}: is neither a P-256 nor an Ed25519 key")


def _raw(alg: int, point: bytes, where: str) -> bytes:
    # A DER octet string (PKCS#11 2.40), or the bare point as some tokens and 3.0 have it.
    size = 65 if alg == ES256 else 32
    if len(point) == size + 2 and point[:2] == bytes((4, size)):
        point = point[2:]
    if len(point) != size or (alg == ES256 and point[0] != 4):
        raise KeyDriverError("wrong-key", f"{where}: its public key is written in an unknown way")
    return point[1:] if alg == ES256 else point


def read(item: Any, name: Any) -> Any:
    """An attribute, or None where the token does not tell it."""
    refusals = ("AttributeTypeInvalid", "AttributeSensitive")
    try:
        return item[name]
    except RuntimeError as error:
        if type(error).__name__ in refusals:
            return None
        raise
    except (KeyError, NotImplementedError, ValueError):
        return None


def attributes(private: Any) -> "dict[str, bool]":
    """What the token says of a private key; what it does not say counts against the key."""
    attribute = binding().Attribute
    found = {}
    for name, good in ATTRIBUTES.items():
        value = read(private, getattr(attribute, name.upper()))
        found[name] = (not good) if value is None else bool(value)
    return found


def unlike(found: "dict[str, bool]") -> "list[str]":
    """The attributes that are not as a key of ours has them."""
    return [name for name, good in ATTRIBUTES.items() if found[name] is not good]


def make(session: Any, uri: KeyUri, alg: int) -> bytes:
    """A new key pair that stays on the token; its id.  Never over another of that label."""
    where = uri.where()
    if search(session, _named(uri)):
        raise KeyDriverError("key-exists", f"{where}: exists; a key is never overwritten")
    id_ = uri.id or os.urandom(ID_SIZE)
    pair = _generate(session, uri.object or "", id_, alg, where)
    try:
        _check_made(session, pair[1], uri)
    except BaseException:
        for item in pair:
            item.destroy()
        raise
    return id_


def _check_made(session: Any, private: Any, uri: KeyUri) -> None:
    where = uri.where()
    kind = {binding().Attribute.CLASS: binding().ObjectClass.PRIVATE_KEY}
    # No token makes "only if there is none" in one step: who sees a second key withdraws.  After a
    # moment, since a token in software shows what another program made a little later.
    time.sleep(SETTLE_S)
    if len(search(session, _named(uri) | kind)) != 1:
        raise KeyDriverError("key-exists", f"{where}: was made by another program just now")
    wrong = unlike(attributes(private))
    if wrong:
        raise KeyDriverError(
            "token-failed", f"{where}: the token did not make it so: {', '.join(wrong)}"
        )


def _generate(session: Any, label: str, id_: bytes, alg: int, where: str) -> "tuple[Any, Any]":
    pkcs11 = binding()
    attribute = pkcs11.Attribute
    key_type, encodings = pkcs11.KeyType.EC_EDWARDS, ED25519_PARAMS
    if alg == ES256:
        key_type, encodings = pkcs11.KeyType.EC, P256_PARAMS
    for params in encodings:
        curve = session.create_domain_parameters(
            key_type, {attribute.EC_PARAMS: params}, local=True
        )
        try:
            pair: tuple[Any, Any] = curve.generate_keypair(
                store=True,
                label=label,
                id=id_,
                capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
                public_template={attribute.PRIVATE: False},
                private_template={
                    attribute.PRIVATE: True,
                    attribute.SENSITIVE: True,
                    attribute.EXTRACTABLE: False,
                },
            )
        except RuntimeError as error:
            # Tokens take one of the two ways to name the curve, and refuse the other.
            if params is encodings[-1] or gone(error):
                raise driver_error(error, where) from None
        else:
            return pair
    raise KeyDriverError("no-such-key", f"{where}: the token makes no such key")
