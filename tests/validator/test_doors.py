"""What a stranger may send to a validator, and what it costs: bombs (A11, A12), floods by who is
not enrolled (A19), a browser's requests for another site (A20), many connections (A21).
"""

import socket
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import zstandard

from support.bombs import BOMBS
from support.devices import Fleet
from support.site import until
from support.validating import START_MS, Gateway, Room, load
from tallystick.evidence.batch import Batch
from tallystick.evidence.errors import TallyError
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import BATCH_BYTES_MAX, BATCH_RATIO_MAX
from tallystick.evidence.tree import Tree
from tallystick.validator import body, publication, routes, service
from tallystick.validator.limits import BODY_CHUNK_BYTES_MAX
from tallystick.validator.problem import Problem
from tallystick.validator.service import Service

FORM = "application/x-www-form-urlencoded"
# What a page of another site may send without asking first (Fetch, CORS-safelisted types).
SIMPLE = (FORM, "text/plain", "multipart/form-data; boundary=x")


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each signature that is checked."""
    found: list[int] = []
    real = PublicKey.verify

    def counting(self: PublicKey, signature: bytes, message: bytes) -> None:
        found.append(len(message))
        real(self, signature, message)

    monkeypatch.setattr(PublicKey, "verify", counting)
    return found


def test_a_bomb_is_refused_before_any_signature(room: Room, checked: list[int]) -> None:
    size = room.sequencer.log.tree.size
    for what, bomb in BOMBS.items():
        with pytest.raises(TallyError) as refused:
            room.send(bomb)
        assert refused.value.reason != "internal-error", what
        assert checked == [], what
    assert room.sequencer.log.tree.size == size


@pytest.mark.parametrize("where", ["items", "credentials", "receipts"])
def test_a_bomb_in_a_signed_batch_hurts_nobody(room: Room, fleet: Fleet, where: str) -> None:
    """An enrolled gateway signs it: as a segment, as a credential, as a custody receipt."""
    # Nothing at all has no place in a batch: it cannot be written.
    bombs = {what: bomb for what, bomb in BOMBS.items() if bomb}
    refused = 0
    for what, bomb in bombs.items():
        gateway = Gateway(fleet, what)
        credentials = [list(gateway.credential)]
        items: list[bytes | tuple[int, bytes]] = [(0, bytes(32))]
        if where == "items":
            items = [bomb]
        elif where == "credentials":
            credentials.append([bomb])
        tree = Tree()
        tree.extend([bytes(32)])
        head = GatewayHead(1, tree.root(), START_MS).sign(gateway.signer, fleet.name, gateway.id)
        receipts = [bomb] if where == "receipts" else []
        data = Batch(0, [], items, credentials, receipts, [], head)
        try:
            room.send(data.sign(gateway.signer, fleet.name, gateway.id))
        except TallyError:
            refused += 1
    # What stands beside segments is left out and counted, and the rest of its batch is taken.
    refused += sum(room.sequencer.refusals.totals().values())
    assert refused == len(bombs)
    device, other = fleet.device(), Gateway(fleet, "other")
    device.record(2)
    other.take(device.segment())
    assert room.send(other.batch(devices=[device])).refused == []


def peak_of(data: bytes) -> int:
    """Bytes taken at once until it is refused as too large."""
    tracemalloc.start()
    with pytest.raises(Problem) as refused:
        body.decompress(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (refused.value.reason, refused.value.status) == ("too-large", 413)
    return peak


def test_a_decompression_bomb_is_stopped_while_it_streams() -> None:
    packed = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
    # By its ratio, long before it is as large as a batch may be.
    allowed = BATCH_RATIO_MAX * len(packed)
    assert allowed < BATCH_BYTES_MAX
    assert peak_of(packed) < allowed + 2 * BODY_CHUNK_BYTES_MAX
    # By its size, where noise before it keeps the ratio small.
    noise = zstandard.ZstdCompressor().compressobj()
    slow = noise.compress(bytes(range(256)) * 8) + b"".join(
        noise.compress((n * 2654435761 % (1 << 64)).to_bytes(8, "big") * 1) for n in range(40_000)
    )
    slow += noise.compress(bytes(1 << 26)) + noise.flush()
    assert BATCH_RATIO_MAX * len(slow) > BATCH_BYTES_MAX
    assert peak_of(slow) < BATCH_BYTES_MAX + 2 * BODY_CHUNK_BYTES_MAX


def test_a_flood_by_strangers_costs_no_signature(
    room: Room, fleet: Fleet, checked: list[int]
) -> None:
    """Gateways of fleets that nobody accepts, and enrolled ones that nobody showed."""
    nobody = Fleet("nobody")
    device = nobody.device()
    device.record(2)
    flood = []
    for n in range(50):
        gateway = Gateway(nobody, f"gateway-{n}")
        gateway.take(device.segment())
        flood += [gateway.batch(devices=[device]), gateway.batch(own=False)]
    for data in flood:
        with pytest.raises(TallyError) as refused:
            room.send(data)
        assert refused.value.reason in {"not-enrolled", "unknown-device"}
    assert checked == []
    known, own = fleet.device(), Gateway(fleet)
    known.record(2)
    own.take(known.segment())
    assert room.send(own.batch(devices=[known])).refused == []
    assert checked


# --- over HTTP -----------------------------------------------------------------------------------


def serving(folder: Path) -> Iterator[Service]:
    made = Service(load(folder / "validator", [Fleet("acme")], open_reads="true"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    yield from serving(tmp_path)


@pytest.fixture
def crowded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """With room for six connections."""
    monkeypatch.setattr(service, "CONNECTIONS_MAX", 6)
    yield from serving(tmp_path)


def test_no_page_of_another_site_can_do_anything(running: Service) -> None:
    """What a browser sends without asking is refused; asked first, nothing is allowed."""
    assert {route.method for route in routes.ROUTES} == {"GET", "POST", "PUT", "DELETE"}
    page = {"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site"}
    filled = {"name": "x", "namespace": "x", "id": "A" * 22, "device": "A" * 43}
    size = httpx2.get(f"{running.url}/v1/status", timeout=60).json()["size"]
    for route in routes.ROUTES:
        if route.method == "GET":
            continue
        path = route.path
        for name, value in filled.items():
            path = path.replace(f"{{{name}}}", value)
        for media in SIMPLE:
            answer = httpx2.request(
                route.method,
                running.url + path,
                content=b"a=b",
                headers=page | {"Content-Type": media},
            )
            # The witness's door takes any type: what comes there is signed by a log that it knows.
            assert answer.status_code in {400, 401, 404, 415}, (route, answer.text)
            assert not [one for one in answer.headers if one.startswith("access-control")]
        asked = page | {"Access-Control-Request-Method": route.method}
        answer = httpx2.options(running.url + path, headers=asked)
        assert answer.status_code == 405
        assert not [one for one in answer.headers if one.startswith("access-control")]
    # Not even what would be good: a credential by an accepted root.
    good = publication.encode([Fleet("acme").device().credential])
    for media in SIMPLE:
        answer = httpx2.post(
            f"{running.url}/v1/credentials",
            content=good,
            headers=page | {"Content-Type": media},
            timeout=60,
        )
        assert (answer.status_code, answer.json()["reason"]) == (415, "bad-header")
    assert httpx2.get(f"{running.url}/v1/status", timeout=60).json()["size"] == size


def test_many_connections_keep_nobody_out_for_long(
    crowded: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = crowded.url.removeprefix("http://").split(":")
    door = crowded.door

    def ready() -> int:
        with suppress(httpx2.HTTPError):  # a busy machine is late with its headers, too
            return httpx2.get(f"{crowded.url}/readyz", timeout=60).status_code
        return 0

    assert ready() == 200
    monkeypatch.setattr(door, "bounds", replace(door.bounds, header_s_max=60.0))
    with ExitStack() as held:
        for _ in range(20):
            held.enter_context(socket.create_connection((host, int(port)), 60))
        until(lambda: len(door.connections) >= 20, "the flood")
        assert ready() == 503
    until(lambda: ready() == 200, "a place, since they went")
    monkeypatch.setattr(door, "bounds", replace(door.bounds, header_s_max=0.2))
    with ExitStack() as held:
        sockets = [
            held.enter_context(socket.create_connection((host, int(port)), 60)) for _ in range(20)
        ]
        # Cut off, because their headers do not come.
        assert [one.recv(1) for one in sockets] == [b""] * 20
        until(lambda: ready() == 200, "a place, since they were cut off")


@pytest.mark.parametrize("header", ["X: " + "a" * 40_000, "X: a\r\n" * 6_000])
def test_headers_without_end_are_refused(running: Service, header: str) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(f"GET /readyz HTTP/1.1\r\nHost: x\r\n{header}".encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 400")
    assert httpx2.get(f"{running.url}/readyz", timeout=60).status_code == 200
