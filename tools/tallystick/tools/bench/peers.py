"""The peers: one signature on each record, by three libraries that people use for it.

Each peer signs a record into a message and verifies a message back into the record, raising when
it does not verify. They are given their best case: keys are loaded once where the library allows
it, and messages travel in the same batches as ours. A peer is made from a 32-byte seed, so that the
process that verifies has the key of the process that signed.
"""

import base64
from typing import Protocol

from tallystick.evidence import cose
from tallystick.evidence.digest import sha256
from tallystick.evidence.keys import EDDSA

SIGNATURE_SIZE = 64
# What stands before the 32 bytes of an Ed25519 seed in PKCS #8, and of a key in an
# SubjectPublicKeyInfo (RFC 8410, section 10.3 and 10.1).
_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")
_SPKI = bytes.fromhex("302a300506032b6570032100")


class Peer(Protocol):
    """One way to sign every record."""

    name: str

    def sign(self, record: bytes) -> bytes:
        """Make the signed message of one record."""

    def verify(self, message: bytes) -> bytes:
        """Check one message; returns the record or raises."""


class Libsodium:
    """COSE_Sign1 by hand over libsodium: the least that a signature a record costs."""

    name = "libsodium"

    def __init__(self, seed: bytes) -> None:
        from nacl.signing import SigningKey  # noqa: PLC0415 - each peer is loaded when it is measured

        self._key = SigningKey(seed)
        self._public = self._key.verify_key
        self._protected = cose.protected_header(EDDSA, b"benchkey", None, None)
        # Everything before the record's own head is the same in each message.
        empty = cose.encode(self._protected, b"", bytes(SIGNATURE_SIZE))
        self._head = len(empty) - SIGNATURE_SIZE - 3

    def sign(self, record: bytes) -> bytes:
        """Sign the Sig_structure and append record and signature."""
        signature = self._key.sign(cose.to_be_signed(self._protected, record)).signature
        return cose.encode(self._protected, record, signature)

    def verify(self, message: bytes) -> bytes:
        """Cut the record out, rebuild the Sig_structure, verify; a peer need not parse more."""
        begin = self._head + {0x58: 2, 0x59: 3}.get(message[self._head], 1)
        record = message[begin : -SIGNATURE_SIZE - 2]
        signed = cose.to_be_signed(self._protected, record)
        self._public.verify(signed, message[-SIGNATURE_SIZE:])
        return record


class ScittCose:
    """scitt-cose: signed statements of RFC 9943."""

    name = "scitt-cose"

    def __init__(self, seed: bytes) -> None:
        import scitt_cose  # noqa: PLC0415 - as above

        self._lib = scitt_cose
        self._private, self._public = (pem.encode() for pem in _pem_pair(seed))

    def sign(self, record: bytes) -> bytes:
        """One signed statement."""
        signed: bytes = self._lib.build_signed_statement(
            record,
            alg="EdDSA",
            private_key_pem=self._private,
            issuer="acme",
            subject="device",
            content_type="application/cbor",
        )
        return signed

    def verify(self, message: bytes) -> bytes:
        """Verify one signed statement."""
        payload: bytes = self._lib.verify_sign1(message, public_key_pem=self._public).payload
        return payload


class AgentReceipts:
    """agent-receipts: one JSON credential an action, chained; the record travels beside it."""

    name = "agent-receipts"

    def __init__(self, seed: bytes) -> None:
        import agent_receipts  # noqa: PLC0415 - as above

        self._lib = agent_receipts
        self._private, self._public = _pem_pair(seed)
        self._count = 0
        self._previous: str | None = None

    def sign(self, record: bytes) -> bytes:
        """Create and sign one receipt that names the record's digest and the receipt before it."""
        lib = self._lib
        self._count += 1
        unsigned = lib.create_receipt(
            lib.CreateReceiptInput(
                issuer=lib.Issuer(id="did:example:robot"),
                principal=lib.Principal(id="did:example:acme", type="Organization"),
                action=lib.ActionInput(
                    type="robot.decision", risk_level="low", parameters_hash=_hash_text(record)
                ),
                outcome=lib.Outcome(status="success"),
                chain=lib.Chain(
                    sequence=self._count, previous_receipt_hash=self._previous, chain_id="bench"
                ),
            )
        )
        receipt = lib.sign_receipt(unsigned, self._private, "did:example:robot#key-1")
        self._previous = lib.hash_receipt(receipt)
        encoded: str = receipt.model_dump_json(by_alias=True, exclude_unset=True)
        return len(record).to_bytes(2, "big") + record + encoded.encode()

    def verify(self, message: bytes) -> bytes:
        """Parse and verify one receipt, and that it is for the record beside it."""
        end = 2 + int.from_bytes(message[:2], "big")
        record = message[2:end]
        receipt = self._lib.AgentReceipt.model_validate_json(message[end:])
        if not self._lib.verify_receipt(receipt, self._public):
            error = "an agent-receipts receipt did not verify"
            raise ValueError(error)
        if receipt.credentialSubject.action.parameters_hash != _hash_text(record):
            error = "an agent-receipts receipt is for another record"
            raise ValueError(error)
        return record


PEERS: dict[str, type[Libsodium | ScittCose | AgentReceipts]] = {
    peer.name: peer for peer in (Libsodium, ScittCose, AgentReceipts)
}


def checked(name: str, seed: bytes) -> Peer:
    """The peer of this name, tried once, so that no rate is of something that fails."""
    peer: Peer = PEERS[name](seed)
    probe = bytes(100)
    if peer.verify(peer.sign(probe)) != probe:
        error = f"{name} does not give the record back"
        raise ValueError(error)
    return peer


def _hash_text(record: bytes) -> str:
    return "sha256:" + sha256(record).hex()


def _pem_pair(seed: bytes) -> tuple[str, str]:
    from nacl.signing import SigningKey  # noqa: PLC0415 - as above

    public = bytes(SigningKey(seed).verify_key)
    return _pem("PRIVATE KEY", _PKCS8 + seed), _pem("PUBLIC KEY", _SPKI + public)


def _pem(label: str, data: bytes) -> str:
    return f"-----BEGIN {label}-----\n{base64.b64encode(data).decode()}\n-----END {label}-----\n"
