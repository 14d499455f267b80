"""What each operation of tests/vectors means: what is given, and what comes of it.

Values are JSON: bytes in hexadecimal, keys as the hexadecimal of their COSE_Key.
"""

from collections.abc import Callable
from typing import Any

from tallystick.evidence import (
    attester,
    batch,
    batchanswer,
    cbor,
    checkpoint,
    claim,
    cosignature,
    credential,
    custody,
    custody_atecc608,
    custody_pkcs11,
    custody_tpm2,
    devicehold,
    deviceprofile,
    enrolment,
    enrolmentrequest,
    entry,
    erasure,
    evidencefile,
    finding,
    forkproof,
    gatewayhead,
    gatewaylog,
    genesis,
    half,
    hello,
    ids,
    invitation,
    joinanswer,
    joincode,
    joinrequest,
    keycustody,
    keys,
    leaf,
    notarised,
    note,
    notice,
    number,
    peerfile,
    profile,
    proof,
    queueorder,
    quotarefusal,
    receipt,
    record,
    registration,
    resend,
    root,
    score,
    segment,
    segmentrequest,
    serialframe,
    statement,
    tree,
    verdict,
    welcome,
)
from tallystick.evidence import misbehaviour as misbehaviours
from tallystick.evidence.errors import Malformed, TallyError

Given = dict[str, Any]
OPERATIONS: dict[str, Callable[[Given], Given]] = {}


def operation(function: Callable[[Given], Given]) -> Callable[[Given], Given]:
    """Enter a function into the table by its name."""
    OPERATIONS[function.__name__.replace("_", "-")] = function
    return function


def run(name: str, given: Given) -> tuple[str, Given]:
    """("ok", what it gives), or (the reason of its refusal, {})."""
    try:
        return "ok", OPERATIONS[name](given)
    except TallyError as error:
        return error.reason, {}


def _bytes(given: Given, name: str = "data") -> bytes:
    return bytes.fromhex(given[name])


def _list(given: Given, name: str) -> list[bytes]:
    return [bytes.fromhex(item) for item in given[name]]


def _key(given: Given, name: str = "key") -> keys.PublicKey:
    return keys.from_cose_key(cbor.decode(_bytes(given, name)))


def _roots(given: Given) -> dict[str, keys.PublicKey]:
    return dict(root.parse_root(line) for line in given["roots"])


def _signed(verified: statement.Signed) -> Given:
    return {"digest": verified.digest.hex(), "iss": verified.iss, "sub": verified.sub}


@operation
def cbor_item(given: Given) -> Given:
    assert cbor.encode(cbor.decode(_bytes(given))) == _bytes(given)
    return {}


@operation
def serial_frame(given: Given) -> Given:
    data = _bytes(given)
    if data[-1:] != b"\0":
        raise Malformed("truncated", "a frame without its end")
    kind, session, sequence, payload = serialframe.parse(data[:-1])
    assert serialframe.encode(kind, session, sequence, payload) == data
    return {"kind": kind, "session": session.hex(), "sequence": sequence, "payload": payload.hex()}


@operation
def number_text(given: Given) -> Given:
    value = number.from_text(given["text"])
    return {"cbor": cbor.encode(value).hex(), "text": number.to_text(value)}


@operation
def salted_leaf(given: Given) -> Given:
    salt = leaf.salt(_bytes(given, "seed"), given["index"])
    return {"salt": salt.hex(), "leaf": leaf.leaf(salt, _bytes(given, "record")).hex()}


@operation
def tree_root(given: Given) -> Given:
    grown = tree.Tree()
    for data in _list(given, "leaves"):
        grown.push(tree.leaf_hash(data))
    return {"root": grown.root().hex(), "edge": [node.hex() for node in grown.edge]}


@operation
def inclusion_proof(given: Given) -> Given:
    where = (given["index"], given["size"])
    path = _list(given, "path")
    proof.verify_inclusion(_bytes(given, "leaf"), *where, path, _bytes(given, "root"))
    return {}


@operation
def consistency_proof(given: Given) -> Given:
    old = (given["size1"], _bytes(given, "root1"))
    new = (given["size2"], _bytes(given, "root2"))
    proof.verify_consistency(*old, *new, _list(given, "path"))
    return {}


@operation
def prefix_proof(given: Given) -> Given:
    sizes = (given["size1"], given["size2"])
    path = _list(given, "path")
    proof.verify_prefix(_list(given, "edge"), *sizes, _bytes(given, "root2"), path)
    return {}


@operation
def public_key(given: Given) -> Given:
    key = _key(given)
    thumbprint = key.thumbprint()
    return {
        "alg": key.alg,
        "thumbprint": thumbprint.hex(),
        "kid": key.kid().hex(),
        "id": keys.device_text(thumbprint),
    }


@operation
def raw_signature(given: Given) -> Given:
    _key(given).verify(_bytes(given, "signature"), _bytes(given, "message"))
    return {}


@operation
def root_line(given: Given) -> Given:
    iss, key = root.parse_root(given["text"])
    return {"iss": iss, "key": cbor.encode(key.cose_key()).hex()}


@operation
def any_record(given: Given) -> Given:
    parsed = record.parse(_bytes(given))
    gives: Given = {"kind": record.kind_of(_bytes(given))}
    if isinstance(parsed, claim.Claim):
        gives["interaction"] = parsed.interaction_id().hex()
        gives["party_set"] = parsed.party_set().hex()
    return gives


@operation
def claim_reference(given: Given) -> Given:
    device, epoch = _bytes(given, "device"), _bytes(given, "epoch")
    reference = ids.claim_reference(device, epoch, given["index"], _bytes(given, "leaf"))
    return {"reference": reference.hex()}


@operation
def signed_checkpoint(given: Given) -> Given:
    verified = checkpoint.parse(_bytes(given)).verify(_key(given))
    return {**_signed(verified), "size": verified.size, "root": verified.root.hex()}


@operation
def two_checkpoints(given: Given) -> Given:
    first, second = (checkpoint.parse(data).verify(_key(given)) for data in _list(given, "heads"))
    checkpoint.follows(first, second)
    return {}


@operation
def whole_segment(given: Given) -> Given:
    known = given["known"]
    edge = tree.Tree(known["size"], _list(known, "edge")) if known else None
    verified = segment.verify_segment(segment.parse(_bytes(given)), _key(given), edge)
    gives: Given = {"first": verified.first, "to": verified.to, "root": verified.tree.root().hex()}
    records = [len(list(stretch.records())) for stretch in verified.stretches]
    return {**gives, "records": records, "knowledge_begins_at": verified.began}


@operation
def custody_receipt(given: Given) -> Given:
    verified = custody.parse(_bytes(given)).verify(_key(given))
    return {**_signed(verified), "from": verified.from_, "to": verified.to}


@operation
def signed_enrolment(given: Given) -> Given:
    verified = enrolment.parse(_bytes(given)).verify(_key(given, "root"))
    return {**_signed(verified), "id": verified.id.hex()}


@operation
def enrolment_request(given: Given) -> Given:
    asked = enrolmentrequest.parse(_bytes(given)).verify(given["iss"], _bytes(given, "id"))
    return {"custody": asked.custody, "evidence": [kind for kind, _ in asked.evidence]}


@operation
def signed_attester(given: Given) -> Given:
    verified = attester.parse(_bytes(given)).verify(_key(given, "root"))
    return {**_signed(verified), "key": cbor.encode(verified.key.cose_key()).hex()}


@operation
def join_code(given: Given) -> Given:
    code = joincode.parse(given["text"])
    iss, _ = code.check_root(given["line"])
    keys_ = {"door": code.door_key().hex(), "fleet": code.fleet_key().hex()}
    return {"text": code.text(), "name": code.name().hex(), **keys_, "iss": iss}


@operation
def join_request(given: Given) -> Given:
    asked = joinrequest.parse(_bytes(given)).verify_door(_bytes(given, "door"))
    asked.verify_fleet(_bytes(given, "fleet"))
    return {"code": asked.code.hex(), "digest": asked.digest.hex()}


@operation
def join_invitation(given: Given) -> Given:
    verified = invitation.parse(_bytes(given)).verify(_key(given, "root"))
    return {**_signed(verified), "code": verified.code.hex(), "uses": verified.uses}


@operation
def join_answer(given: Given) -> Given:
    verified = joinanswer.parse(_bytes(given)).verify(_key(given, "root"))
    return {**_signed(verified), "settings": verified.config(), "profiles": [*verified.profiles]}


@operation
def queue_order(given: Given) -> Given:
    order = queueorder.parse(_bytes(given))
    verified = order.verify(
        _key(given, "root"), _bytes(given, "gateway"), _bytes(given, "challenge")
    )
    return {**_signed(verified), "after": verified.after}


@operation
def device_hold(given: Given) -> Given:
    verified = devicehold.parse(_bytes(given)).verify(_key(given))
    return {**_signed(verified), "serial": verified.serial, "until_ms": verified.until_ms}


@operation
def segment_request(given: Given) -> Given:
    request = segmentrequest.parse(_bytes(given))
    verified = request.verify(_key(given), _bytes(given, "validator"), given["now_ms"])
    return {**_signed(verified), "from": verified.from_, "to": verified.to}


@operation
def signed_erasure(given: Given) -> Given:
    verified = erasure.parse(_bytes(given)).verify(_key(given))
    covered = [n for n in range(given["below"]) if verified.covers(n, given["kind"])]
    return {**_signed(verified), "covers": covered}


@operation
def peer_file(given: Given) -> Given:
    verified = peerfile.parse(_bytes(given)).verify(given["at_s"])
    return {**_signed(verified), "fingerprint": verified.spoken, "roots": [*dict(verified.roots)]}


@operation
def quota_refusal(given: Given) -> Given:
    verified = quotarefusal.parse(_bytes(given)).verify(
        _key(given), given["iss"], _bytes(given, "gateway"), _bytes(given, "batch")
    )
    return {**_signed(verified), "holder": verified.holder, "wait_ms": verified.wait_ms}


@operation
def registration_policy(given: Given) -> Given:
    policy = registration.parse(_bytes(given)).verify(_key(given), _bytes(given, "validator"))
    return {**_signed(policy), "roots": [name for name, _, _ in policy.roots]}


@operation
def custody_evidence(given: Given) -> Given:
    key, id_ = _key(given), _bytes(given, "id")
    context = enrolment.custody_context(key, given["iss"], id_)
    if given["type"] == custody_tpm2.TYPE:
        certified = custody_tpm2.parse(_bytes(given))
        certified.check(key, context, _key(given, "root"), given["iss"], given["at_s"])
    elif given["type"] == custody_pkcs11.TYPE:
        custody_pkcs11.parse(_bytes(given)).check(key, context)
    else:
        custody_atecc608.parse(_bytes(given)).check(key, context)
    return {"context": context.hex()}


@operation
def counted_custody(given: Given) -> Given:
    verified = enrolment.parse(_bytes(given)).verify(_key(given, "root"))
    counted = keycustody.current(credential.Identity(verified))
    return {
        "claimed": enrolment.CUSTODIES[counted.claimed],
        "custody": enrolment.CUSTODIES[counted.level],
        "not_checked": [kind for kind, _ in counted.not_checked],
    }


@operation
def whole_credential(given: Given) -> Given:
    held = credential.Credential(_list(given, "statements"))
    identity = credential.verify_credential(held, _roots(given), given["at_s"])
    key = identity.key.thumbprint()
    return {"id": identity.id.hex(), "key": key.hex(), "status": identity.status}


@operation
def whole_half(given: Given) -> Given:
    keyring = credential.Keyring(_roots(given), given["at_s"])
    for data in given["known"]:
        keyring.verify(credential.Credential([bytes.fromhex(data)]))
    verified = half.verify_half(half.parse(_bytes(given)), keyring)
    return {
        "device": verified.device.hex(),
        "leaf": verified.leaf.hex(),
        "reference": verified.reference.hex(),
    }


@operation
def hello_message(given: Given) -> Given:
    keyring = credential.Keyring(_roots(given), given["at_s"])
    identity = hello.verify_hello(hello.parse(_bytes(given)), keyring)
    return {"device": identity.id.hex(), "iss": identity.iss}


@operation
def welcome_message(given: Given) -> Given:
    return {"time_ms": welcome.parse(_bytes(given)).time_ms}


@operation
def resend_message(given: Given) -> Given:
    request = resend.parse(_bytes(given))
    return {"from": request.from_, "to": request.to}


@operation
def notarised_message(given: Given) -> Given:
    return {"size": notarised.parse(_bytes(given)).size}


@operation
def notice_message(given: Given) -> Given:
    return {"reason": notice.parse(_bytes(given)).reason}


@operation
def gateway_leaf(given: Given) -> Given:
    return {"leaf": gatewaylog.parse(_bytes(given)).leaf_hash().hex()}


@operation
def gateway_head(given: Given) -> Given:
    verified = gatewayhead.parse(_bytes(given)).verify(_key(given))
    return {**_signed(verified), "size": verified.size, "root": verified.root.hex()}


@operation
def whole_batch(given: Given) -> Given:
    known = given["known"]
    pair = (known["size"], _bytes(known, "root")) if known else None
    verified = batch.verify_batch(batch.parse(_bytes(given)), _key(given), pair)
    gives: Given = {"size": verified.tree.size, "root": verified.tree.root().hex()}
    return {**_signed(verified), **gives, "segments": [at for at, _ in verified.segments]}


@operation
def batch_answer(given: Given) -> Given:
    answer = batchanswer.parse(_bytes(given))
    refused = [list(row) for row in answer.refused]
    return {"size": answer.size, "receipts": len(answer.receipts), "refused": refused}


@operation
def log_entry(given: Given) -> Given:
    parsed = entry.parse_entry(_bytes(given))
    return {"kind": type(parsed).__name__, "leaf": tree.leaf_hash(_bytes(given)).hex()}


@operation
def log_checkpoint(given: Given) -> Given:
    verified = note.parse(given["text"]).verify(note.parse_key(given["key"]))
    return {"origin": verified.origin, "size": verified.size, "root": verified.root.hex()}


@operation
def note_key(given: Given) -> Given:
    key = note.parse_key(given["text"])
    return {"name": key.name, "key_id": key.key_id.hex(), "key": key.key.raw.hex()}


@operation
def log_cosignature(given: Given) -> Given:
    received = note.parse(given["text"])
    key = cosignature.parse_key(given["key"])
    time_s = key.verify(received.body(), received.signatures)
    return {"origin": received.origin, "size": received.size, "time_s": str(time_s)}


@operation
def cosigner_key(given: Given) -> Given:
    key = cosignature.parse_key(given["text"])
    return {"name": key.name, "key_id": key.key_id.hex(), "key": key.key.raw.hex()}


@operation
def signed_note(given: Given) -> Given:
    body, signatures = note.split(given["text"])
    note.parse_key(given["key"]).verify(body, signatures)
    return {"body": body}


@operation
def inclusion_receipt(given: Given) -> Given:
    verified = receipt.parse(_bytes(given)).verify(_bytes(given, "entry"), _key(given))
    return {
        "iss": verified.iss,
        "sub": verified.sub,
        "iat": verified.iat,
        "size": verified.size,
        "index": verified.index,
        "root": verified.root.hex(),
    }


@operation
def consistency_receipt(given: Given) -> Given:
    roots = (_bytes(given, "root1"), _bytes(given, "root2"))
    verified = receipt.parse_consistency(_bytes(given)).verify(*roots, _key(given))
    return {"size1": verified.size1, "size2": verified.size2}


@operation
def profile_encoding(given: Given) -> Given:
    parsed = profile.parse(_bytes(given))
    for_devices = parsed.device_profile().encode()
    return {"digest": parsed.digest.hex(), "device_profile": for_devices.hex()}


@operation
def device_profile(given: Given) -> Given:
    return {"digest": deviceprofile.parse(_bytes(given)).digest.hex()}


@operation
def signed_genesis(given: Given) -> Given:
    verified = genesis.parse(_bytes(given)).verify(_key(given))
    keys_ = {"note_key": verified.note_key.text()}
    return {**_signed(verified), "origin": verified.origin, **keys_}


@operation
def finding_inputs(given: Given) -> Given:
    return {"digest": finding.parse_inputs(_bytes(given)).digest().hex()}


@operation
def unsigned_finding(given: Given) -> Given:
    parsed = finding.parse(_bytes(given))
    return {"state": parsed.state, "party_set": parsed.party_set().hex()}


@operation
def signed_verdict(given: Given) -> Given:
    verified = verdict.parse(_bytes(given)).verify(_key(given))
    return {**_signed(verified), "state": verified.finding.state, "size": verified.size}


@operation
def fork_proof(given: Given) -> Given:
    proof = forkproof.parse(_bytes(given))
    key = _key(given)
    for head in (proof.first, proof.second):
        head.verify(key)
    return {"device": proof.device.hex(), "sizes": [proof.first.size, proof.second.size]}


@operation
def misbehaviour(given: Given) -> Given:
    return {"name": misbehaviours.parse(_bytes(given)).NAME}


@operation
def signed_score(given: Given) -> Given:
    got = score.parse(_bytes(given)).verify(_key(given))
    return {"period_ms": [got.from_ms, got.to_ms], "logs": [one.origin for one in got.logs]}


@operation
def evidence_file(given: Given) -> Given:
    file = evidencefile.parse(_bytes(given))
    names = (
        "credentials",
        "profiles",
        "halves",
        "entries",
        "custody",
        "notes",
        "heads",
        "forks",
        "proofs",
    )
    counts: Given = {name: len(getattr(file, name)) for name in names}
    return {**counts, "note": file.note}
