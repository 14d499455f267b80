"""scitt-cose, another implementation of RFC 9943 and RFC 9942, accepts what we issue."""

import cbor2
import pytest
import scitt_cose
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from support import examples as ex
from tallystick.evidence import checkpoint, cose, kinds, receipt, statement, tree
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import EDDSA, PublicKey

LOGS = [ex.giver_log(), ex.receiver_log()]
LOG_IDS = ["EdDSA", "ES256"]
LOG_KEYS = [ex.GATEWAY, ex.VALIDATOR]  # Ed25519 and P-256


def pem(key: PublicKey) -> bytes:
    public: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
    if key.alg == EDDSA:
        public = ed25519.Ed25519PublicKey.from_public_bytes(key.raw)
    else:
        point = b"\x04" + key.raw
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize("log", LOGS, ids=LOG_IDS)
def test_a_checkpoint_is_a_signed_statement(log: ex.Log) -> None:
    key = log.signer.public_key()
    for data in log.checkpoints:
        got = scitt_cose.parse_signed_statement(data, public_key_pem=pem(key))
        assert got["signature_verified"] is True
        ours = checkpoint.parse(data)
        assert (got["issuer"], got["subject"]) == (ours.iss, ours.sub)
        assert got["payload"] == ours.payload()
        assert cbor2.loads(got["payload"])[3] == ours.root
    changed = data[:-1] + bytes([data[-1] ^ 1])
    refused = scitt_cose.parse_signed_statement(changed, public_key_pem=pem(key))
    assert refused["signature_verified"] is False


@pytest.mark.parametrize(
    "data",
    [ex.custody_receipt(LOGS[0]), ex.enrol(ex.GIVER).encode(), ex.the_genesis(), ex.the_verdict()],
    ids=["custody receipt", "enrolment", "genesis", "verdict"],
)
def test_other_statements_are_signed_statements_too(data: bytes) -> None:
    signers = (ex.GATEWAY, ex.ACME_ROOT, ex.VALIDATOR)
    kid = cose.parse(data, 65535).kid
    (signer,) = [signer for signer in signers if signer.public_key().kid() == kid]
    key = pem(signer.public_key())
    got = scitt_cose.parse_signed_statement(data, public_key_pem=key)
    assert got["signature_verified"] is True


@pytest.mark.parametrize("signer", LOG_KEYS, ids=LOG_IDS)
def test_a_receipt_is_a_cose_receipt(signer: ex.Signer) -> None:
    key = pem(signer.public_key())
    entries = ex.validator_log()
    for size in (1, 3, len(entries)):
        for index in range(size):
            data = ex.inclusion_receipt(index, size, signer)
            got = scitt_cose.verify_receipt(
                data, log_public_key_pem=key, leaf_entry_hex=entries[index].hex()
            )
            assert got.ok, got.errors
            ours = receipt.parse(data).verify(entries[index], signer.public_key())
            assert (got.tree_size, got.leaf_index) == (ours.size, ours.index) == (size, index)
            assert got.root == ours.root.hex()
            assert (got.issuer, got.subject, got.iat) == (ours.iss, ours.sub, ours.iat)
    wrong = scitt_cose.verify_receipt(data, log_public_key_pem=key, leaf_entry_hex=entries[0].hex())
    assert not wrong.ok


@pytest.mark.parametrize("signer", LOG_KEYS, ids=LOG_IDS)
@pytest.mark.parametrize("log", LOGS, ids=LOG_IDS)
def test_a_statement_with_receipts_is_a_transparent_statement(
    log: ex.Log, signer: ex.Signer
) -> None:
    index = ex.validator_log().index(log.checkpoints[0])
    issued = [ex.inclusion_receipt(index, 8, signer), ex.inclusion_receipt(index, 4, signer)]
    ours = receipt.attach(log.checkpoints[0], issued)
    assert scitt_cose.extract_receipts(ours) == issued
    key = pem(log.signer.public_key())
    got = scitt_cose.parse_signed_statement(ours, public_key_pem=key)
    assert got["signature_verified"] is True
    # And the other way about: what scitt-cose attaches we read.
    theirs = scitt_cose.attach_receipts(log.checkpoints[0], issued)
    assert theirs == ours
    assert receipt.attached(theirs) == issued
    read = statement.parse(theirs, kinds.CHECKPOINT)
    assert read.digest == checkpoint.parse(log.checkpoints[0]).digest
    for data in scitt_cose.extract_receipts(ours):
        proven = scitt_cose.verify_receipt(
            data,
            log_public_key_pem=pem(signer.public_key()),
            leaf_entry_hex=read.sign1.statement_bytes().hex(),
        )
        assert proven.ok, proven.errors


def test_trees_and_proofs_are_the_same() -> None:
    entries = [bytes([n]) * (n % 5) for n in range(40)]
    leaves = [tree.leaf_hash(data) for data in entries]
    for size in range(1, 41):
        shown = [data.hex() for data in entries[:size]]
        assert scitt_cose.merkle_root(shown) == tree.root_of(leaves[:size]).hex()
        for index in {0, size // 2, size - 1}:
            path = [node.hex() for node in tree.inclusion_path(leaves, index, size)]
            assert scitt_cose.inclusion_proof(shown, index) == path
        for old in {1, size // 2 or 1, size}:
            path = [node.hex() for node in tree.consistency_path(leaves, old, size)]
            assert scitt_cose.consistency_proof(shown, old, size) == path


def test_what_it_signs_with_our_headers_we_read() -> None:
    # Its own statements carry a content type, which ours never do: the profile is narrower.
    private = ed25519.Ed25519PrivateKey.from_private_bytes(ex.GIVER.secret).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    ours = checkpoint.parse(LOGS[0].checkpoints[0])
    kid = ex.GIVER.public_key().kid()
    headers = {4: kid, 15: {1: ours.iss, 2: ours.sub}}
    theirs = scitt_cose.sign_sign1(
        ours.payload(), alg="EdDSA", private_key_pem=private, protected=headers
    )
    protected = cbor2.loads(cbor2.loads(theirs).value[0])
    assert protected == {1: -8, **headers}
    with pytest.raises(TallyError) as refused:
        checkpoint.parse(theirs)
    # Written in the order in which the labels were given, not in the one deterministic order.
    assert refused.value.reason == "non-canonical"
