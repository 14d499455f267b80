"""What a request says: who asks, and the parts of its path and query, strictly read."""

import ipaddress

from starlette.requests import Request

from tallystick.evidence.keys import from_b64u
from tallystick.validator import answers
from tallystick.validator.access import EVERYTHING, Doorkeeper, Scope
from tallystick.validator.config import Config
from tallystick.validator.limits import PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, QUERY_TEXT_CHARS_MAX
from tallystick.validator.problem import Problem

SIZE_MAX = 2**63 - 1

_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-real-ip")


def is_loopback(request: Request) -> bool:
    """Whether the caller is on this machine, and speaks for itself."""
    # What a proxy on this machine forwards comes from loopback too: then it names itself.
    if request.client is None or any(name in request.headers for name in _PROXIES):
        return False
    # So does what a page in a browser on this machine asks: then the host is that page's.
    if request.url.hostname not in {"127.0.0.1", "::1", "localhost"}:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def number(text: str, name: str, least: int, most: int) -> int:
    """A whole number within bounds; Problem otherwise."""
    # int() accepts "+5", "0_1" and foreign digits; two texts must never mean one number.
    if not text.isascii() or not text.isdigit() or len(text) > 19 or (text[0] == "0" < text[1:]):
        raise Problem("bad-value", f"{name}: a whole number without leading zeros")
    if not least <= int(text) <= most:
        raise Problem("bad-value", f"{name}: {least} to {most}")
    return int(text)


def whole(request: Request, name: str, least: int, most: int, default: int) -> int:
    """The same of the query, or a default."""
    text = request.query_params.get(name)
    return default if text is None else number(text, name, least, most)


def limit(request: Request) -> int:
    """Rows of a page."""
    return whole(request, "limit", 1, PAGE_ROWS_MAX, PAGE_ROWS_DEFAULT)


def text(request: Request, name: str) -> str | None:
    """A text of the query, or None."""
    text = request.query_params.get(name)
    if text is not None and not 1 <= len(text) <= QUERY_TEXT_CHARS_MAX:
        raise Problem("bad-value", f"{name}: 1 to {QUERY_TEXT_CHARS_MAX} characters")
    return text


def octets(request: Request, name: str, size: int) -> bytes | None:
    """Bytes of the query, or None."""
    text = request.query_params.get(name)
    return None if text is None else from_b64u(text, size)


def state(request: Request) -> str | None:
    """A state of the query, or None."""
    state = request.query_params.get("state")
    if state is not None and state not in answers.STATES:
        raise Problem("bad-value", "state: one of " + ", ".join(answers.STATES))
    return state


def interaction(request: Request) -> tuple[str, bytes]:
    """Namespace and id of the path."""
    namespace = request.path_params["namespace"]
    if not 1 <= len(namespace) <= QUERY_TEXT_CHARS_MAX:
        raise Problem("bad-value", f"namespace: 1 to {QUERY_TEXT_CHARS_MAX} characters")
    return namespace, from_b64u(request.path_params["id"], 16)


def bearer(request: Request) -> str | None:
    """The token that was given; None where there is no header, "" for what is no bearer token."""
    given = request.headers.get("authorization")
    if given is None:
        return None
    scheme, _, token = given.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.isascii() else ""


def scope_of(request: Request, config: Config, keeper: Doorkeeper) -> Scope | None:
    """What the caller may read; None for nobody.  On loopback all, when the operator said so."""
    token = bearer(request)
    if token is None:
        return EVERYTHING if config.open_reads and is_loopback(request) else None
    return keeper.scope(token)
