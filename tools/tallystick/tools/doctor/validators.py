"""Each validator: whether it answers and takes batches, and how far its clock is from ours."""

import time
from email.utils import parsedate_to_datetime

import httpx2

from tallystick.gateway.config import Config
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.tools.doctor.findings import Finding, bad, good, risk

ANSWER_S_MAX = 10.0
ANSWER_BYTES_MAX = 1 << 16
# Times are evidence within bounds of seconds; more is a clock that somebody must set.
SKEW_S_MAX = 5.0


def look(config: Config) -> list[Finding]:
    """One or two findings for each validator."""
    if not config.validators:
        advice = "add [[validators]]; without one nobody checks what this gateway has"
        return [risk("validators", "none is configured", advice)]
    return [finding for item in config.validators for finding in _one(item)]


def _one(item: ValidatorConfig) -> list[Finding]:
    name = f"validator {item.name}"
    try:
        verify = True if item.tls is None else item.tls.context()
        with httpx2.Client(timeout=ANSWER_S_MAX, follow_redirects=False, verify=verify) as client:
            begin_s = time.time()
            with client.stream("GET", f"{item.url}/readyz") as answer:
                status, date = answer.status_code, answer.headers.get("date")
            middle_s = (begin_s + time.time()) / 2
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        found = f"{item.url} does not answer ({type(error).__name__})"
        advice = "see whether it runs and whether the network lets you there; records wait here"
        return [bad(name, found, advice)]
    return [_ready(name, item, status), *_skew(name, date, middle_s)]


def _ready(name: str, item: ValidatorConfig, status: int) -> Finding:
    if status == httpx2.codes.OK:
        return good(name, f"{item.url} is ready")
    return bad(name, f"{item.url} answers {status}: it takes nothing now", "ask its operator")


def _skew(name: str, date: str | None, now_s: float) -> list[Finding]:
    if date is None:
        return []
    try:
        skew_s = parsedate_to_datetime(date).timestamp() - now_s
    except (TypeError, ValueError):
        return []
    # The header has whole seconds.
    if abs(skew_s) <= SKEW_S_MAX:
        return [good(f"{name}: clock", "agrees with ours")]
    side = "ahead of" if skew_s > 0 else "behind"
    found = f"is {abs(skew_s):.0f} s {side} ours"
    return [risk(f"{name}: clock", found, "find out which of the two is wrong, and set it")]
