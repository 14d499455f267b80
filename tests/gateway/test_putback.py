"""A validator that shows a gateway's heads without end is not asked for ever, and it is said."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from support.devices import Fleet
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.keys import b64u
from tallystick.gateway import limits
from tallystick.gateway.http import Http
from tallystick.gateway.putback import check_signed

ACME = Fleet("acme")
GATEWAY, CREDENTIAL = ACME.member("gateway", SUBJECT_GATEWAY)
asked: list[int] = []


class Padding(BaseHTTPRequestHandler):
    """Each page has a head that the gateway's key did not sign, and another page follows it."""

    def do_GET(self) -> None:
        after = int(parse_qs(urlsplit(self.path).query)["after"][0])
        asked.append(after)
        head = GatewayHead(after + 1, bytes(32), 1).sign(ACME.root, "acme", bytes(32))
        page = {"heads": [{"statement": b64u(head)}], "next": after + 1}
        data = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Padding) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_heads_without_end_stop_nobody_and_are_told(url: str) -> None:
    reader = sqlite3.connect(":memory:")
    http = Http(url)
    with capture_logs() as logs:
        check_signed(http, reader, tuple(CREDENTIAL), 7)
    http.close()
    reader.close()
    assert asked == list(range(7, 7 + limits.HEADS_PAGES_MAX))
    (told,) = logs
    assert (told["log_level"], told["validator"]) == ("warning", url)
    assert told["above"] == 7 + limits.HEADS_PAGES_MAX
