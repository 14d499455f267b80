"""Verdicts as server-sent events: from the beginning, resumed, chosen, bounded, ended."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.devices import Fleet
from support.site import until
from support.validating import Gateway, compress, handover, load
from tallystick.evidence import receipt, verdict
from tallystick.evidence.keys import from_b64u
from tallystick.validator import feed
from tallystick.validator.service import Service

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}


class World:
    """A running validator with one matched handover of a and b."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet("acme")
        self.service = Service(load(folder, [self.fleet]))
        self.http = httpx2.Client(base_url=self.service.start(), timeout=20)
        self.devices = [self.fleet.device(name) for name in ("a", "b", "c")]
        self.gateway = Gateway(self.fleet)
        self.sent = 0

    def hand_over(self, task: str, giver: int, receiver: int) -> None:
        pair = (self.devices[giver], self.devices[receiver])
        before = [len(device.segments()) for device in pair]
        handover(*pair, task)
        for device, known in zip(pair, before, strict=True):
            self.gateway.take(*device.segments()[known:])
        data = self.gateway.batch(self.sent, devices=list(pair))
        self.sent = len(self.gateway.items)
        answer = self.http.post("/v1/batches", content=compress(data), headers=ZSTD)
        assert answer.status_code == 200, answer.text

    def events(self, count: int, last: int | None = None, **query: str) -> list[dict[str, Any]]:
        """The next events of a stream, which is left then."""
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        found: list[dict[str, Any]] = []
        with self.http.stream(
            "GET", "/v1/verdicts/events", params=query, headers=headers
        ) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            for event in events_in(answer.iter_lines()):
                found.append(event)
                if len(found) == count:
                    break
        return found

    def close(self) -> None:
        self.http.close()
        self.service.stop()


def events_in(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            assert fields["event"] == "verdict"
            data = json.loads(fields["data"])
            assert int(fields["id"]) == data["entry"]
            yield data
        fields = {}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("events") / "validator")
    made.hand_over("order-1", 0, 1)
    yield made
    made.close()


def test_events_come_resume_and_are_chosen(world: World) -> None:
    (first,) = world.events(1)
    statement = from_b64u(first["statement"], len(first["statement"]) * 3 // 4)
    made = from_b64u(first["receipt"], len(first["receipt"]) * 3 // 4)
    key = world.service.sequencer.keys.signer.public_key()
    assert verdict.parse(statement).verify(key).finding.state == "matched"
    assert receipt.parse(made).verify(statement, key).index == first["entry"]

    # What comes while a stream is open, and what came while none was.
    heard: list[dict[str, Any]] = []
    listening = threading.Thread(target=lambda: heard.extend(world.events(1, first["entry"])))
    listening.start()
    world.hand_over("order-2", 0, 2)
    listening.join(60)
    (second,) = heard
    world.hand_over("order-3", 0, 1)
    (third,) = world.events(1, second["entry"])
    entries = [one["entry"] for one in (first, second, third)]
    assert entries == sorted(set(entries))
    assert [one["entry"] for one in world.events(3)] == entries
    # The header counts before the query.
    assert world.events(1, second["entry"], after="0") == [third]

    chosen = world.events(1, device=world.devices[2].text)
    assert [one["entry"] for one in chosen] == [second["entry"]]


def test_who_waits_for_verdicts_is_told_and_nobody_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever looked so seldom would find nothing in time.
    monkeypatch.setattr(feed, "STREAM_LOOK_S", 60.0)
    newest = world.http.get("/v1/verdicts").json()["next"]
    heard: list[dict[str, Any]] = []
    streamed: list[dict[str, Any]] = []

    def ask() -> None:
        query = {"after": newest, "wait": 20}
        heard.append(world.http.get("/v1/verdicts", params=query, timeout=90).json())

    threads = [
        threading.Thread(target=ask),
        threading.Thread(target=lambda: streamed.extend(world.events(1, newest))),
    ]
    for thread in threads:
        thread.start()
    told = world.service.sequencer.log.on_verdicts.__self__  # type: ignore[attr-defined]
    end = time.monotonic() + 60
    while told._waiting < len(threads):
        assert time.monotonic() < end
        time.sleep(0.01)
    began = time.monotonic()
    world.hand_over("order-waited-for", 0, 1)
    for thread in threads:
        thread.join(60)
    assert time.monotonic() - began < 19
    (answer,) = heard
    assert answer["verdicts"] == streamed
    assert len(streamed) == 1


def test_nobody_waits_longer_than_is_said_or_asked(world: World) -> None:
    query = {"after": world.http.get("/v1/verdicts").json()["next"]}
    began = time.monotonic()
    assert world.http.get("/v1/verdicts", params={**query, "wait": 1}).json()["verdicts"] == []
    assert 0.9 < time.monotonic() - began < 19
    for wrong in ("21", "-1", "0.5"):
        answer = world.http.get("/v1/verdicts", params={**query, "wait": wrong})
        assert (answer.status_code, answer.json()["reason"]) == (400, "bad-value"), wrong


def test_streams_take_no_place_of_who_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STREAMS_MAX", 1)
    query = {"after": world.http.get("/v1/verdicts").json()["next"], "wait": 1}

    def waited_s() -> float:
        began = time.monotonic()
        assert world.http.get("/v1/verdicts", params=query).json()["verdicts"] == []
        return time.monotonic() - began

    told = world.service.sequencer.log.on_verdicts.__self__  # type: ignore[attr-defined]
    until(lambda: not told.open and not told._waiting, "the streams of the tests before to end")
    with world.http.stream("GET", "/v1/verdicts/events", params={"after": query["after"]}) as first:
        lines = first.iter_lines()
        next(lines)
        until(lambda: told._waiting == 1, "the stream to wait")
        assert waited_s() > 0.9
        assert told._pages == 0
    # More than so many are answered at once.
    monkeypatch.setattr(feed, "VERDICTS_WAITS_MAX", 0)
    query["wait"] = 20
    assert waited_s() < 19


def test_the_snippet_of_the_documents_follows_verdicts(world: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
    (snippet,) = [
        one
        for one in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        if "/v1/verdicts/events" in one
    ]
    command = [sys.executable, "-c", snippet, world.service.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        line = following.stdout.readline()
        following.kill()
    (first,) = world.events(1)
    assert line.split() == [
        str(first["entry"]), "matched", "dock-3", first["interaction"],
    ]  # fmt: skip


def test_an_id_that_is_none_is_refused(world: World) -> None:
    for wrong in ("-1", "+5", "x", "01", "9" * 20):
        answer = world.http.get("/v1/verdicts/events", headers={"Last-Event-ID": wrong})
        assert (answer.status_code, answer.json()["reason"]) == (400, "bad-value"), wrong
        assert answer.headers["content-type"] == "application/problem+json"


def test_streams_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STREAMS_MAX", 1)

    def status() -> int:
        # A stream that is open after all would not end, so nothing of it is read.
        with world.http.stream("GET", "/v1/verdicts/events") as answer:
            if answer.status_code != 200:
                answer.read()
                assert answer.json()["reason"] == "over-quota"
            return answer.status_code

    # The streams of the tests before end when the service notices that nobody reads them.
    end = time.monotonic() + 60
    while status() != 200:
        assert time.monotonic() < end
    while True:
        with world.http.stream("GET", "/v1/verdicts/events") as first:
            if first.status_code == 200:
                # Kept: a generator that nobody has ends, and the stream with it.
                lines = first.iter_lines()
                next(lines)
                assert status() == 503
                assert world.http.get("/healthz").status_code == 200
                return
        assert time.monotonic() < end


def test_a_quiet_stream_says_that_it_lives(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STREAM_ALIVE_S", 0.05)
    newest = world.http.get("/v1/verdicts").json()["next"]
    with world.http.stream(
        "GET", "/v1/verdicts/events", headers={"Last-Event-ID": str(newest)}
    ) as answer:
        assert next(line for line in answer.iter_lines() if line.startswith(":"))


def test_a_stream_ends_with_the_service_and_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "STREAM_ALIVE_S", 0.05)
    world = World(tmp_path / "validator")
    try:
        with monkeypatch.context() as short:
            short.setattr(feed, "STREAM_S_MAX", 0.0)
            assert world.http.get("/v1/verdicts/events").text == "retry: 2000\n\n"
        with world.http.stream("GET", "/v1/verdicts/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            world.service._ending.set()
            # It ends by itself, and not because somebody waited long enough.
            assert all(line == "" or line.startswith(":") for line in lines)
    finally:
        world.close()
