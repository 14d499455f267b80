"""Peer files, quota refusals and registration policies, made with the keys of support.examples."""

from collections.abc import Callable
from typing import Any

from support import examples as ex
from tallystick.evidence import peerfile, quotarefusal, registration
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import SUBJECT_GATEWAY, SUBJECT_VALIDATOR

URL = "https://validator.initech.example"
BATCH = sha256(b"a batch that is too much")
VALIDITY = [ex.TIME_S - 1000, ex.TIME_S + 31_536_000]


def unsigned_file(**changed: Any) -> peerfile.PeerFile:
    """Initech and its second root tell of their gateway and validator."""
    gateway = ex.enrol(ex.GATEWAY, SUBJECT_GATEWAY, ex.INITECH, ex.INITECH_ROOT)
    validator = ex.enrol(ex.VALIDATOR, SUBJECT_VALIDATOR, ex.INITECH, ex.INITECH_ROOT)
    fields: dict[str, Any] = {
        "organisation": "Initech GmbH",
        "made_ms": ex.TIME_MS,
        "validity": VALIDITY,
        "roots": [
            (ex.INITECH, ex.INITECH_ROOT.public_key()),
            ("initech-eu", ex.GLOBEX_ROOT.public_key()),
        ],
        "gateways": [[gateway.encode()]],
        "validators": [(URL, [validator.encode()])],
        **changed,
    }
    return peerfile.PeerFile(**fields)


def peer_file(**changed: Any) -> bytes:
    return unsigned_file(**changed).sign(ex.INITECH_ROOT, ex.INITECH, ex.INITECH_ROOT.id)


def refusal(**changed: Any) -> bytes:
    """The validator refuses the gateway's batch, for the giver sent too much today."""
    fields: dict[str, Any] = {
        "batch": BATCH,
        "holder": "device",
        "key": ex.GIVER.id,
        "quota": "bytes_per_day",
        "limit": 1 << 30,
        "used": (1 << 30) + 17,
        "time_ms": ex.TIME_MS,
        "until_ms": ex.TIME_MS + 3_600_000,
        **changed,
    }
    made = quotarefusal.QuotaRefusal(**fields)
    return made.sign(ex.VALIDATOR, ex.INITECH, ex.GATEWAY.id)


def policy(**changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "time_ms": ex.TIME_MS,
        "previous": None,
        "roots": [
            [ex.ACME, ex.ACME_ROOT.id, None],
            [ex.GLOBEX, ex.GLOBEX_ROOT.id, sha256(b"a peer file")],
        ],
        "profiles": [ex.the_profile().digest],
        "quotas": {"device": {"records_per_s": 1000, "bytes_per_day": 1 << 30, "burst_s": 600}},
        "admission": {"keys": "accepted-root"},
        **changed,
    }
    made = registration.RegistrationPolicy(**fields)
    return made.sign(ex.VALIDATOR, ex.INITECH, ex.VALIDATOR.id)


def examples() -> list[tuple[str, str, bytes, Callable[[bytes], Any]]]:
    """For examples.everything(): name, rule of the CDDL, bytes, parser."""
    return [
        ("peer file", "peer-file", peer_file(), peerfile.parse),
        ("quota refusal", "quota-refusal", refusal(), quotarefusal.parse),
        ("registration policy", "registration-policy", policy(), registration.parse),
    ]
