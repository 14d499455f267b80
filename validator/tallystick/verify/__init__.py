"""Checking evidence, offline: what validators run and what integrators import.

    from tallystick.verify import Policy, check, load_evidence

    evidence = load_evidence(Path("handover.tally").read_bytes())
    report = check(evidence, Policy.parse(Path("policy.toml").read_text()))
    print(report.outcome)

`check` returns a Report or raises a TallyError that says what does not hold.
"""

from tallystick.verify.evidence_check import check, check_evidence, load_evidence
from tallystick.verify.policy import Policy
from tallystick.verify.report import Report

__all__ = ["Policy", "Report", "check", "check_evidence", "load_evidence"]
