"""joining_http reads an answer's head as a bounded length and a status, or raises OSError."""

from tallystick.recorder import joining_http

SEEDS = (
    b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nretry-after: 5\r\n\r\n",
    b"HTTP/1.0 404 x\r\nContent-Length: 0\r\n\r\n",
)


def target(data: bytes) -> None:
    try:
        status, headers, length = joining_http.parse_head(data)
    except OSError:
        return
    assert 0 <= status <= 999 and 0 <= length <= joining_http.BODY_BYTES_MAX
    assert headers["content-length"] == headers["content-length"].strip()
