"""A service with a worker beside it: batches by HTTP, and what its status says."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from support.crew import S_MAX
from support.devices import Fleet
from support.site import until
from support.validating import Gateway, compress, load
from tallystick.tools.postgres import Postgres
from tallystick.validator.ingestduty import IngestDuty
from tallystick.validator.place import Server
from tallystick.validator.service import Service
from tallystick.validator.workers import Worker


def test_a_service_says_who_looks_ahead(
    tmp_path: Path, fleet: Fleet, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateways that send at the same time, a worker, and the status."""
    monkeypatch.setattr("tallystick.validator.inbox.INBOX_BATCH_BYTES_MIN", 1)
    url = postgres.database()
    config = load(tmp_path / "validator", [fleet], store=f'"{url}"')
    service = Service(config)
    assert isinstance(config.store, Server)
    stop = threading.Event()
    worker = threading.Thread(target=Worker(config.store, [IngestDuty()], stop).run)
    try:
        base = service.start()
        worker.start()
        until(lambda: ahead_of(base)["workers"] == 1, "no worker is seen")
        assert not ahead_of(base)["waiting"]
        batches = []
        for n in range(6):
            device, gateway = fleet.device(f"d{n}"), Gateway(fleet, f"gateway-{n}")
            device.record(30)
            gateway.take(device.segment())
            batches.append(compress(gateway.batch(devices=[device])))
        inbox = service.sequencer.inbox
        assert inbox is not None
        until(lambda: sent(base, batches) and inbox.told().used > 0, "never used")
        assert ahead_of(base)["used"] > 0
    finally:
        stop.set()
        worker.join(S_MAX)
        service.stop()


def ahead_of(base: str) -> dict[str, int]:
    found: dict[str, int] = httpx2.get(f"{base}/v1/status", timeout=S_MAX).json()["ahead"]
    return found


def sent(base: str, batches: list[bytes]) -> bool:
    """All of them at once, each answered."""
    headers = {"content-type": "application/cbor", "content-encoding": "zstd"}

    def send(data: bytes) -> int:
        answer = httpx2.post(f"{base}/v1/batches", content=data, headers=headers, timeout=S_MAX)
        return answer.status_code

    with ThreadPoolExecutor(len(batches)) as pool:
        assert list(pool.map(send, batches)) == [200] * len(batches)
    return True
