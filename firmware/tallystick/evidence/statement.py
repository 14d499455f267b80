"""Signed statements (RFC 9052, 4.2; RFC 9943, 5): tag 18 [protected, {}, payload, signature]."""

# Protected: alg, kid and CWT claims with iss and sub, nothing else.  The payload is an array whose
# first element is the kind.  What is received and what is verified are two types: `verify` gives
# the second, and only it.

from tallystick.evidence import _text, cose
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey, device_from_text, device_text
from tallystick.evidence.limits import NAME_BYTES_MAX, STATEMENT_BYTES_MAX
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, Protocol, TypeVar

    from tallystick.evidence import _statementmaker

    Unsigned = _statementmaker.Unsigned
    prepare = _statementmaker.prepare
    sign = _statementmaker.sign
    S = TypeVar("S", bound="Signed")

    class Signs(Protocol):
        """What signing needs of a Signer."""

        def public_key(self) -> PublicKey: ...
        def sign(self, message: bytes) -> bytes: ...


ALG, KID, CWT_CLAIMS, ISS, SUB, RECEIPTS = 1, 4, 15, 1, 2, 394
check_iss = _text.check_iss
# iss, sub and the id in it by protected header: read once, as in cose.py.
_names: "dict[bytes, tuple[str, str, bytes | None]]" = {}


class Statement:
    """As received; nothing is verified."""

    # `device` is the id that `sub` names, or None where it is no id; `kid` is a hint that proves
    # nothing; `payload` is the encoded array.

    def __init__(
        self, data: bytes, sign1: "cose.Sign1", names: "tuple[Any, ...]", values: "list[Any]"
    ) -> None:
        self._data = data
        self._digest: bytes | None = None
        self.sign1 = sign1
        self.iss: str = names[0]
        self.sub: str = names[1]
        self.device: bytes | None = names[2]
        self.values = values
        self.alg = sign1.alg
        self.kid: bytes = sign1.headers[KID]
        self.payload: bytes = sign1.payload or b""

    @property
    def digest(self) -> bytes:
        """SHA-256 over the Sig_structure: identity by content, never by signature bytes."""
        if self._digest is None:
            self._digest = sha256(cose.to_be_signed(self.sign1.protected, self.payload))
        return self._digest

    def encode(self) -> bytes:
        """The bytes as received."""
        return self._data

    def verify(self, key: PublicKey) -> None:
        """Unverified unless this key signed; blocks."""
        self.sign1.verify(key)

    def verifying(self, key: PublicKey) -> "Generator[None, None, None]":
        """As verify, in bounded steps."""
        work = self.sign1.verifier(key)
        while not work.step():
            yield


def check_sub(sub: "Any") -> str:
    """Text of 1 to 64 bytes."""
    if type(sub) is not str or not 1 <= len(sub.encode()) <= NAME_BYTES_MAX:
        raise Malformed("bad-header", "sub must be text of 1 to 64 bytes")
    return sub


def _read_names(headers: "dict[int, Any]") -> "tuple[str, str, bytes | None]":
    claims = headers.get(CWT_CLAIMS)
    if len(headers) != 3 or KID not in headers or type(claims) is not dict or len(claims) != 2:
        raise Malformed("bad-header", "a statement's header holds alg, kid, and claims iss and sub")
    iss = check_iss(claims.get(ISS))
    sub = check_sub(claims.get(SUB))
    try:
        return iss, sub, device_from_text(sub)
    except Malformed:
        return iss, sub, None


def parse(data: bytes, kind: int, bytes_max: int = STATEMENT_BYTES_MAX) -> Statement:
    """A statement whose payload is of this kind; Malformed otherwise."""
    sign1 = cose.parse(data, bytes_max)
    names = _names.get(sign1.protected)
    if names is None:
        names = _read_names(sign1.headers)
        if len(sign1.protected) <= cose.PROTECTED_KEPT_BYTES_MAX:
            if len(_names) >= cose.PROTECTED_KEPT_MAX:
                _names.clear()
            _names[sign1.protected] = names
    if sign1.unprotected:
        receipts = sign1.unprotected.get(RECEIPTS)
        if len(sign1.unprotected) != 1 or type(receipts) is not list or not receipts:
            raise Malformed("bad-header", "only receipts may stand in the unprotected header")
        for receipt in receipts:
            if type(receipt) is not bytes:
                raise Malformed("bad-header", "a receipt in the header must be a byte string")
    if sign1.payload is None:
        raise Malformed("bad-type", "a statement's payload must be attached")
    values = decode(sign1.payload)
    if type(values) is not list or not values or type(values[0]) is not int or values[0] != kind:
        raise Malformed("unknown-kind", "a statement's payload is not of kind %d" % kind)
    return Statement(data, sign1, names, values[1:])


class Signed(Wire):
    # Base of the objects that are payloads of statements.  `statement` is None on what was built
    # here and not signed yet.
    statement: Statement | None = None
    # Where the verified object holds the key that signed it.
    _signed_by = "key"

    def payload(self) -> bytes:
        """The encoded array that is signed."""
        statement = self.statement
        return encode(self.values()) if statement is None else statement.payload

    def encode(self) -> bytes:
        """The statement's bytes as received."""
        return self.received().encode()

    def received(self) -> Statement:
        """The statement; ValueError on an object that nobody signed."""
        if self.statement is None:
            raise ValueError("not signed: sign() gives a statement's bytes, parse() reads them")
        return self.statement

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Signed):
            return False
        if self.statement is None or other.statement is None:
            return self.statement is other.statement and self.payload() == other.payload()
        return self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.payload())

    @property
    def iss(self) -> str:
        """Who signed, by name."""
        return self.received().iss

    @property
    def sub(self) -> str:
        """The subject's text."""
        return self.received().sub

    @property
    def digest(self) -> bytes:
        """The statement's digest, 32 bytes."""
        return self.received().digest

    @property
    def device(self) -> bytes:
        """The subject's id; Malformed when `sub` is no id."""
        return subject_device(self.received())

    def sign(self, signer: "Signs", iss: str, sub: str | bytes) -> bytes:
        """The signed statement's bytes; `sub` may be an id of 32 bytes."""
        from tallystick.evidence._statementmaker import sign  # noqa: PLC0415  # costs heap

        return sign(signer, iss, sub if isinstance(sub, str) else device_text(sub), self.payload())

    def _as(self, verified: "type[S]", key: PublicKey) -> "S":
        # Made without __init__, which would check what was checked at parsing.
        twin = object.__new__(verified)
        for name, value in self.__dict__.items():
            setattr(twin, name, value)
        setattr(twin, self._signed_by, key)
        return twin

    def _verified(self, verified: "type[S]", key: PublicKey) -> "S":
        self.received().verify(key)
        return self._as(verified, key)

    def _verifier(self, verified: "type[S]", key: PublicKey) -> Steps:
        return Steps(self._verifying(verified, key))

    def _verifying(self, verified: "type[S]", key: PublicKey) -> "Generator[None, None, S]":
        yield from self.received().verifying(key)
        return self._as(verified, key)


def subject_device(statement: Statement) -> bytes:
    """The id of 32 bytes that `sub` names; Malformed when it names none."""
    if statement.device is None:
        raise Malformed("bad-header", "sub must be an id of 43 base64url characters")
    return statement.device


def __getattr__(name: str) -> "Any":
    # A device verifies statements of others; its own checkpoints the recorder makes.
    if name in ("Unsigned", "prepare", "sign"):
        from tallystick.evidence import _statementmaker  # noqa: PLC0415  # see above

        return getattr(_statementmaker, name)
    raise AttributeError(name)
