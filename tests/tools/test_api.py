"""The client of a validator's read interface, against servers that are none."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.evidence.errors import Malformed, TallyError, TransportError
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX
from tallystick.tools.api import ValidatorApi
from tallystick.tools.export import merge
from tallystick.tools.main import cli


class Stranger(ThreadingHTTPServer):
    """Answers every request with the same bytes, and remembers what was asked for."""

    status = 200
    body = b""
    encoding = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.tokens: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Stranger

    def do_GET(self) -> None:  # the name that http.server calls
        self.server.asked.append(self.path)
        self.server.tokens.append(self.headers.get("Authorization"))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        if self.server.encoding:
            self.send_header("Content-Encoding", self.server.encoding)
        self.end_headers()
        try:
            self.wfile.write(self.server.body)
        except OSError:
            self.close_connection = True  # the client had enough

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[Stranger]:
    server = Stranger()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"null", b"[]", b"7", b'"x"', b"{}", b"\xff", b"[" * 100_000),
        *(b'{"decisions": 1, "claims": "many", "states": {}}', b'{"interactions": 5, "next": 1}'),
        *(b'{"interactions": [5], "next": null}', b'{"interactions": [{}], "next": null}'),
        b'{"interactions": [{"interaction": [], "state": 1}], "next": null}',
    ],
)
def test_an_answer_of_another_shape_is_one_sentence(stranger: Stranger, body: bytes) -> None:
    stranger.body = body
    with ValidatorApi(stranger.url) as api:
        for ask in (
            api.counts,
            lambda: api.states("dock-3"),
            lambda: api.interactions("dock-3", "matched"),
        ):
            with pytest.raises((TransportError, Malformed)) as refused:
                ask()
            assert "\n" not in str(refused.value)


def test_more_than_an_evidence_file_is_not_read(stranger: Stranger) -> None:
    # Small on the wire.
    stranger.body, stranger.encoding = gzip.compress(bytes(4 * EVIDENCE_BYTES_MAX), 1), "gzip"
    with ValidatorApi(stranger.url) as api, pytest.raises(TransportError) as refused:
        api.record_evidence(bytes(32), bytes(8), 0)
    assert refused.value.reason == "too-large"
    stranger.body, stranger.encoding = bytes(EVIDENCE_BYTES_MAX), ""
    with ValidatorApi(stranger.url) as api:
        assert len(api.record_evidence(bytes(32), bytes(8), 0)) == EVIDENCE_BYTES_MAX


def test_a_problem_is_told_by_its_reason(stranger: Stranger) -> None:
    stranger.status = 404
    stranger.body = b'{"reason": "unknown-device", "title": "No such device."}'
    with ValidatorApi(stranger.url) as api, pytest.raises(TransportError) as refused:
        api.counts()
    assert refused.value.reason == "unknown-device"
    stranger.body = b"[]"
    with ValidatorApi(stranger.url) as api, pytest.raises(TransportError, match="answered 404"):
        api.counts()


def test_a_namespace_is_one_part_of_the_path(stranger: Stranger) -> None:
    with ValidatorApi(stranger.url) as api:
        for namespace in ("a/../b", "a?b=c", "a#b", "ü"):
            api.interaction_evidence(namespace, bytes(16))
    assert [path.count("/") for path in stranger.asked] == [4] * 4
    assert not any(mark in path for path in stranger.asked for mark in "?#")


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "http://127.0.0.1:1", "http://\0"])
def test_an_address_where_nobody_is(url: str) -> None:
    with pytest.raises(TallyError), ValidatorApi(url) as api:
        api.counts()


@pytest.mark.parametrize("url", ["127.0.0.1:8470", "localhost", "ftp://127.0.0.1"])
def test_an_address_without_its_scheme_is_no_address(url: str) -> None:
    with pytest.raises(TransportError, match="write it like http://"):
        ValidatorApi(url)


def test_a_token_goes_to_its_own_validator_only(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("ours", "theirs")]
    for file in files:
        file.write_text(f"{file.name}\n")
    with serving() as first, serving() as second:
        first.body = second.body = merge([]).encode()
        command = ["export", "--interaction", "dock/AAAAAAAAAAAAAAAAAAAAAA"]
        command += ["--validator", first.url, "--validator", second.url]
        command += ["--out", str(tmp_path / "x.tally"), "--token-file", str(files[0])]
        short = CliRunner().invoke(cli, command)
        assert short.exit_code == 2
        assert not first.tokens
        done = CliRunner().invoke(cli, [*command, "--token-file", str(files[1])])
        assert done.exit_code == 0, done.output
        assert first.tokens == ["Bearer ours"]
        assert second.tokens == ["Bearer theirs"]
