"""The peers: one signature on each record, by three libraries that people use for it.

Each peer signs a record into a message and verifies a message back into the record, raising when
it does not verify. They are given their best case: keys are loaded once, and messages travel in the
same batches as ours.
"""

import hashlib
from typing import Protocol

from tallystick.evidence import cose
from tallystick.evidence.keys import EDDSA


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

    def __init__(self) -> None:
        from nacl.signing import SigningKey  # noqa: PLC0415 - each peer is loaded when it is measured

        self._key = SigningKey.generate()
        self._public = self._key.verify_key
        self._protected = cose.protected_header(EDDSA, b"benchkey", None, None)

    def sign(self, record: bytes) -> bytes:
        """Sign the Sig_structure and append record and signature."""
        signature = self._key.sign(cose.to_be_signed(self._protected, record)).signature
        return cose.encode(self._protected, record, signature)

    def verify(self, message: bytes) -> bytes:
        """Parse, rebuild the Sig_structure, verify."""
        # The record stands before the 66 bytes of the signature; a peer need not parse more.
        head = 2 + len(self._protected) + 2 + 1
        size = 3 if message[head] == 0x59 else 2
        record = message[head + size : -66]
        self._public.verify(cose.to_be_signed(self._protected, record), message[-64:])
        return record


class ScittCose:
    """scitt-cose: signed statements of RFC 9943."""

    name = "scitt-cose"

    def __init__(self) -> None:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - as above
            Ed25519PrivateKey,
        )

        key = Ed25519PrivateKey.generate()
        self._private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self._public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, record: bytes) -> bytes:
        """One signed statement."""
        import scitt_cose  # noqa: PLC0415 - as above

        signed: bytes = scitt_cose.build_signed_statement(
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
        import scitt_cose  # noqa: PLC0415 - as above

        result = scitt_cose.verify_sign1(message, public_key_pem=self._public)
        payload: bytes = result.payload
        return payload


class AgentReceipts:
    """agent-receipts: one JSON credential for each action."""

    name = "agent-receipts"

    def __init__(self) -> None:
        import agent_receipts  # noqa: PLC0415 - as above

        self._lib = agent_receipts
        self._keys = agent_receipts.generate_key_pair()
        self._count = 0
        self._previous: str | None = None

    def sign(self, record: bytes) -> bytes:
        """Create and sign one receipt that names the record's digest."""
        lib = self._lib
        self._count += 1
        unsigned = lib.create_receipt(
            lib.CreateReceiptInput(
                issuer=lib.Issuer(id="did:example:robot"),
                principal=lib.Principal(id="did:example:acme", type="Organization"),
                action=lib.ActionInput(
                    type="robot.decision",
                    risk_level="low",
                    parameters_hash="sha256:" + hashlib.sha256(record).hexdigest(),
                ),
                outcome=lib.Outcome(status="success"),
                chain=lib.Chain(
                    sequence=self._count, previous_receipt_hash=self._previous, chain_id="bench"
                ),
            )
        )
        receipt = lib.sign_receipt(unsigned, self._keys.private_key, "did:example:robot#key-1")
        encoded: str = receipt.model_dump_json(by_alias=True, exclude_defaults=True)
        return encoded.encode()

    def verify(self, message: bytes) -> bytes:
        """Parse and verify one receipt."""
        receipt = self._lib.AgentReceipt.model_validate_json(message)
        if not self._lib.verify_receipt(receipt, self._keys.public_key):
            message_text = "an agent-receipts receipt did not verify"
            raise ValueError(message_text)
        return message


def all_peers() -> list[Peer]:
    """The three peers; each is checked once, so that no rate is of something that fails."""
    peers: list[Peer] = [Libsodium(), ScittCose(), AgentReceipts()]
    for peer in peers:
        peer.verify(peer.sign(b"\x84\x00probe"))
    return peers
