"""What a gateway's processor time goes to while it sends its backlog on: ours, and a peer's.

    python -m tallystick.tools.bench.forward_time OUT gateway CONFIG
    python -m tallystick.tools.bench.forward_time OUT peer STORE URL

Everything is sent by the real forwarder, in the main thread, where a signal finds out what it does
(gateway_time.py); so the next batch is built in its turn here, not in a thread beside. Waiting for
a validator is no work, and counts as nothing. The seconds by kind are in OUT then, as JSON.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tallystick.gateway import config as configs
from tallystick.gateway import logs
from tallystick.gateway.batching import log_size
from tallystick.gateway.built import Built
from tallystick.gateway.down import Down
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.identity import open_signing, peer_of
from tallystick.gateway.inbox import Inbox
from tallystick.gateway.store import Store
from tallystick.tools.bench import peer_forwarder
from tallystick.tools.bench.gateway_time import FILES as INGEST
from tallystick.tools.bench.gateway_time import HASHING, PYTHON, SIGNATURE, SQLITE, Clock

HTTP, COMPRESSION = "HTTP", "compression"
NAMES = (HTTP, COMPRESSION, HASHING, SIGNATURE, SQLITE, PYTHON)
FILES = {
    HTTP: (
        "/httpx2/", "/httpcore", "/h11/", "/ssl.py", "/socket.py", "gateway/http.py",
        "hw/answertime.py",
    ),
    COMPRESSION: ("/zstandard/", "gateway/packing.py"),
    HASHING: (*INGEST[HASHING], "gateway/storedsegment.py"),
    SIGNATURE: INGEST[SIGNATURE],
}  # fmt: skip
MISSES_MAX = 100


def main(out: str, what: str, *arguments: str) -> None:
    """Send everything, then say what the time went to."""
    logs.configure()
    clock = Clock(NAMES, FILES)
    if what == "gateway":
        _gateway(Path(arguments[0]), clock.begin)
    else:
        clock.begin()
        peer_forwarder.main(*arguments)
    clock.end()
    Path(out).write_text(json.dumps(clock.told()))


class _Alone(Forwarder):
    # Builds nothing while an answer is awaited: all of its time is this thread's, which is sampled.

    def _under_way(self, _built: Built) -> AbstractContextManager[None]:
        return nullcontext()


def _gateway(path: Path, begin: Callable[[], None]) -> None:
    config = configs.load(path)
    now_s = int(time.time())
    signing = open_signing(config, now_s)
    store = Store(config.store)
    (peer,) = (peer_of(one, config.roots, now_s) for one in config.validators)
    down = Down(Inbox())
    made = _Alone(peer, store, signing, config.credential, down, threading.Event())
    reader = store.reader()
    size = log_size(reader)
    reader.close()
    # The first batch introduces everybody, and opens what stays open.
    made.turn()
    begin()
    misses = 0
    while made.cursor < size:
        before = made.cursor
        made.turn()
        misses = misses + 1 if made.cursor == before else 0
        if misses == MISSES_MAX:
            message = f"the validator takes nothing beyond {before} of {size} segments"
            raise RuntimeError(message)
    made.close()
    store.close()
    signing.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
