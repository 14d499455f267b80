"""The tables of describe.py: every kind with its fields, named and ordered as in the CDDL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tallystick.evidence import (
    attester,
    batch,
    batchanswer,
    checkpoint,
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
    invitation,
    joinanswer,
    joinrequest,
    keychange,
    misbehaviour,
    notarised,
    notice,
    peerfile,
    profile,
    queueorder,
    quotarefusal,
    record,
    registration,
    resend,
    score,
    segment,
    segmentrequest,
    verdict,
    welcome,
)


class Kind(NamedTuple):
    name: str
    parse: Callable[[bytes], Any]
    fields: tuple[str, ...]


def _kind(name: str, parse: Callable[[bytes], Any], fields: str) -> Kind:
    return Kind(name, parse, tuple(fields.split()))


# Names and order are those of the CDDL (docs/protocol.md).
KINDS = {
    0: _kind("decision", record.parse, "uptime_ms model inputs constraints context output"),
    1: _kind(
        "claim",
        record.parse,
        "uptime_ms namespace interaction profile role claim fields constraints parties interval "
        "relied",
    ),
    2: _kind("event", record.parse, "uptime_ms event details"),
    3: _kind("accepted half", record.parse, "uptime_ms half"),
    4: _kind(
        "checkpoint",
        checkpoint.parse,
        "epoch size root claims boot uptime_ms wall counter custody",
    ),
    5: _kind("custody receipt", custody.parse, "epoch from to root bodies time_ms"),
    6: _kind(
        "enrolment",
        enrolment.parse,
        "subject id key custody evidence details releases interval_s validity possession",
    ),
    7: _kind("key change", keychange.parse, ""),
    8: _kind("batch", batch.parse, "first edge items credentials receipts missing head"),
    9: _kind("gateway head", gatewayhead.parse, "size root time_ms"),
    10: _kind("verdict", verdict.parse, "finding size supersedes uninvited time_ms"),
    11: _kind("profile", profile.parse, "name version publisher deadline_ms roles claims checks"),
    12: _kind("genesis", genesis.parse, "name origin receipt_key note_key policy time_ms"),
    13: _kind("segment", segment.parse, "device epoch first edge stretches"),
    14: _kind("half", half.parse, "record salt index path checkpoint credential"),
    15: _kind("hello", hello.parse, "device epoch first size credential"),
    16: _kind("resend request", resend.parse, "epoch from to"),
    17: _kind("time entry", entry.parse_entry, "time_ms"),
    18: _kind("logged claim", entry.parse_entry, "device epoch index leaf checkpoint path"),
    19: _kind("closing", entry.parse_entry, "namespace interaction party_set first deadline_ms"),
    20: _kind(
        "finding",
        finding.parse,
        "inputs namespace interaction parties profile state missing checks claims others",
    ),
    21: _kind("gateway leaf", gatewaylog.parse, "device epoch from to root checkpoint"),
    22: _kind("evidence file", evidencefile.parse, "version sections"),
    23: _kind("device profile", deviceprofile.parse, "digest name version claims"),
    24: _kind("welcome", welcome.parse, "time_ms checkpoint custody"),
    25: _kind("notarised", notarised.parse, "epoch size receipt"),
    26: _kind("notice", notice.parse, "reason epoch from"),
    27: _kind("batch answer", batchanswer.parse, "size receipts refused"),
    28: _kind("attester", attester.parse, "key custody details validity"),
    29: _kind(
        "enrolment request",
        enrolmentrequest.parse,
        "iss id key custody evidence possession details",
    ),
    30: _kind("fork proof", forkproof.parse, "first second inside"),
    31: _kind("invitation", invitation.parse, "code door uses validity"),
    32: _kind("join request", joinrequest.parse, "code nonce request door fleet"),
    33: _kind("join answer", joinanswer.parse, "id request credential settings profiles ca"),
    34: _kind("queue order", queueorder.parse, "challenge after"),
    41: _kind("device hold", devicehold.parse, "serial until_ms time_ms"),
    42: _kind("segment request", segmentrequest.parse, "validator gateway epoch from to time_ms"),
    36: _kind("misbehaviour", misbehaviour.parse, ""),
    37: _kind("score", score.parse, "from_ms to_ms logs validators gateways proofs"),
    38: _kind(
        "peer file",
        peerfile.parse,
        "organisation made_ms validity roots gateways validators",
    ),
    39: _kind(
        "quota refusal",
        quotarefusal.parse,
        "batch holder key quota limit used time_ms until_ms",
    ),
    40: _kind(
        "registration policy",
        registration.parse,
        "time_ms previous roots profiles quotas admission",
    ),
    35: _kind("erasure", erasure.parse, "epoch ranges kinds cause validator time_ms"),
}
STATEMENTS = {*range(4, 13), 28, 31, 33, 34, 35, *range(37, 43)}
# Custody evidence by its type.
EVIDENCE = {
    custody_atecc608.TYPE: _kind(
        custody_atecc608.TYPE, custody_atecc608.parse, "serial revision config slot"
    ),
    custody_tpm2.TYPE: _kind(
        custody_tpm2.TYPE, custody_tpm2.parse, "public attest signature attester"
    ),
    custody_pkcs11.TYPE: _kind(
        custody_pkcs11.TYPE, custody_pkcs11.parse, "token attributes mechanism"
    ),
}
KEY_CHANGES = {
    0: ("rotation", "id old key custody evidence head time_ms previous possession old_signature"),
    1: ("replacement", "id replaces head time_ms previous"),
    2: ("revocation", "id key head reason time_ms previous"),
}
# Fields of a proof of misbehaviour by its type.
PROOFS = {
    0: "first second",
    1: "head lineage receipt",
    2: "first second inside",
    3: "device extract",
    4: "first second inside",
    5: "verdict inputs",
    6: "entry receipt extract",
    7: "verdict claim extract",
    8: "verdict claim extract",
    9: "first second",
    10: "at extract",
}
SECTIONS = {
    1: "credentials",
    2: "profiles",
    3: "halves",
    4: "entries",
    5: "custody",
    6: "notes",
    7: "note",
    8: "heads",
    9: "forks",
    10: "proofs",
}
# Rows within a field, by the field's path.
ROWS = {
    "decision.model": "name version digest",
    "decision.constraints.*": "value operator limit unit held",
    "claim.constraints.*": "operator limit unit held",
    "claim.interval": "begin_ms end_ms uncertainty_ms",
    "checkpoint.wall": "time_ms uncertainty_ms",
    "enrolment.evidence.*": "type evidence",
    "enrolment.releases.*": "name digest",
    "enrolment.validity": "not_before_s not_after_s",
    "enrolment request.evidence.*": "type evidence",
    "attester.validity": "not_before_s not_after_s",
    "fork proof.inside": "root path",
    "misbehaviour.inside": "root path",
    "misbehaviour.extract": "first edge items note",
    "misbehaviour.extract.items.*": "level hash",
    "score.logs.*": "origin size root",
    "score.validators.*": "origin verdicts compared agreed missed delay against",
    "score.validators.delay": "p50_ms p95_ms most_ms",
    "score.gateways.*": "gateway heads compared agreed missed delay against",
    "score.gateways.delay": "p50_ms p95_ms most_ms",
    "peer file.validity": "not_before_s not_after_s",
    "peer file.roots.*": "iss key",
    "peer file.validators.*": "url credential",
    "registration policy.roots.*": "iss key by",
    "invitation.validity": "not_before_s not_after_s",
    "key change.head": "epoch size root",
    "key change.evidence.*": "type evidence",
    "profile.roles.*": "min max",
    "profile.claims.*.*.*": "type unit decimals required",
    "profile.checks.*": "check name parameters",
    "device profile.claims.*.*.*": "type unit decimals required",
    "segment.edge": "checkpoint hashes",
    "segment.stretches.*": "items secret checkpoint",
    "segment.stretches.*.items.*": "level hash",
    "batch.items.*": "level hash",
    "finding.missing.*": "role device claim absence",
    "finding.checks.*": "check name result reason values blamed used",
    "finding.checks.*.values.*": "claim field value",
    "finding.claims.*": "claim device role name status custody",
    "finding.others.*": "claim device status custody",
    "batch answer.receipts.*": "statement receipt",
    "batch answer.refused.*": "index reason",
    "evidence file.sections.entries.*": "entry receipts",
}
# Bytes that are written in base64url wherever people type them; other hashes are hexadecimal.
IDS = {
    *("device", "epoch", "id", "replaces", "old", "key"),
    *("parties", "blamed", "interaction", "profile", "code", "gateway"),
}
CODES = {
    "enrolment.subject": enrolment.SUBJECTS,
    "enrolment.custody": enrolment.CUSTODIES,
    "key change.custody": enrolment.CUSTODIES,
    "enrolment request.custody": enrolment.CUSTODIES,
    "attester.custody": enrolment.CUSTODIES,
    "key change.reason": keychange.REASONS,
    "finding.claims.custody": enrolment.CUSTODIES,
    "finding.others.custody": enrolment.CUSTODIES,
}
