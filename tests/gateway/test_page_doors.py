"""The page's door: who may ask, and who is told no secret (A20, A22)."""

import contextlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import msgspec
import pytest

from support import chromium
from support.authority import Authority
from support.chromium import browser
from support.devices import Fleet
from support.knocking import connect, ended
from support.site import Site, until
from support.watching import tagged
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.gateway import pagelimits
from tallystick.gateway.config import load
from tallystick.gateway.pageroutes import FILES, ROUTES
from tallystick.gateway.service import Gateway
from tallystick.tools._ports import free_port
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
CANARY = "canary-3f9c1e77-of-the-tests"
PASSWORD = "canary-password-8821-of-the-tests"


class World:
    """A gateway with a broker's password and a page's token, whose page speaks TLS."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = Authority(folder / "ca")
        cert, key = authority.server()
        for name, text in (("token", CANARY), ("password", PASSWORD)):
            (folder / name).write_text(text + "\n")
            (folder / name).chmod(0o600)
        self.trust = ssl.create_default_context(cafile=authority.file)
        table = f'cert = "{cert}"\nkey = "{key}"\ntoken_file = "token"\nnames = ["gw.example"]\n'
        self.site = Site(
            folder, ACME, port, folder.name, limits=f'[page]\nbind = "127.0.0.1:0"\n{table}'
        )
        text = self.site.path.read_text()
        password = '[broker]\nusername = "gw"\npassword_file = "password"'
        self.site.path.write_text(text.replace("[broker]", password))
        self.site.with_prefix(folder.name)
        self.device = tagged(ACME, "truck", "truck-7")
        self.site.enrol(self.device)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> World:
    return World(tmp_path_factory.mktemp("doors") / "doors", mosquitto.port)


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.site.running() as made:
        yield made


@pytest.fixture(scope="module")
def client(world: World, gateway: Gateway) -> Iterator[httpx2.Client]:
    assert gateway.page is not None
    with httpx2.Client(base_url=gateway.page.url, verify=world.trust, timeout=60) as made:
        until(lambda: gateway.page and gateway.page.watch.newest, "a look")
        yield made


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def paths() -> list[str]:
    return [route.path for route in ROUTES if "{" not in route.path]


# --- before it starts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('bind = "0.0.0.0:8472"', "can be reached from a network"),
        ('bind = "192.0.2.7:8472"\ntoken_file = "token"', "can be reached from a network"),
        ('bind = "[::]:8472"\ncert = "c"\nkey = "k"', "can be reached from a network"),
        ('cert = "page.pem"', "both or neither"),
        ('bind = "localhost:8472"', "page.bind: ADDRESS:PORT"),
        ('token_file = "short"', "16 to 256 characters"),
        ('token_file = "open"', "others may read it"),
        ('token_file = "blank"', "printable ASCII"),
        ('token_file = "none"', "No such file"),
        ('names = ["HTTP://x"]', "host names"),
        ("silent_intervals = 0", "page.silent_intervals: 1 to 1000"),
        ("lag_s = -1", "page.lag_s"),
        ("surprise = 1", "surprise"),
    ],
)
def test_a_page_that_must_not_be_is_refused_with_a_sentence(
    tmp_path: Path, table: str, said: str
) -> None:
    for name, text, mode in (
        ("token", CANARY, 0o600), ("short", "canary-3f9c", 0o600),
        ("open", CANARY, 0o644), ("blank", "canary 3f9c1e77 of the tests", 0o600),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    site = Site(tmp_path, ACME, 1, limits=f"[page]\n{table}\n")
    with pytest.raises(Malformed) as refused:
        load(site.path)
    assert said in refused.value.message
    assert "canary" not in refused.value.message.replace(str(tmp_path), "")


def test_an_address_that_is_taken_and_a_bad_certificate_are_sentences(
    tmp_path: Path, gateway: Gateway
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        site = Site(tmp_path / "a", ACME, 1, limits=f'[page]\nbind = "127.0.0.1:{port}"\n')
        with pytest.raises(TransportError, match=f"page: 127.0.0.1:{port}"):
            started(site)
    (tmp_path / "x.pem").write_text("nothing")
    table = f'bind = "127.0.0.1:{free_port()}"\ncert = "../x.pem"\nkey = "../x.pem"\n'
    site = Site(tmp_path / "b", ACME, 1, limits=f"[page]\n{table}")
    with pytest.raises(TransportError, match=r"page: 127\.0\.0\.1"):
        started(site)


def started(site: Site) -> None:
    gateway = Gateway(site.config)
    try:
        gateway.start()
    finally:
        gateway.stop()


# --- who may ask ----------------------------------------------------------------------------


def test_what_tells_something_needs_the_token(client: httpx2.Client) -> None:
    for path in paths():
        opened = path in FILES or path in {"/healthz", "/readyz", "/openapi.json", "/v1/guide"}
        if path == "/v1/events":
            continue
        assert client.get(path).status_code == (200 if opened else 401), path
        assert client.get(path, headers=bearer(CANARY)).status_code == 200, path
    refused = client.get("/v1/status", headers=bearer(CANARY[:-1]))
    assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    for header in ("", "Bearer", f"Basic {CANARY}", CANARY, "Bearer \xff"):
        sent = [(b"Authorization", header.encode("latin-1"))]
        assert client.get("/v1/status", headers=sent).status_code == 401
    assert client.get(f"/v1/status?token={CANARY}", headers=bearer(CANARY)).status_code == 400
    with client.stream("GET", "/v1/events") as answer:
        assert answer.status_code == 401


def test_answers_are_what_the_description_says(world: World, client: httpx2.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {route.path for route in ROUTES}
    until(lambda: world.site.status()["devices"], "the device")
    for route in ROUTES:
        path = route.path.replace("{id}", world.device.text)
        if not isinstance(route.answer, type):
            continue
        answered = until(
            lambda: (got := client.get(path, headers=bearer(CANARY))).is_success and got,  # noqa: B023
            path,
        )
        msgspec.json.decode(answered.content, type=route.answer)
        schema = document["components"]["schemas"][route.answer.__name__]
        assert set(answered.json()) <= set(schema["properties"])
        assert set(schema["required"]) <= set(answered.json())
    problem = client.get("/v1/status").json()
    assert problem == {
        "reason": "not-authorised",
        "title": "send the token of page.token_file as a bearer token",
        "status": 401,
        "reasons": [],
    }


def test_who_guesses_tokens_is_slow(client: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagelimits, "BAD_TOKENS_BURST", 3.0)
    seen = [client.get("/v1/status", headers=bearer("x" * n)).status_code for n in range(1, 40)]
    assert 401 in seen and seen[-1] == 429
    assert client.get("/healthz").status_code == 200
    until(lambda: client.get("/v1/status", headers=bearer(CANARY)).status_code == 200, "pardon")


def test_other_sites_and_foreign_host_names_are_refused(
    client: httpx2.Client, gateway: Gateway
) -> None:
    good = bearer(CANARY)
    for host in ("evil.example", "127.0.0.1.evil.example", "gw.example.evil", ""):
        assert client.get("/v1/status", headers=good | {"Host": host}).status_code == 403, host
        assert client.get("/", headers={"Host": host}).status_code == 403
    for host in ("gw.example", "GW.example:8472", "localhost:8472", "[::1]:8472", "127.0.0.1"):
        assert client.get("/v1/status", headers=good | {"Host": host}).status_code == 200, host
    for site in ("cross-site", "same-site", "what"):
        asked = good | {"Sec-Fetch-Site": site}
        assert client.get("/v1/status", headers=asked).status_code == 403
        assert client.get("/metrics", headers=asked).status_code == 403
        # A link may lead here; it reads nothing.
        assert client.get("/", headers=asked).status_code == 200
    assert client.get("/v1/status", headers=good | {"Sec-Fetch-Site": "same-origin"}).is_success
    answer = client.get("/v1/status", headers=good | {"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_questions_that_are_not_understood_are_refused(client: httpx2.Client) -> None:
    good = bearer(CANARY)
    for path, status in (
        ("/v1/devices?first=x", 400), ("/v1/devices?limit=201", 400),
        ("/v1/devices?first=99", 400), ("/v1/devices?q=" + "x" * 129, 400),
        ("/v1/devices?surprise=1", 400), ("/v1/devices/short", 400),
        ("/v1/devices/" + "A" * 43, 404), ("/v1/devices/..%2fkey", 404),
        ("/v1/status/", 404), ("/ui/key", 404),
    ):  # fmt: skip
        answer = client.get(path, headers=good)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_canary_is_found_nowhere(
    world: World, client: httpx2.Client, gateway: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    until(lambda: world.site.status()["devices"], "the device")
    with contextlib.suppress(httpx2.HTTPError):
        client.get("/v1/status", headers=bearer(CANARY) | {"Host": "evil.example"})
    texts = [repr(gateway.config), str(gateway.config.page), repr(gateway.config.broker)]
    for path in (*paths(), f"/v1/devices/{world.device.text}"):
        if path != "/v1/events":
            for headers in (bearer(CANARY), bearer(CANARY[:-1]), {}):
                answer = client.get(path, headers=headers)
                texts += [answer.text, str(answer.headers)]
    texts += [json.dumps(world.site.status()), *capfd.readouterr()]
    assert not [text for text in texts if CANARY in text or PASSWORD in text]


def test_run_prints_where_the_page_is(tmp_path: Path, mosquitto: Mosquitto) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, "run", limits='[page]\nbind = "127.0.0.1:0"\n')
    site.with_prefix("run")
    command = "import sys; from tallystick.tools.main import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", command, "gateway", "run", "--config", str(site.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert running.stdout is not None
        url = next(
            found[0]
            for line in running.stdout
            if (found := re.search(r"http://127\.0\.0\.1:[0-9]+", line))
        )
        assert httpx2.get(url + "/healthz", timeout=60).status_code == 200
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0


def test_who_does_not_shake_hands_is_dropped(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagelimits, "HANDSHAKE_S_MAX", 0.3)
    made = World(tmp_path / "hands", mosquitto.port)
    with made.site.running() as gateway:
        assert gateway.page is not None
        with connect(gateway.page.url) as silent:
            assert ended(silent) == b""


# --- in a browser ---------------------------------------------------------------------------


@pytest.mark.skipif(chromium.PROGRAM is None, reason="chromium is not installed")
def test_the_page_asks_for_the_token_and_keeps_it_in_itself(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    (tmp_path / "token").write_text(CANARY)
    (tmp_path / "token").chmod(0o600)
    table = '[page]\nbind = "127.0.0.1:0"\ntoken_file = "token"\n'
    site = Site(tmp_path, ACME, mosquitto.port, "asks", limits=table)
    site.with_prefix("asks")
    with site.running() as gateway, browser(tmp_path / "chromium") as page:
        assert gateway.page is not None
        page.size(800, 600)
        page.open(gateway.page.url + "/", "document.title.startsWith('That did not work')")
        assert page.do("document.getElementById('access').open")
        assert "bearer token" in page.text() and "All is well" not in page.text()
        page.do(
            f"{{const t = document.getElementById('token'); t.value = {json.dumps(CANARY)};"
            "t.dispatchEvent(new Event('change'))}"
        )
        page.until("document.getElementById('sentence').textContent.startsWith('All is well')")
        page.until("document.getElementById('state').textContent === 'live'")
        kept = "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
        assert page.do(kept) == [0, 0, "", gateway.page.url + "/"]
