"""The HTTP interface: true to its OpenAPI document, strict at the door, never a 500."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import zstandard

from support.devices import Device, Fleet
from support.validating import (
    HANDOVER,
    OPERATOR,
    START_MS,
    TOKEN,
    Gateway,
    compress,
    handover,
    load,
)
from tallystick.evidence import batchanswer, checkpoint, evidencefile, note, receipt, verdict
from tallystick.evidence.keys import b64u, device_text, from_b64u
from tallystick.validator import publication, queries, routes
from tallystick.validator.service import Service
from tallystick.verify import evidence_check
from tallystick.verify.policy import parse_policy

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}
COUNSEL = {"Authorization": f"Bearer {OPERATOR}"}
READER = {"Authorization": f"Bearer {TOKEN}"}


class World:
    """A running validator, a gateway and two devices with one matched handover and a lonely one."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet("acme")
        self.folder = folder
        self.config = load(folder, [self.fleet])
        self.service = Service(self.config)
        self.http = httpx2.Client(base_url=self.service.start(), timeout=20)
        self.giver: Device = self.fleet.device("a")
        self.receiver: Device = self.fleet.device("b")
        self.gateway = Gateway(self.fleet)

    def fill(self) -> None:
        self.giver.record(5)
        handover(self.giver, self.receiver, "order-1")
        handover(self.giver, self.receiver, "order-2", sides="g")
        custody = self.gateway.custody(self.giver, START_MS)
        self.giver.seal()
        self.gateway.take(*self.giver.segments(), *self.receiver.segments())
        data = self.gateway.batch(devices=[self.giver, self.receiver], receipts=[custody])
        assert self.post(data).status_code == 200
        self.wait("matched", 1)

    def post(self, data: bytes) -> httpx2.Response:
        return self.http.post("/v1/batches", content=compress(data), headers=ZSTD)

    def wait(self, state: str, count: int) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.http.get("/v1/status").json()["states"].get(state) == count:
                return
            time.sleep(0.02)
        message = f"never {count} {state}"
        raise AssertionError(message)

    def close(self) -> None:
        self.http.close()
        self.service.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("http") / "validator")
    made.fill()
    yield made
    made.close()


# --- the document ------------------------------------------------------------------------------


def _check(schema: dict[str, Any], value: Any, parts: dict[str, Any], where: str) -> None:
    """A small JSON Schema checker: what msgspec emits, and nothing that it would not know."""
    known = {"$ref", "anyOf", "type", "properties", "required", "items", "enum", "pattern",
             "minimum", "maximum", "description", "title", "default", "additionalProperties",
             "format"}  # fmt: skip
    assert schema.keys() <= known, (where, schema.keys() - known)
    if "$ref" in schema:
        _check(parts[schema["$ref"].rpartition("/")[2]], value, parts, where)
        return
    if "anyOf" in schema:
        failures = []
        for option in schema["anyOf"]:
            try:
                _check(option, value, parts, where)
            except AssertionError as error:
                failures.append(error)
        assert len(failures) < len(schema["anyOf"]), failures
        return
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
             "null": type(None)}  # fmt: skip
    if "type" in schema:
        assert type(value) is types[schema["type"]], (where, value, schema)
    if "enum" in schema:
        assert value in schema["enum"], (where, value)
    if "pattern" in schema:
        import re

        assert re.search(schema["pattern"], value), (where, value)
    if "minimum" in schema:
        assert value >= schema["minimum"], (where, value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        extra = schema.get("additionalProperties")
        for name in schema.get("required", []):
            assert name in value, (where, name)
        for name, item in value.items():
            rule = properties.get(name, extra)
            assert isinstance(rule, dict), (where, name, "is not in the document")
            _check(rule, item, parts, f"{where}.{name}")
    if isinstance(value, list):
        for item in value:
            _check(schema["items"], item, parts, where + "[]")


def _true(world: World, method: str, path: str, answer: httpx2.Response) -> None:
    """The answer is one that the document allows."""
    document = world.http.get("/openapi.json").json()
    operation = document["paths"][path][method]
    told = operation["responses"][str(answer.status_code)]
    (media, body), *others = told["content"].items()
    assert others == []
    assert answer.headers["content-type"] == media
    if "schema" in body:
        _check(body["schema"], answer.json(), document["components"]["schemas"], path)


def test_every_route_is_in_the_document_and_answers_as_it_says(world: World) -> None:
    document = world.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    asked = {(method.upper(), path) for path, ops in document["paths"].items() for method in ops}
    assert asked == {(route.method, route.path) for route in routes.ROUTES}
    page = world.http.get("/v1/interactions", params={"state": "matched"}).json()
    one = page["interactions"][0]
    digest = b64u(checkpoint.parse(world.giver.stretches[0].checkpoint).digest)
    texts = {
        "{digest}": digest,
        "{device}": world.giver.text,
        "{epoch}": b64u(world.giver.epoch),
        "{index}": "1",
        "{namespace}": one["namespace"],
        "{tile}": "0/000.p/1",
    }
    for route in routes.ROUTES:
        if route.method != "GET":
            continue
        path = route.path
        for name, text in texts.items():
            path = path.replace(name, text)
        path = path.replace(
            "{id}", one["interaction"] if "namespace" in route.path else world.giver.text
        )
        given: dict[str, str | int] = {
            "epoch": b64u(world.giver.epoch),
            "from": 1,
            "to": 2,
            "q": "x",
        }
        wanted = {one.name for one in route.parameters if one.required and one.where == "query"}
        query = {name: given[name] for name in sorted(wanted)}
        if route.answer == routes.EVENTS:
            continue  # it does not end: test_events.py
        headers = COUNSEL if route.operators else READER
        answer = world.http.get(path, headers=headers, params=query)
        assert answer.status_code == 200, (path, answer.text)
        _true(world, "get", route.path, answer)


def test_the_apps_routes_are_the_tables(world: World) -> None:
    from tallystick.validator.app import make_app

    app = make_app(world.service.sequencer, "0")
    ours = {(route.method, route.path) for route in routes.ROUTES}
    theirs = {
        (method, route.path.replace(":path", ""))  # type: ignore[attr-defined]  # all are Route
        for route in app.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]  # as above
    }
    assert theirs == ours


def test_the_protocol_names_every_route() -> None:
    told = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    section = told[told.index("## 8.") :]
    for route in routes.ROUTES:
        assert f"{route.method} {route.path}" in section, route.path


BAD_GETS = [
    ("/v1/entries?start=-1", 400), ("/v1/entries?start=01", 400), ("/v1/entries?start=%2B5", 400),
    ("/v1/entries?start=0_1", 400), ("/v1/entries?count=0", 400), ("/v1/entries?count=9999", 400),
    ("/v1/entries?start=99999999999999999999", 400), ("/v1/entries?foo=1", 400),
    ("/v1/entries?start=%D9%A3", 400), ("/v1/receipts/x", 400), ("/v1/receipts/" + "A" * 43, 404),
    ("/v1/devices?subject=king", 400), ("/v1/devices?after=x", 400), ("/v1/devices?limit=x", 400),
    ("/v1/devices/" + "A" * 43, 404), ("/v1/devices/" + "A" * 42 + "B", 400),
    ("/v1/devices/" + "A" * 43 + "/credential", 404), ("/v1/devices/x/credential", 400),
    ("/v1/devices/" + "A" * 43 + "/consistency", 400),
    ("/v1/devices/" + "A" * 43 + "/consistency?epoch=AAAAAAAAAAA&from=1&to=2", 404),
    ("/v1/devices/" + "A" * 43 + "/consistency?epoch=AAAAAAAAAAA&from=2&to=1", 400),
    ("/v1/devices/" + "A" * 43 + "/consistency?epoch=AAAAAAAAAAA&from=0&to=1", 400),
    ("/v1/devices/" + "A" * 43 + "/consistency?epoch=AAAA&from=1&to=2", 400),
    ("/v1/heads?after=x", 400), ("/v1/heads?device=x", 400), ("/v1/forks?after=1", 400),
    ("/v1/devices/x/forks", 400), ("/v1/interactions?state=true", 400),
    ("/v1/interactions?namespace=", 400), ("/v1/interactions/nowhere/" + "A" * 22, 404),
    ("/v1/interactions/nowhere/x", 400), ("/v1/verdicts?after=x", 400),
    ("/v1/verdicts?device=x", 400), ("/v1/verdicts?state=x", 400),
    ("/v1/evidence/nowhere/" + "A" * 22, 404), ("/v1/evidence/nowhere/x", 400),
    ("/v1/evidence/records/x/y/0", 400),
    ("/v1/evidence/records/" + "A" * 43 + "/" + "A" * 11 + "/0", 404),
    ("/v1/evidence/records/" + "A" * 43 + "/" + "A" * 11 + "/-1", 400),
    ("/v1/interactions/a%00b/" + "A" * 22, 404), ("/v1/interactions?namespace=%ff%00", 200),
    ("/nothing", 404), ("/v1/checkpoint/", 404), ("/v1/batches", 405), ("/v1/checkpoint?x=1", 400),
]  # fmt: skip


@pytest.mark.parametrize(("path", "status"), BAD_GETS)
def test_bad_questions_are_refused_with_a_reason(world: World, path: str, status: int) -> None:
    before = world.http.get("/v1/status").json()["refusals"]
    answer = world.http.get(path, headers=READER)
    assert answer.status_code == status, answer.text
    if status in {400, 404} and path.startswith("/v1/") and path != "/v1/checkpoint/":
        reason = answer.json()["reason"]
        after = world.http.get("/v1/status").json()["refusals"]
        assert after[reason] == before.get(reason, 0) + 1
        place = path.split("?", maxsplit=1)[0]
        told = [
            route.path
            for route in routes.ROUTES
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route.path), place)
        ]
        for template in told[:1]:
            _true(world, "get", template, answer)
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"]
        assert answer.json()["status"] == status


def _batch(world: World) -> bytes:
    gateway = Gateway(world.fleet, "spare")
    gateway.take(world.giver.segment(0, 1))
    return gateway.batch()


def _bad_bodies(world: World) -> list[tuple[str, bytes, dict[str, str], int, str]]:
    data = _batch(world)
    bomb = compress(b"\0" * 30_000_000)
    wide = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27)
    )
    stranger = Gateway(Fleet("nobody"))
    stranger.take(world.giver.segment(0, 1))
    flipped = bytearray(data)
    flipped[-1] ^= 1
    return [
        ("no encoding", compress(data), {}, 415, "bad-header"),
        ("gzip", compress(data), {"Content-Encoding": "gzip"}, 415, "bad-header"),
        ("not zstd", data, ZSTD, 400, "bad-value"),
        ("empty", b"", ZSTD, 400, "truncated"),
        ("empty frame", compress(b""), ZSTD, 400, "truncated"),
        ("cut frame", compress(data)[:-9], ZSTD, 400, ""),
        ("bomb", bomb, ZSTD, 413, "too-large"),
        ("long", b"\0" * 9_000_000, ZSTD, 413, "too-large"),
        ("wide window", wide.compress(b"x" + data * 99), ZSTD, 413, "too-large"),
        ("random", compress(bytes(range(256)) * 2), ZSTD, 400, ""),
        ("a segment", compress(world.giver.segment(0, 1)), ZSTD, 400, ""),
        ("trailing", compress(data + b"\0"), ZSTD, 400, "trailing-bytes"),
        ("truncated", compress(data[:-1]), ZSTD, 400, "truncated"),
        ("bad signature", compress(bytes(flipped)), ZSTD, 400, "bad-signature"),
        ("stranger", compress(stranger.batch()), ZSTD, 403, "not-enrolled"),
        ("unknown", compress(stranger.batch(own=False)), ZSTD, 403, "unknown-device"),
    ]


def test_bad_batches_are_refused_counted_and_change_nothing(world: World) -> None:
    before = world.http.get("/v1/status").json()
    for name, body, headers, status, reason in _bad_bodies(world):
        answer = world.http.post("/v1/batches", content=body, headers=headers)
        assert answer.status_code == status, (name, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        found = answer.json()["reason"]
        assert not reason or found == reason, (name, found)
    after = world.http.get("/v1/status").json()
    assert after["size"] == before["size"]
    grown = sum(after["refusals"].values()) - sum(before["refusals"].values())
    assert grown == len(_bad_bodies(world))
    assert world.http.get("/readyz").status_code == 200


def test_bad_publications_are_refused_and_change_nothing(world: World) -> None:
    good = publication.encode([world.giver.credential])
    cbor_ = {"Content-Type": routes.CBOR}
    size = world.http.get("/v1/status").json()["size"]
    for body, headers, status in (
        (good, {}, 415), (good, {"Content-Type": "application/json"}, 415),
        (good, cbor_ | {"Content-Encoding": "zstd"}, 415), (b"", cbor_, 400),
        (good[:-1], cbor_, 400), (good + b"x", cbor_, 400), (b"\x80", cbor_, 400),
        (b"\x81\x80", cbor_, 400), (b"\x81\x81\x40", cbor_, 400),
        (publication.encode([world.giver.credential] * 65), cbor_, 413),
        (bytes((1 << 20) + 1), cbor_, 413),
    ):  # fmt: skip
        answer = world.http.post("/v1/credentials", content=body, headers=headers)
        assert answer.status_code == status, (body[:9], answer.text)
        _true(world, "post", "/v1/credentials", answer)
    answer = world.http.post("/v1/credentials", content=good, headers=cbor_)
    assert answer.json()["credentials"][0]["entry"] < size
    _true(world, "post", "/v1/credentials", answer)
    assert world.http.get("/v1/status").json()["size"] == size


def test_a_flood_of_publications_is_stopped_and_holds_up_no_batch(tmp_path: Path) -> None:
    flooded = World(tmp_path / "validator")
    try:
        body = publication.encode([flooded.giver.credential])
        headers = {"Content-Type": routes.CBOR}
        answers_ = [
            flooded.http.post("/v1/credentials", content=body, headers=headers) for _ in range(60)
        ]
        codes = [answer.status_code for answer in answers_]
        assert codes.count(200) >= 16
        assert codes.count(429) >= 10
        assert answers_[codes.index(429)].headers["retry-after"] == "1"
        flooded.fill()
    finally:
        flooded.close()


def test_every_single_bit_flip_of_a_batch_is_refused(world: World) -> None:
    data = bytearray(_batch(world))
    size = world.http.get("/v1/status").json()["size"]
    for at in range(0, len(data), max(1, len(data) // 200)):
        data[at] ^= 1 << (at % 8)
        answer = world.post(bytes(data))
        data[at] ^= 1 << (at % 8)
        assert answer.status_code in {400, 403, 413}, (at, answer.text)
    assert world.http.get("/v1/status").json()["size"] == size


# --- reading -----------------------------------------------------------------------------------


def test_bodies_need_a_readers_token(world: World) -> None:
    page = world.http.get("/v1/interactions", params={"state": "matched"}).json()
    one = page["interactions"][0]
    path = f"/v1/evidence/{one['namespace']}/{one['interaction']}"
    assert world.http.get(path).status_code == 401
    assert world.http.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert world.http.get(path, headers={"Authorization": "Basic x"}).status_code == 401
    assert world.http.get(path, headers=READER).status_code == 200


def test_open_reads_are_for_loopback_only(tmp_path: Path) -> None:
    config = load(tmp_path / "v", [Fleet("acme")], open_reads="true")
    service = Service(config)
    url = service.start()
    try:
        path = f"{url}/v1/evidence/nowhere/{'A' * 22}"
        assert httpx2.get(path, timeout=60).status_code == 404
        # A proxy on this machine speaks for somebody else.
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            assert httpx2.get(path, headers={name: "192.0.2.1"}, timeout=60).status_code == 401
        # So does a browser on this machine, for a page whose name leads here.
        assert httpx2.get(path, headers={"Host": "page.example"}, timeout=60).status_code == 401
        assert httpx2.get(path, headers={"Host": "localhost:8470"}, timeout=60).status_code == 404
        assert (
            httpx2.get(path, headers={"Authorization": "Bearer no"}, timeout=60).status_code == 401
        )
    finally:
        service.stop()


def test_the_log_can_be_followed_and_recomputed(world: World) -> None:
    from tallystick.evidence.tree import leaf_hash, root_of

    text = world.http.get("/v1/checkpoint").text
    key = world.service.sequencer.keys.notes.public_key()
    shown = note.parse(text).verify(note.NoteKey("notary.example/log", key))
    entries: list[bytes] = []
    while len(entries) < shown.size:
        page = world.http.get("/v1/entries", params={"start": len(entries), "count": 5}).json()
        for item in page["entries"]:
            assert item["index"] == len(entries)
            data = item["data"]
            entries.append(from_b64u(data, len(data) * 3 // 4))
    assert root_of([leaf_hash(data) for data in entries[: shown.size]]) == shown.root


def test_verdicts_are_followed_with_their_receipts(world: World) -> None:
    key = world.service.sequencer.keys.signer.public_key()
    page = world.http.get("/v1/verdicts", params={"device": world.giver.text}).json()
    (found,) = page["verdicts"]
    statement = from_b64u(found["statement"], len(found["statement"]) * 3 // 4)
    made = from_b64u(found["receipt"], len(found["receipt"]) * 3 // 4)
    assert verdict.parse(statement).verify(key).finding.state == "matched"
    assert receipt.parse(made).verify(statement, key).index == found["entry"]
    again = world.http.get("/v1/verdicts", params={"after": page["next"]}).json()
    assert again["verdicts"] == []
    assert again["next"] == page["next"]
    nobody = device_text(bytes(32))
    assert world.http.get("/v1/verdicts", params={"device": nobody}).json()["verdicts"] == []


def test_devices_say_what_is_held_of_them(world: World) -> None:
    page = world.http.get("/v1/devices", params={"limit": 1}).json()
    assert (page["total"], page["decisions"], len(page["devices"])) == (2, 5, 1)
    second = world.http.get("/v1/devices", params={"after": page["next"]}).json()
    assert second["next"] is None
    shown = world.http.get(f"/v1/devices/{world.giver.text}").json()
    assert (shown["decisions"], shown["claims"], shown["status"]) == (5, 2, "active")
    assert shown["logs"][0]["complete"]


def test_an_interactions_evidence_holds_offline(world: World, trust: Any) -> None:
    page = world.http.get("/v1/interactions", params={"state": "matched"}).json()
    one = page["interactions"][0]
    path = f"/v1/evidence/{one['namespace']}/{one['interaction']}"
    data = world.http.get(path, headers=READER).content
    file = evidencefile.parse(data)
    report = evidence_check.check(file, trust(world), int(time.time()))
    (checked,) = report.party_sets
    assert [
        (said.verdict.finding.state, said.logged, said.recomputed) for said in checked.said
    ] == [("matched", True, True)]
    allowed = {
        "whether there are newer verdicts or key changes",
        "whether the claims are true",
    }
    assert {what for what, _ in report.not_checked} == allowed


def test_a_records_evidence_discloses_one_record(world: World, trust: Any) -> None:
    path = f"/v1/evidence/records/{world.giver.text}/{b64u(world.giver.epoch)}/3"
    data = world.http.get(path, headers=READER).content
    file = evidencefile.parse(data)
    (half,) = file.halves
    assert half.record == world.giver.stretches[0].records[3]
    assert world.giver.stretches[0].seed not in data
    report = evidence_check.check_evidence(file, trust(world), int(time.time()))
    assert [record.index for record in report.records] == [3]
    assert report.records[0].logged_s is not None


@pytest.fixture
def trust() -> Any:
    def make(world: World) -> Any:
        key = world.service.sequencer.keys
        roots = [world.fleet.root_line, Fleet("notary").root_line]
        from tallystick.evidence.root import format_root

        line = format_root("notary", key.signer.public_key())
        vkey = note.NoteKey("notary.example/log", key.notes.public_key()).text()
        return parse_policy(policy_text(roots, line, vkey))

    return make


def policy_text(roots: list[str], line: str, vkey: str) -> str:
    return f"""
roots = {json.dumps(roots)}

[devices]
custody = "software"

[profiles]
digests = ["{b64u(HANDOVER.digest)}"]

[validators]
at_least = 1

[[validators.accept]]
organisation = "Notary"
key = "{line}"
note_key = "{vkey}"
"""


# --- slow and many -----------------------------------------------------------------------------


def test_a_slow_body_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from tallystick.validator import body

    monkeypatch.setattr(body, "BODY_READ_S_MAX", 0.3)
    stop = threading.Event()

    def slow() -> Iterator[bytes]:
        yield b"x"
        stop.wait(2)
        yield b"y"

    answer = world.http.post("/v1/batches", content=slow(), headers=ZSTD)
    stop.set()
    assert (answer.status_code, answer.json()["reason"]) == (408, "truncated")


def test_a_body_that_goes_on_after_its_answer_ends_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = world.service.door
    monkeypatch.setattr(door, "bounds", replace(door.bounds, body_rest_s_max=0.3))
    host, port = world.service.url.removeprefix("http://").split(":")
    head = b"GET /healthz HTTP/1.1\r\nHost: %s\r\n" % host.encode()
    for more, part in (
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"Content-Length: 1000000000\r\n\r\n", b"x"),
    ):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head + more + part)
            assert _answered(connection).startswith(b"HTTP/1.1 200")
            with pytest.raises(ConnectionError):
                _send_on(connection, part)
    monkeypatch.undo()
    # One that ends in time is answered again on the same connection.
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for _ in range(2):
            connection.sendall(head + b"Content-Length: 2\r\n\r\nx")
            assert _answered(connection).startswith(b"HTTP/1.1 200")
            connection.sendall(b"y")


def _answered(connection: socket.socket) -> bytes:
    heard = b""
    while not heard.endswith(b"}"):
        heard += connection.recv(10_000)
    return heard


def _send_on(connection: socket.socket, part: bytes) -> None:
    for _ in range(200):
        connection.sendall(part)
        time.sleep(0.05)


def test_answers_that_are_not_read_close_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = world.service.door
    monkeypatch.setattr(door, "bounds", replace(door.bounds, answer_s_max=2.0))
    host, port = world.service.url.removeprefix("http://").split(":")
    others = door.connections
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((host, int(port)))
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 300)

        def new() -> bool:
            return bool(door.connections - others)

        for wanted in (True, False):
            end = time.monotonic() + 60
            while new() != wanted and time.monotonic() < end:
                time.sleep(0.01)
            assert new() == wanted


def test_headers_that_do_not_come_close_the_connection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = world.service.door
    monkeypatch.setattr(door, "bounds", replace(door.bounds, header_s_max=0.3))
    host, port = world.service.url.removeprefix("http://").split(":")
    for sent in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent)
            assert connection.recv(1000) == b""
    monkeypatch.undo()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000)
        assert b"400" in connection.recv(1000)


def test_the_answer_is_the_gateways(world: World) -> None:
    gateway = Gateway(world.fleet, "another")
    gateway.take(world.giver.segment(0, 1))
    answer = world.post(gateway.batch())
    assert answer.headers["content-type"] == "application/cbor"
    assert batchanswer.parse(answer.content).size == 1
    gap = world.post(gateway.batch(1, 1))
    assert gap.status_code == 200
    gateway.take(world.giver.segment(1, 2), world.giver.segment(2, 3))
    gap = world.post(gateway.batch(2))
    assert (gap.status_code, gap.json()["reason"], gap.json()["size"]) == (409, "gateway-gap", 1)
    _true(world, "post", "/v1/batches", gap)


def test_a_defect_of_ours_is_counted_and_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    try:

        def broken(*_: object, **__: object) -> bytes:
            raise ZeroDivisionError

        with monkeypatch.context() as fault:
            fault.setattr(queries, "forks_of", broken)
            fault.setattr(world.service.sequencer.ingest, "batch", broken)
            path = f"/v1/devices/{device_text(world.giver.id)}/forks"
            for answer in (world.http.get(path), world.post(world.gateway.batch())):
                assert answer.status_code == 503
                assert answer.json()["reason"] == "internal-error"
                assert answer.headers["content-type"] == "application/problem+json"
        world.fill()
        assert world.http.get("/v1/status").json()["refusals"]["internal-error"] == 2
    finally:
        world.http.close()
        world.service.stop()


# --- every refusal -----------------------------------------------------------------------------


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_refusal_of_every_route_is_a_documented_problem(
    world: World, route: routes.Route
) -> None:
    method = route.method.lower()
    bad = re.sub(r"\{[^}]*\}", "~", route.path)
    told = world.http.get("/openapi.json").json()["paths"][route.path][method]
    asked: list[tuple[str, dict[str, Any]]] = [
        (bad, {"params": {"unknown": "1"}}),
        (bad, {"headers": READER}),
        (bad, {"headers": COUNSEL}),
        (bad, {"headers": {"Authorization": "Basic eDp5"}}),
    ]
    asked += [
        (bad, {"params": {item.name: "\0"}, "headers": READER})
        for item in route.parameters
        if item.where == "query"
    ]
    if route.method in {"POST", "PUT"}:
        media = route.takes[1] if route.takes else ""
        for content in (b"", b"\xff" * 64, b"{}"):
            for given in (media, "text/html"):
                headers = {"Content-Type": given, **COUNSEL}
                asked.append((bad, {"content": content, "headers": headers}))
    refused = 0
    for path, how in asked:
        with world.http.stream(route.method, path, **how) as answer:
            if answer.status_code < 400:
                continue
            answer.read()
        refused += 1
        assert str(answer.status_code) in told["responses"], (path, how, answer.text)
        _true(world, method, route.path, answer)
        assert answer.json()["status"] == answer.status_code
    assert refused
    wrong = world.http.request("TRACE", bad)
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "application/problem+json")
