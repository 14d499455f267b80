"""Parts of a chaos run: its plan, links that are cut and stalled, clocks that are set."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos import relay
from chaos.plan import CLOCK, KINDS, MACHINES, PROCESSES, RESET, SUITE_S, plan
from support.site import until
from support.wallclock import WallClock


def test_a_plan_is_its_seed_s() -> None:
    assert plan(3, 120) == plan(3, 120) != plan(4, 120)
    for seed in range(20):
        faults = plan(seed, SUITE_S)
        assert {fault.kind for fault in faults} == set(KINDS)
        assert {fault.target for fault in faults if fault.kind == "kill"} == set(PROCESSES)
        clocks = {fault.target for fault in faults if fault.kind in {CLOCK, RESET}}
        assert clocks >= set(MACHINES)
        assert faults == sorted(faults, key=lambda fault: fault.at_s)
        assert faults[-1].at_s < SUITE_S


def test_a_wall_clock_is_set_and_no_other(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    program = """
import sys, threading, time
for line in sys.stdin:
    began_s = time.monotonic()
    time.sleep(0.01)
    threading.Event().wait(0.01)
    print(time.time(), time.monotonic(), time.monotonic() - began_s, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | clock.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset_ms in (0, 3 * 3_600_000, -400 * 86_400_000, -1500):
            clock.set(offset_ms)
            before_s = time.time(), time.monotonic()
            process.stdin.write(b"\n")
            process.stdin.flush()
            wall_s, steady_s, waited_s = map(float, process.stdout.readline().split())
            after_s = time.time(), time.monotonic()
            assert before_s[0] <= wall_s - offset_ms / 1000 <= after_s[0]
            assert before_s[1] <= steady_s <= after_s[1]
            assert waited_s >= 0.02
        process.stdin.close()


def test_a_link_is_cut_stalled_and_good() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        links = relay.Relay()
        port = links.add("a>b", server.getsockname()[1])
        links.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                far, _ = server.accept()
                far.settimeout(20)
                near.sendall(b"one")
                assert far.recv(10) == b"one"
                links.set("a>b", relay.STALLED)
                near.sendall(b"two")
                far.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    far.recv(10)
                links.set("a>b", relay.GOOD)
                far.settimeout(20)
                assert far.recv(10) == b"two"
                links.set("a>b", relay.CUT)
                assert gone(far)
                assert gone(near)
                far.close()
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                assert gone(near)
            links.set("a>b", relay.GOOD)
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                far, _ = server.accept()
                far.sendall(b"back" * 100_000)
                far.close()
                size = 0
                while data := near.recv(65_536):
                    size += len(data)
                assert size == 400_000
            until(lambda: not links.links["a>b"].ends, "the end of both")
        finally:
            links.close()


def test_a_link_takes_its_time_and_keeps_the_order() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        links = relay.Relay()
        port = links.add("a>b", server.getsockname()[1], 0.2)
        links.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                far, _ = server.accept()
                far.settimeout(20)
                begun_s = time.monotonic()
                near.sendall(b"one")
                assert far.recv(10) == b"one"
                assert time.monotonic() - begun_s >= 0.2
                near.sendall(b"two")
                near.sendall(b"three")
                near.shutdown(socket.SHUT_WR)
                assert b"".join(iter(lambda: far.recv(10), b"")) == b"twothree"
                far.close()
        finally:
            links.close()


def gone(line: socket.socket) -> bool:
    """Whether the other end is; it waits for that."""
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s:
        try:
            if not line.recv(10):
                return True
        except ConnectionError:
            return True
    return False
