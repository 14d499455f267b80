# Signed statements as plain values: what statement.py and cose.py give as objects, for a device
# that checks halves in a small heap.  tests/evidence/test_halfphases.py holds both to one answer.

from tallystick.evidence._text import check_iss, device_from_text
from tallystick.evidence.cbor import decode, head
from tallystick.evidence.errors import Malformed

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # iss, subject's id, alg, kid, message that is signed, signature, values after the kind.
    Parts = tuple[str, bytes, int, bytes, bytes, bytes, list[Any]]

# As in keys.py and cose.py; repeated because those cost heap.
_ALGS = {-7: -7, -9: -7, -8: -8, -19: -8}
_RECEIPTS = 394


class Read:
    """iss, subject's id, alg, kid, message that is signed, signature, values after the kind."""

    # Its parts are taken out by who reads: an object would keep this code in the heap.

    def __init__(self, data: bytes, kind: int, bytes_max: int) -> None:
        if len(data) > bytes_max:
            raise Malformed("too-large", "a statement of %d bytes" % len(data))
        if data[:1] != b"\xd2":
            raise Malformed("bad-type" if data else "truncated", "a statement begins with tag 18")
        parts = decode(data[1:])
        if type(parts) is not list or len(parts) != 4:
            raise Malformed("bad-type", "a COSE_Sign1 must be an array of four")
        protected, unprotected, payload, self.signature = parts
        if (
            type(protected) is not bytes
            or type(unprotected) is not dict
            or not (payload is None or type(payload) is bytes)
            or type(self.signature) is not bytes
        ):
            raise Malformed("bad-type", "a part of a COSE_Sign1 is of a wrong type")
        if len(self.signature) != 64:
            raise Malformed("bad-signature", "a signature must be 64 bytes")
        self._headers(decode(protected), unprotected)
        if payload is None:
            raise Malformed("bad-type", "a statement's payload must be attached")
        values = decode(payload)
        if type(values) is not list or not values or type(values[0]) is not int:
            raise Malformed("unknown-kind", "a statement's payload has no kind")
        if values[0] != kind:
            raise Malformed("unknown-kind", "a statement's payload is not of kind %d" % kind)
        self.values = values[1:]
        # Sig_structure with an empty external_aad (RFC 9052, section 4.4).
        self.message = b"".join(
            (
                b"\x84\x6aSignature1",
                head(2, len(protected)),
                protected,
                b"\x40",
                head(2, len(payload)),
                payload,
            )
        )

    def _headers(self, headers: "Any", unprotected: "dict[int, Any]") -> None:
        if type(headers) is not dict or len(headers) != 3:
            raise Malformed("bad-header", "a statement's header holds alg, kid and claims")
        alg, kid, claims = headers.get(1), headers.get(4), headers.get(15)
        if type(alg) is not int or alg not in _ALGS or type(kid) is not bytes or len(kid) != 8:
            raise Malformed("bad-header", "a statement's header holds alg, kid and claims")
        if type(claims) is not dict or len(claims) != 2:
            raise Malformed("bad-header", "a statement's header holds alg, kid and claims")
        self.alg = _ALGS[alg]
        self.kid = kid
        self.iss = check_iss(claims.get(1))
        sub: "Any" = claims.get(2)
        try:
            self.device = device_from_text(sub)
        except Malformed:
            raise Malformed("bad-header", "sub must be an id of 43 base64url characters")
        if unprotected:
            receipts = unprotected.get(_RECEIPTS)
            if len(unprotected) != 1 or type(receipts) is not list or not receipts:
                raise Malformed("bad-header", "only receipts may stand in the unprotected header")
            for receipt in receipts:
                if type(receipt) is not bytes:
                    raise Malformed("bad-header", "a receipt must be a byte string")

    def parts(self) -> "Parts":
        """All of it as plain values."""
        return (
            self.iss,
            self.device,
            self.alg,
            self.kid,
            self.message,
            self.signature,
            self.values,
        )
