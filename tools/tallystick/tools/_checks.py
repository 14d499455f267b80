"""What each check of a verdict came to, in words: the sentence, and the claims that it read."""

from typing import Any

from tallystick.evidence.claim import Claim
from tallystick.evidence.finding import CheckResult, Finding
from tallystick.evidence.keys import b64u, device_text
from tallystick.verify import Report
from tallystick.verify._text import printable
from tallystick.verify.report import CheckedSet

RESULTS = {"pass": "pass", "fail": "FAIL", "not_evaluated": "not evaluated"}
LINE_CHARS_MAX = 400
NAMED_MAX = 8


def findings_of(checked: CheckedSet) -> list[tuple[str, Finding]]:
    """Who finds what on a party set: each different finding once, with all who signed it."""
    by_encoding: dict[bytes, tuple[list[str], Finding]] = {}
    for said in checked.said:
        finding = said.verdict.finding
        names, _ = by_encoding.setdefault(finding.encode(), ([], finding))
        names.append(said.validator.name)
    found = [(", ".join(sorted(names)), finding) for names, finding in by_encoding.values()]
    if checked.own is not None:
        found.append(("the disclosed claims alone", checked.own))
    return found


def check_lines(report: Report) -> list[str]:
    """Every check of every finding, a line each, and below it the claims that it read."""
    names = _names(report)
    lines = []
    for checked in report.party_sets:
        for who, finding in findings_of(checked):
            lines.append(f"{checked.name}: {finding.state}, by {who}")
            for check in finding.checks:
                lines.append(f"  {RESULTS[check.result]}: {check.name}: {check.reason}")
                lines += [f"    read: {name}" for name in _read(finding, check, names)]
    return [printable(line, LINE_CHARS_MAX) for line in lines]


def check_rows(report: Report, finding: Finding) -> list[dict[str, Any]]:
    """The same for JSON: references in base64url, names where the claims are disclosed."""
    names = _names(report)
    return [
        {
            "check": check.check,
            "name": check.name,
            "result": check.result,
            "reason": check.reason,
            "blamed": [b64u(device) for device in check.blamed],
            "read": [{"claim": b64u(one), "name": names.get(one)} for one in finding.used(check)],
        }
        for check in finding.checks
    ]


def _names(report: Report) -> dict[bytes, str]:
    return {
        record.reference: (
            f"{record.body.role}.{record.body.claim} by device {device_text(record.device)}"
        )
        for record in report.records
        if isinstance(record.body, Claim)
    }


def _read(finding: Finding, check: CheckResult, names: dict[bytes, str]) -> list[str]:
    beside = {row.claim for row in finding.others}
    lines = []
    for reference in finding.used(check):
        name = names.get(reference, f"claim {b64u(reference)}, which is not disclosed")
        lines.append(f"{name}, of another interaction" if reference in beside else name)
    if len(lines) > NAMED_MAX:
        lines = [*lines[:NAMED_MAX], f"and {len(lines) - NAMED_MAX} claims more"]
    return lines
