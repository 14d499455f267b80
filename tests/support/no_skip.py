"""Where `TALLY_NO_SKIP=1` is set, as in CI, a skipped test is a failed one.

Imported by tests/conftest.py. It reaches skips while a test is set up, while it runs, and while
its file is collected (`importorskip`, `allow_module_level`).
"""

import os
from collections.abc import Generator

import pytest

FORBIDDEN = os.environ.get("TALLY_NO_SKIP") == "1"


def _reason(longrepr: object) -> str:
    return str(longrepr[2]) if isinstance(longrepr, tuple) else str(longrepr)


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = _reason(report.longrepr).removeprefix("Skipped: ")
    report.outcome = "failed"
    report.longrepr = f"skipped where TALLY_NO_SKIP=1 forbids it: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure reports itself as skipped too; it ran.
    if FORBIDDEN and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if FORBIDDEN and report.skipped:
        _fail(report)
    return report
