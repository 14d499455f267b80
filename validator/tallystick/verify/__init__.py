"""Checking evidence, offline: what validators run and what integrators import.

    from tallystick.verify import Policy, check, load_evidence

    evidence = load_evidence(Path("handover.tally").read_bytes())
    report = check(evidence, Policy.parse(Path("policy.toml").read_text()))
    print(report.outcome)

`check` returns a Report, which holds verified objects only, or raises a TallyError that says what
does not hold.  Policies are put together from demands; docs/policy.md, section 4.
"""

from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError, Unverified
from tallystick.verify._erasures import Erased
from tallystick.verify.demands import (
    AllOf,
    AnyOf,
    AtLeast,
    Demand,
    Firmware,
    FreshStatus,
    MinimumCustody,
    Profiles,
    States,
)
from tallystick.verify.evidence_check import check, check_evidence, load_evidence
from tallystick.verify.policy import AcceptedValidator, Policy, Trust
from tallystick.verify.report import CheckedSet, PinnedValidator, Record, Report, Said

__all__ = [
    "AcceptedValidator",
    "AllOf",
    "AnyOf",
    "AtLeast",
    "CheckedSet",
    "CouldNotCheck",
    "Demand",
    "Erased",
    "Firmware",
    "FreshStatus",
    "Malformed",
    "MinimumCustody",
    "PinnedValidator",
    "Policy",
    "Profiles",
    "Record",
    "Report",
    "Said",
    "States",
    "TallyError",
    "Trust",
    "Unverified",
    "check",
    "check_evidence",
    "load_evidence",
]
