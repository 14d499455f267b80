"""HTTP to one validator: bounded answers, no redirects, every failure one error."""

import ssl
import time
from email.utils import parsedate_to_datetime

import httpx2
import msgspec

from tallystick.evidence.errors import TallyError, TransportError
from tallystick.gateway import limits, lives
from tallystick.gateway.validatorconfig import Tls
from tallystick.hw.answertime import AnswerTime

COSE = "application/cose"
_DIGITS_MAX = 9


class TimedOut(TransportError):
    """No answer, or none to its end, within the time that it may take."""


class Refusal(TallyError):
    """The validator answered, and said no; `status`, the size that it told, its refusals."""

    retry_after_s = 0.0  # what it asked for, in seconds (RFC 9110, 10.2.3)

    def __init__(
        self,
        reason: str,
        message: str,
        status: int,
        size: int | None,
        refusals: tuple[str, ...] = (),
    ) -> None:
        super().__init__(reason, message)
        self.status = status
        self.size = size
        # Signed refusals of quotas, base64url; nothing of them is verified here.
        self.refusals = refusals


class _Problem(msgspec.Struct):
    reason: str = "bad-value"
    title: str = ""
    size: int | None = None
    refusals: tuple[str, ...] = ()


# Made here: msgspec makes it at the first use else, and two threads at once end the process.
_problems = msgspec.json.Decoder(_Problem)


class Http:
    """A client of one validator; belongs to one thread."""

    def __init__(self, url: str, tls: Tls | None = None) -> None:
        self.url = url
        verify = True if tls is None else tls.context()
        self._time = AnswerTime(limits.HTTP_ANSWER_S_MAX)
        timeout = httpx2.Timeout(limits.HTTP_READ_S_MAX, connect=limits.HTTP_CONNECT_S_MAX)
        self._client = httpx2.Client(timeout=timeout, follow_redirects=False, verify=verify)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        """The body of a 200 answer; Refusal for any other, TransportError for none."""
        return self._request("POST", path, body, headers)

    def get(self, path: str) -> bytes:
        """As post, without a body."""
        return self._request("GET", path, b"", {})

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
        lives.moved()  # each request has its own time
        parts = []
        size = 0
        try:
            with (
                self._time,
                self._client.stream(
                    method,
                    self.url + path,
                    content=body or None,
                    headers=headers,
                    extensions={"trace": self._time.trace},
                ) as response,
            ):
                for part in response.iter_bytes():
                    size += len(part)
                    if size > limits.ANSWER_BYTES_MAX:
                        raise TransportError("too-large", f"{self.url}: an answer without end")
                    parts.append(part)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError) as error:
            late = self._time.problem()
            what = late or str(error) or type(error).__name__
            slow = late is not None or isinstance(error, httpx2.TimeoutException)
            kind = TimedOut if slow else TransportError
            raise kind("unreachable", f"{self.url}: {what}") from error
        # One that is cut off may look like one that ends.
        if self._time.problem() is not None:
            raise TimedOut("unreachable", f"{self.url}: {self._time.problem()}")
        answer = b"".join(parts)
        if response.status_code != httpx2.codes.OK:
            refusal = refusal_of(response.status_code, answer)
            refusal.retry_after_s = retry_after_s(response.headers.get("retry-after"), time.time())
            raise refusal
        return answer

    def cut(self) -> None:
        """Ask nothing any more, and end what is being asked; called by another thread."""
        self._time.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def retry_after_s(value: str | None, now_s: float) -> float:
    """The seconds that a Retry-After asks for, by number or date; 0 where it is neither."""
    if value is None:
        return 0.0
    if value.isascii() and value.isdigit():
        return float(value[:_DIGITS_MAX])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now_s)
    except (ValueError, OverflowError, IndexError, TypeError):
        return 0.0


def refusal_of(status: int, body: bytes) -> Refusal:
    """What an answer that is not 200 says."""
    try:
        problem = _problems.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = _Problem(title=f"answered {status}")
    size = problem.size if problem.size is None or problem.size >= 0 else None
    title = problem.title or f"answered {status}"
    return Refusal(problem.reason, title, status, size, problem.refusals)
