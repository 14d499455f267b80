"""A gateway that tells what its time goes to: ours, or a peer's, in a process of its own.

    python -m tallystick.tools.bench.timed_gateway OUT gateway CONFIG
    python -m tallystick.tools.bench.timed_gateway OUT peer NAME PORT STORE

The same parts as otherwise, but the ingest worker runs in the main thread (gateway_time.py says
why). SIGUSR1 begins the count anew; after SIGTERM the seconds by kind are in OUT, as JSON.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tallystick.gateway import config as configs
from tallystick.gateway import logs, service
from tallystick.tools._interrupt import set_soon
from tallystick.tools.bench import peer_gateway
from tallystick.tools.bench.gateway_time import Clock
from tallystick.tools.bench.peers import checked


def main(out: str, what: str, *arguments: str) -> None:
    """Serve until SIGTERM, then say what the time went to."""
    clock = Clock()
    stop = threading.Event()

    def end(*_: object) -> None:
        # Now: when the worker has ended, so have the threads whose clocks are read.
        clock.end()
        set_soon(stop)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, lambda *_: clock.begin())
    if what == "gateway":
        _gateway(Path(arguments[0]), stop)
    else:
        name, port, store = arguments
        _peer(name, int(port), Path(store), stop)
    Path(out).write_text(json.dumps(clock.told()))


def _gateway(config: Path, stop: threading.Event) -> None:
    logs.configure()
    made = service.Gateway(configs.load(config))
    work, over = made.worker.run, threading.Event()
    # Its own thread only waits for the main one, so that everything ends in the usual order.
    _replace(made.worker, over.wait)
    faults: list[BaseException] = []

    def watch() -> None:
        try:
            made.start()
            made.watch(stop)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            faults.append(error)
        finally:
            made.stop()

    watcher = threading.Thread(target=watch, name="watch")
    watcher.start()
    try:
        work()
    finally:
        over.set()
        watcher.join()
    if faults:
        raise faults[0]


def _replace(worker: object, run: Callable[[], object]) -> None:
    vars(worker)["run"] = run


def _peer(name: str, port: int, store: Path, stop: threading.Event) -> None:
    gateway = peer_gateway.PeerGateway(checked(name, peer_gateway.SEED), port, store)
    while not stop.is_set():
        gateway.turn()
    gateway.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
