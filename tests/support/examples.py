"""One small world with fixed keys, and an encoded example of every wire object in it.

Two fleets: acme (Ed25519 throughout) with the robot `giver`, globex (P-256 throughout) with the
robot `receiver`. A gateway of acme, a validator of initech. Every signature is deterministic
(Ed25519; RFC 6979 for P-256), so that the same bytes come out everywhere: tests/vectors/make.py
writes them to files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.signing import SigningKey

from tallystick.evidence import (
    batch,
    batchanswer,
    checkpoint,
    claim,
    credential,
    custody,
    decision,
    deviceprofile,
    enrolment,
    entry,
    erasure,
    event,
    evidencefile,
    finding,
    forkproof,
    gatewayhead,
    gatewaylog,
    genesis,
    half,
    hello,
    keychange,
    leaf,
    notarised,
    note,
    notice,
    profile,
    receipt,
    record,
    resend,
    segment,
    tree,
    verdict,
    welcome,
)
from tallystick.evidence.accepted import AcceptedHalf
from tallystick.evidence.digest import sha256
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.keys import EDDSA, ES256, PublicKey, from_raw, low_s
from tallystick.evidence.number import Dec

ACME, GLOBEX, INITECH = "acme", "globex", "initech"
ORIGIN = "log.initech.example"
NAMESPACE = "dock-3"
TASK = "order-4711"
EPOCH = bytes.fromhex("0102030405060708")
SEED = sha256(b"seed of the first stretch")
SEED2 = sha256(b"seed of the second stretch")
TIME_MS = 1_790_000_000_000
TIME_S = TIME_MS // 1000


class Signer:
    """A key from a fixed secret; the same message gives the same signature."""

    def __init__(self, alg: int, name: str) -> None:
        self.alg = alg
        self.secret = sha256(b"tallystick test key: " + name.encode())
        if alg == EDDSA:
            raw = bytes(SigningKey(self.secret).verify_key)
        else:
            public = self._p256().public_key().public_numbers()
            raw = public.x.to_bytes(32, "big") + public.y.to_bytes(32, "big")
        self._key = from_raw(alg, raw)

    def _p256(self) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(int.from_bytes(self.secret, "big"), ec.SECP256R1())

    def public_key(self) -> PublicKey:
        return self._key

    def sign(self, message: bytes) -> bytes:
        if self.alg == EDDSA:
            return bytes(SigningKey(self.secret).sign(message).signature)
        der = self._p256().sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(der)
        return low_s(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    @property
    def id(self) -> bytes:
        return self._key.thumbprint()


ACME_ROOT = Signer(EDDSA, "acme root")
GLOBEX_ROOT = Signer(ES256, "globex root")
INITECH_ROOT = Signer(ES256, "initech root")
GIVER = Signer(EDDSA, "giver")
GIVER2 = Signer(EDDSA, "giver after its rotation")
RECEIVER = Signer(ES256, "receiver")
GATEWAY = Signer(EDDSA, "gateway")
VALIDATOR = Signer(ES256, "validator")
NOTE_SIGNER = Signer(EDDSA, "validator's notes")
WITNESS = Signer(EDDSA, "witness")
ROOTS = {
    ACME: ACME_ROOT.public_key(),
    GLOBEX: GLOBEX_ROOT.public_key(),
    INITECH: INITECH_ROOT.public_key(),
}
PARTIES = {"giver": [GIVER.id], "receiver": [RECEIVER.id]}


def the_profile() -> profile.Profile:
    """Two roles, one claim each, one check."""
    position = ["numbers", "m", 3, True]
    return profile.Profile(
        "handover",
        1,
        ACME,
        5000,
        {"giver": [1, 1], "receiver": [1, 1]},
        {
            "giver": {"released": {"item": ["text", None, None, True], "position_m": position}},
            "receiver": {"acquired": {"item": ["text", None, None, True], "position_m": position}},
        },
        [["agree", "same item", {"claims": ["released", "acquired"], "field": "item"}]],
    )


def enrol(
    signer: Signer, subject: int = 0, iss: str = ACME, root: Signer = ACME_ROOT
) -> enrolment.Enrolment:
    key, possession = enrolment.request(signer, iss)
    validity = [TIME_S - 1000, TIME_S + 31_536_000]
    details = {"manufacturer": "Initech", "names": {"vda5050": "agv-1"}, "serial": "0001"}
    releases = [["2026.11", sha256(b"firmware")]]
    unsigned = enrolment.Enrolment(
        subject, signer.id, key, 0, [], details, releases, 60, validity, possession
    )
    return enrolment.parse(unsigned.sign(root, iss, signer.id))


def make_claim(role: str, name: str) -> claim.Claim:
    fields = {"item": "pallet-7", "position_m": [Dec(125, -2), -3], "speed_m_s": Dec(4, -1)}
    return claim.Claim(
        5200,
        NAMESPACE,
        TASK,
        the_profile().digest,
        role,
        name,
        fields,
        {"speed_m_s": ["<=", Dec(5, -1), "m/s", True]},
        PARTIES,
        [TIME_MS, TIME_MS + 800, 50],
        [],
    )


@dataclass(frozen=True)
class Log:
    """A device's log of five records in two stretches: three, then two more."""

    signer: Signer
    iss: str
    records: list[bytes]
    leaves: list[bytes]
    checkpoints: list[bytes]

    @property
    def claim_index(self) -> int:
        return 2


@cache
def log_of(signer: Signer, iss: str, role: str, name: str) -> Log:
    records = [
        event.Event(10, "epoch", {"previous": None, "reason": "new"}).encode(),
        decision.Decision(
            5100,
            ["grasp-net", "3f2a91", None],
            {"camera": sha256(b"frame")},
            {"speed_m_s": [Dec(4, -1), "<=", Dec(5, -1), "m/s", True]},
            {},
            {"action": "grip"},
        ).encode(),
        make_claim(role, name).encode(),
        event.Event(6000, "acme.lights", {"on": True}).encode(),
        event.Event(6100, "acme.lights", {"on": False}).encode(),
    ]
    leaves = leaf.leaves(SEED, 0, records[:3]) + leaf.leaves(SEED2, 3, records[3:])
    heads = []
    for size, uptime_ms in ((3, 5300), (5, 6200)):
        root = tree.root_of(leaves[:size])
        head = checkpoint.Checkpoint(EPOCH, size, root, 1, 1, uptime_ms, [TIME_MS, 20], None, None)
        heads.append(head.sign(signer, iss, signer.id))
    return Log(signer, iss, records, leaves, heads)


def giver_log() -> Log:
    return log_of(GIVER, ACME, "giver", "released")


def other_head(size: int = 3) -> bytes:
    """A head of the giver's log as another history of it has it."""
    root = sha256(b"another history")
    head = checkpoint.Checkpoint(EPOCH, size, root, 1, 1, 5400, [TIME_MS, 20], None, None)
    return head.sign(GIVER, ACME, GIVER.id)


def fork_proof() -> forkproof.ForkProof:
    log = giver_log()
    inside = [tree.root_of(log.leaves[:3]), tree.consistency_path(log.leaves, 3)]
    return forkproof.ForkProof(other_head(), log.checkpoints[1], inside)


def receiver_log() -> Log:
    return log_of(RECEIVER, GLOBEX, "receiver", "acquired")


def segment_of(log: Log) -> segment.Segment:
    stretches = [
        segment.Stretch([*log.records[:3]], SEED, log.checkpoints[0]),
        segment.Stretch([*log.records[3:]], SEED2, log.checkpoints[1]),
    ]
    return segment.Segment(log.signer.id, EPOCH, 0, None, stretches)


def later_segment(log: Log) -> segment.Segment:
    """The second stretch alone, with the edge for receivers without history."""
    grown = tree.Tree()
    grown.extend(log.leaves[:3])
    edge = segment.Edge(log.checkpoints[0], grown.edge)
    stretch = segment.Stretch([*log.records[3:]], SEED2, log.checkpoints[1])
    return segment.Segment(log.signer.id, EPOCH, 3, edge, [stretch])


def elided_segment(log: Log) -> segment.Segment:
    """Only the claim is disclosed, with its own salt."""
    first = (1, tree.root_of(log.leaves[:2]))
    salt = leaf.salt(SEED, 2)
    stretches = [
        segment.Stretch([first, log.records[2]], [salt], log.checkpoints[0]),
        segment.Stretch([(0, log.leaves[3]), (0, log.leaves[4])], None, log.checkpoints[1]),
    ]
    return segment.Segment(log.signer.id, EPOCH, 0, None, stretches)


def half_of(log: Log, credential: "bytes | list[bytes]") -> half.Half:
    index = log.claim_index
    path = tree.inclusion_path(log.leaves, index, 3)
    salt = leaf.salt(SEED, index)
    return half.Half(log.records[index], salt, index, path, log.checkpoints[0], credential)


def reference_of(log: Log) -> bytes:
    return claim_reference(log.signer.id, EPOCH, log.claim_index, log.leaves[log.claim_index])


def custody_receipt(log: Log) -> bytes:
    receipt_ = custody.CustodyReceipt(EPOCH, 0, 5, tree.root_of(log.leaves), True, TIME_MS)
    return receipt_.sign(GATEWAY, ACME, log.signer.id)


def rotation(previous: bytes | None = None) -> bytes:
    log = giver_log()
    head = [EPOCH, 5, tree.root_of(log.leaves)]
    change = keychange.rotate(GIVER, GIVER2, ACME, GIVER.id, 0, [], head, TIME_MS, previous)
    return change.sign(ACME_ROOT, ACME, GIVER.id)


def replacement() -> bytes:
    change = keychange.Replacement(GIVER2.id, GIVER.id, None, TIME_MS)
    return change.sign(ACME_ROOT, ACME, GIVER2.id)


def revocation(previous: bytes | None = None) -> bytes:
    head = [EPOCH, 5, tree.root_of(giver_log().leaves)]
    change = keychange.Revocation(GIVER.id, GIVER.id, head, keychange.LOST, TIME_MS, previous)
    return change.sign(ACME_ROOT, ACME, GIVER.id)


def gateway_log() -> list[gatewaylog.GatewayLeaf]:
    logs = (giver_log(), receiver_log())
    return [gatewaylog.leaf_of(segment_of(log)) for log in logs]


def the_batch() -> bytes:
    """Both devices' segments, the whole of the gateway's log."""
    hashes = [leaf_.leaf_hash() for leaf_ in gateway_log()]
    head = gatewayhead.GatewayHead(len(hashes), tree.root_of(hashes), TIME_MS)
    unsigned = batch.Batch(
        0,
        [],
        [segment_of(giver_log()).encode(), segment_of(receiver_log()).encode()],
        [[enrol(GIVER).encode()]],
        [custody_receipt(giver_log())],
        [sha256(b"lost receipt")],
        head.sign(GATEWAY, ACME, GATEWAY.id),
    )
    return unsigned.sign(GATEWAY, ACME, GATEWAY.id)


def note_key() -> note.NoteKey:
    return note.NoteKey(ORIGIN, NOTE_SIGNER.public_key())


def the_genesis() -> bytes:
    key = VALIDATOR.public_key()
    policy = {"fleets": [ACME, GLOBEX]}
    unsigned = genesis.Genesis(INITECH, ORIGIN, key, note_key(), policy, TIME_MS)
    return unsigned.sign(VALIDATOR, INITECH, VALIDATOR.id)


@cache
def validator_log() -> tuple[bytes, ...]:
    """Genesis, time, both checkpoints and claims, a second time, the closing."""
    logs = (giver_log(), receiver_log())
    entries = [the_genesis(), entry.TimeEntry(TIME_MS).encode()]
    entries += [log.checkpoints[0] for log in logs]
    for at, log in enumerate(logs):
        path = tree.inclusion_path(log.leaves, log.claim_index, 3)
        logged = entry.LoggedClaim(
            log.signer.id, EPOCH, log.claim_index, log.leaves[log.claim_index], 2 + at, path
        )
        entries.append(logged.encode())
    entries.append(entry.TimeEntry(TIME_MS + 6000).encode())
    entries.append(the_closing().encode())
    return tuple(entries)


def the_closing() -> entry.Closing:
    made = make_claim("giver", "released")
    return entry.Closing(NAMESPACE, made.interaction_id(), made.party_set(), 4, 5000)


def log_leaves() -> list[bytes]:
    return [tree.leaf_hash(data) for data in validator_log()]


def signed_root(size: int, signer: Signer = VALIDATOR) -> receipt.SignedRoot:
    root = tree.root_of(log_leaves()[:size])
    return receipt.sign(signer, INITECH, ORIGIN, TIME_S, root)


def inclusion_receipt(index: int, size: int, signer: Signer = VALIDATOR) -> bytes:
    path = tree.inclusion_path(log_leaves(), index, size)
    return signed_root(size, signer).inclusion(size, index, path)


def consistency_receipt(size1: int, size2: int, signer: Signer = VALIDATOR) -> bytes:
    path = tree.consistency_path(log_leaves(), size1, size2)
    return signed_root(size2, signer).consistency(size1, size2, path)


def log_checkpoint() -> note.Note:
    leaves = log_leaves()
    unsigned = note.Note(ORIGIN, len(leaves), tree.root_of(leaves), [])
    return unsigned.sign(NOTE_SIGNER, ORIGIN)


def inputs() -> finding.FindingInputs:
    made = make_claim("giver", "released")
    rows = [
        finding.ClaimInput(
            reference_of(log), log.signer.id, log.leaves[log.claim_index], "active", 0, True
        )
        for log in (giver_log(), receiver_log())
    ]
    times = [finding.TimeInput(GIVER.id, sha256(b"head"), sha256(b"custody"), TIME_MS + 9000)]
    return finding.FindingInputs(
        made.profile, NAMESPACE, made.interaction_id(), PARTIES, rows, [], times, None
    )


def the_finding() -> finding.Finding:
    made = make_claim("giver", "released")
    rows = [
        finding.FindingClaim(reference_of(log), log.signer.id, role, name, "active", 0)
        for log, role, name in (
            (giver_log(), "giver", "released"),
            (receiver_log(), "receiver", "acquired"),
        )
    ]
    values = [finding.CheckedValue(reference_of(giver_log()), "item", "pallet-7")]
    checks = [
        finding.CheckResult(
            "agree", "same item", "fail", "The items differ.", values, [GIVER.id], [0, 2]
        )
    ]
    # A claim of another interaction that the check read.
    others = [finding.FindingOther(sha256(b"elsewhere"), GIVER.id, "rotated", 1)]
    return finding.Finding(
        inputs().digest(),
        NAMESPACE,
        made.interaction_id(),
        PARTIES,
        made.profile,
        "conflicting",
        [],
        checks,
        rows,
        others,
    )


def one_sided_finding() -> finding.Finding:
    full = the_finding()
    missing = [finding.Missing("receiver", RECEIVER.id, "acquired", "unheard")]
    return finding.Finding(
        full.inputs,
        full.namespace,
        full.interaction,
        full.parties,
        full.profile,
        "one_sided",
        missing,
        [],
        full.claims[:1],
        [],
    )


def the_verdict(found: finding.Finding | None = None) -> bytes:
    made = verdict.Verdict(found or the_finding(), 8, None, [sha256(b"uninvited")], TIME_MS + 7000)
    return made.sign(VALIDATOR, INITECH, made.subject())


def the_file() -> evidencefile.EvidenceFile:
    size = len(validator_log())
    entries = [(validator_log()[at], [inclusion_receipt(at, size)]) for at in (0, 2, 4)]
    return evidencefile.EvidenceFile(
        [[enrol(GIVER).encode()], [enrol(GATEWAY, 1).encode()]],
        [the_profile().encode()],
        [half_of(giver_log(), enrol(GIVER).digest)],
        entries,
        [custody_receipt(giver_log())],
        [log_checkpoint().text()],
        "Handover of pallet-7 at dock 3.",
        [gatewayhead_bytes()],
    )


def gatewayhead_bytes() -> bytes:
    hashes = [leaf_.leaf_hash() for leaf_ in gateway_log()]
    head = gatewayhead.GatewayHead(len(hashes), tree.root_of(hashes), TIME_MS)
    return head.sign(GATEWAY, ACME, GATEWAY.id)


def the_answer() -> batchanswer.BatchAnswer:
    digest = checkpoint.parse(giver_log().checkpoints[0]).digest
    return batchanswer.BatchAnswer(2, [(digest, inclusion_receipt(2, 8))], [(1, "bad-root")])


def the_hello() -> hello.Hello:
    return hello.Hello(GIVER.id, EPOCH, 0, 5, [enrol(GIVER).encode()])


def the_welcome() -> welcome.Welcome:
    return welcome.Welcome(TIME_MS, giver_log().checkpoints[1], custody_receipt(giver_log()))


def accepted_half() -> AcceptedHalf:
    return AcceptedHalf(7000, half_of(giver_log(), enrol(GIVER).digest).encode())


def the_notice() -> notice.Notice:
    return notice.Notice("no-history", EPOCH, 3)


def the_notarised() -> notarised.Notarised:
    return notarised.Notarised(EPOCH, 3, inclusion_receipt(2, 8))


def the_resend() -> resend.Resend:
    return resend.Resend(EPOCH, 3, None)


@dataclass(frozen=True)
class Example:
    """An encoded object, what parses it, and its rule in the CDDL."""

    name: str
    rule: str
    data: bytes
    parse: Callable[[bytes], Any]

    @property
    def signed(self) -> bool:
        """Whether `data` is a COSE_Sign1 whose payload the rule describes."""
        return self.data[:1] == b"\xd2"


def _records() -> list[tuple[str, str, bytes]]:
    giver = giver_log()
    return [
        ("decision", "decision", giver.records[1]),
        ("claim", "claim", giver.records[2]),
        ("event", "event", giver.records[0]),
        ("accepted half", "accepted-half", accepted_half().encode()),
    ]


def erasure_request() -> bytes:
    """Acme's root asks every validator to give two stretches of the giver's bodies up."""
    made = erasure.Erasure(EPOCH, [[0, 3], [7, 9]], [0, 1], "request", None, TIME_MS)
    return made.sign(ACME_ROOT, ACME, GIVER.id)


def erasure_retention(key: Signer = VALIDATOR) -> bytes:
    """The validator gave the giver's decisions up."""
    ranges = [[0, 5]]
    made = erasure.Erasure(EPOCH, ranges, [0], "retention", VALIDATOR.id, TIME_MS)
    return made.sign(key, INITECH, GIVER.id)


def _signed() -> list[tuple[str, str, bytes, Callable[[bytes], Any]]]:
    signed_profile = profile.SignedProfile(the_profile())
    return [
        ("checkpoint", "checkpoint", giver_log().checkpoints[0], checkpoint.parse),
        ("checkpoint, ES256", "checkpoint", receiver_log().checkpoints[0], checkpoint.parse),
        ("custody receipt", "custody-receipt", custody_receipt(giver_log()), custody.parse),
        ("enrolment", "enrolment", enrol(GIVER).encode(), enrolment.parse),
        (
            "enrolment, ES256",
            "enrolment",
            enrol(RECEIVER, 0, GLOBEX, GLOBEX_ROOT).encode(),
            enrolment.parse,
        ),
        ("rotation", "rotation", rotation(), keychange.parse),
        ("replacement", "replacement", replacement(), keychange.parse),
        ("revocation", "revocation", revocation(), keychange.parse),
        ("batch", "batch", the_batch(), batch.parse),
        ("gateway head", "gateway-head", gatewayhead_bytes(), gatewayhead.parse),
        ("verdict", "verdict", the_verdict(), verdict.parse),
        ("verdict, one sided", "verdict", the_verdict(one_sided_finding()), verdict.parse),
        (
            "profile, signed",
            "profile",
            signed_profile.sign(ACME_ROOT, ACME, signed_profile.subject()),
            profile.parse_statement,
        ),
        ("genesis", "genesis", the_genesis(), genesis.parse),
        ("erasure, asked for", "erasure", erasure_request(), erasure.parse),
        ("erasure, retention", "erasure", erasure_retention(), erasure.parse),
    ]


def _plain() -> list[tuple[str, str, bytes, Callable[[bytes], Any]]]:
    giver = giver_log()
    by_digest = half_of(giver, enrol(GIVER).digest)
    with_enrolment = half_of(giver, [enrol(GIVER).encode()])
    device_profile = the_profile().device_profile()
    return [
        ("segment", "segment", segment_of(giver).encode(), segment.parse),
        ("segment, with edge", "segment", later_segment(giver).encode(), segment.parse),
        ("segment, elided", "segment", elided_segment(giver).encode(), segment.parse),
        ("half, with digest", "half", by_digest.encode(), half.parse),
        ("half, with enrolment", "half", with_enrolment.encode(), half.parse),
        ("credential", "credential", credential_bytes(), credential.parse),
        ("hello", "hello", the_hello().encode(), hello.parse),
        ("welcome", "welcome", the_welcome().encode(), welcome.parse),
        ("resend request", "resend", the_resend().encode(), resend.parse),
        ("notarised", "notarised", the_notarised().encode(), notarised.parse),
        ("notice", "notice", the_notice().encode(), notice.parse),
        ("gateway leaf", "gateway-leaf", gateway_log()[0].encode(), gatewaylog.parse),
        ("batch answer", "batch-answer", the_answer().encode(), batchanswer.parse),
        ("time entry", "time-entry", validator_log()[1], entry.parse_entry),
        ("logged claim", "logged-claim", validator_log()[4], entry.parse_entry),
        ("closing", "closing", the_closing().encode(), entry.parse_entry),
        ("profile", "profile", the_profile().encode(), profile.parse),
        ("device profile", "device-profile", device_profile.encode(), deviceprofile.parse),
        ("finding inputs", "finding-inputs", inputs().encode(), finding.parse_inputs),
        ("finding", "finding", the_finding().encode(), finding.parse),
        ("evidence file", "evidence-file", the_file().encode(), evidencefile.parse),
        ("fork proof", "fork-proof", fork_proof().encode(), forkproof.parse),
    ]


def credential_bytes() -> bytes:
    return credential.Credential([enrol(GIVER).encode(), rotation()]).encode()


@cache
def everything() -> tuple[Example, ...]:
    """An example of every object but receipts and notes, which the CDDL leaves to others."""
    found = [Example(name, rule, data, record.parse) for name, rule, data in _records()]
    found += [Example(*row) for row in _signed()]
    found += [Example(*row) for row in _plain()]
    # They are made of this module's keys.
    from support import circles, deviceholds, guilt, heldkeys, joins

    found += [Example(*row) for row in heldkeys.examples()]
    found += [Example(*row) for row in joins.examples()]
    found += [Example(*row) for row in circles.examples()]
    found += [Example(*row) for row in deviceholds.examples()]
    found += [Example(*row) for row in guilt.examples()]
    return tuple(found)
