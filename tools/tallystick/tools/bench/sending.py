"""The client's side of the validator's benches: batches over HTTP, and what came back."""

import threading
import time
from collections.abc import Callable, Sequence

from tallystick.evidence import batchanswer
from tallystick.evidence.errors import TransportError
from tallystick.evidence.keys import PublicKey
from tallystick.gateway.http import COSE, Http
from tallystick.gateway.receipts import Receipts
from tallystick.tools.api import ValidatorApi
from tallystick.tools.bench.result import BenchFailed

HEADERS = {"Content-Type": COSE, "Content-Encoding": "zstd"}
START_S_MAX = 90.0
LOOK_S = 0.05


def wait(url: str, check: Callable[[], None]) -> None:
    """Until it is ready; `check` raises where it has ended."""
    end = time.monotonic() + START_S_MAX
    with ValidatorApi(url) as api:
        while not api.ready():
            check()
            if time.monotonic() > end:
                raise TransportError("no-answer", f"{url} did not answer in {START_S_MAX:.0f} s")
            time.sleep(LOOK_S)


def send(url: str, lines: Sequence[Sequence[bytes]]) -> tuple[float, list[bytes]]:
    """Seconds until all are answered, each line over a connection of its own; and the answers."""
    answers: list[bytes] = []
    faults: list[Exception] = []
    start_together = threading.Barrier(len(lines) + 1)

    def run(line: Sequence[bytes]) -> None:
        http = Http(url)
        try:
            start_together.wait()
            # One is sent when the one before it was answered.
            answers.extend(http.post("/v1/batches", body, HEADERS) for body in line)
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            faults.append(error)
        finally:
            http.close()

    threads = [threading.Thread(target=run, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    start_together.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - start
    if faults:
        raise faults[0]
    return taken, answers


def check(
    answers: Sequence[bytes], statements: dict[bytes, bytes], name: str, key: PublicKey
) -> None:
    """That every segment's last checkpoint got a receipt that verifies, and nothing was refused."""
    receipts = Receipts(name, key)
    missing = dict(statements)
    for data in answers:
        answer = batchanswer.parse(data)
        if answer.refused:
            raise BenchFailed("bench-failed", f"segments were refused: {answer.refused[:3]}")
        for digest, receipt in answer.receipts:
            statement = missing.pop(digest, None)
            if statement is not None:
                receipts.check(receipt, statement)
    if missing:
        raise BenchFailed("bench-failed", f"{len(missing)} checkpoints got no receipt")
