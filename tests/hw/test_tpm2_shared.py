"""A TPM 2.0 that others use too, or that goes away, on a real software TPM."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support import swtpm
from support.swtpm import (
    AK,
    KEY,
    PIN_KEY,
    counter_of,
    refused,
    secrets,
    transient,
    uri,
)
from tallystick.hw.signer import Signer
from tallystick.tools.swtpm import Swtpm

MESSAGE = b"a checkpoint"


SIGN_MANY = """
import sys
from tallystick.hw.signer import Signer
key = Signer.from_uri(sys.argv[1])
for number in range(int(sys.argv[2])):
    message = b"%d" % number
    key.public_key().verify(key.sign(message), message)
    key.counter().increment()
print("done")
"""


def test_two_programs_at_once(tpm: Swtpm) -> None:
    swtpm.fresh(tpm)
    swtpm.fresh(tpm, AK)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SIGN_MANY, uri(tpm, handle), "50"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for handle in (KEY, AK)
    ]
    for process in running:
        out, error = process.communicate(timeout=100)
        assert out == b"done\n" and error == b""
    assert transient(tpm) == []
    swtpm.evict(tpm, AK)


FORKED = """
import os, sys
from tallystick.hw.signer import Signer
key = Signer.from_uri(sys.argv[1])
key.sign(b"before")
child = os.fork()
key.public_key().verify(key.sign(b"%d" % child), b"%d" % child)
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os._exit(0)
"""


def test_a_forked_child_has_a_connection_of_its_own(tpm: Swtpm) -> None:
    swtpm.fresh(tpm)
    done = subprocess.run(
        [sys.executable, "-c", FORKED, uri(tpm)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        timeout=90,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_program_that_keeps_the_only_connection_is_named(
    own_tpm: Swtpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.hw import tpm2_context

    key = swtpm.fresh(own_tpm)
    monkeypatch.setattr(tpm2_context, "ANSWER_S_MAX", 0.3)
    other = socket.create_connection(("127.0.0.1", own_tpm.port))
    assert "another program" in str(refused("busy", key.sign, MESSAGE))
    other.close()
    monkeypatch.setattr(tpm2_context, "ANSWER_S_MAX", 30)
    key.public_key().verify(key.sign(MESSAGE), MESSAGE)


def test_a_tpm_that_is_pulled_out_and_comes_back(own_tpm: Swtpm) -> None:
    key = swtpm.fresh(own_tpm)
    counter = counter_of(key)
    before = counter.increment()
    own_tpm.pause()
    key.begin(MESSAGE)
    time.sleep(0.1)
    own_tpm.kill()

    def wait() -> None:
        while not key.poll():
            time.sleep(0.001)

    assert own_tpm.tcti in str(refused("no-chip", wait))
    refused("no-chip", key.sign, MESSAGE)
    refused("no-chip", counter.increment)
    refused("no-chip", key.self_test)
    refused("no-chip", Signer.from_uri, uri(own_tpm))
    own_tpm.start()
    key.public_key().verify(key.sign(MESSAGE), MESSAGE)
    assert counter.increment() == before + 1
    assert transient(own_tpm) == []


@contextmanager
def device(tpm: Swtpm, folder: Path) -> Iterator[str]:
    """A TCTI that keeps its connection: the TPM as a device file."""
    with swtpm.Device(tpm, folder / "tpmrm0", folder / "counted"):
        yield f"device:{folder}/tpmrm0"


@contextmanager
def program(tpm: Swtpm, folder: Path) -> Iterator[str]:
    """The same: the TPM behind a program, which ends when the block does."""
    relay = Path(swtpm.__file__).with_name("tpm_relay.py")
    gone = folder / "gone"
    gone.unlink(missing_ok=True)
    yield f"cmd:test ! -e {gone} && exec {sys.executable} {relay} {tpm.port} {folder}/counted"
    gone.touch()


# A machine without /dev/pts, such as a bare chroot, has nothing to make a device of.
KEPT = (program, device) if Path("/dev/pts/ptmx").exists() else (program,)


@pytest.mark.parametrize("reach", KEPT, ids=lambda one: one.__name__)
def test_a_kept_connection(
    own_tpm: Swtpm, tmp_path: Path, reach: Callable[[Swtpm, Path], AbstractContextManager[str]]
) -> None:
    made = swtpm.fresh(own_tpm)
    pinned = swtpm.fresh(own_tpm, PIN_KEY, ";pin=yes")
    counted = tmp_path / "counted"
    with reach(own_tpm, tmp_path) as tcti:
        key = Signer.from_uri(f"tpm2:handle=0x{KEY:08x};tcti={tcti}")
        assert key.public_key() == made.public_key()
        key.sign(MESSAGE)
        before = counted.stat().st_size
        for _ in range(10):
            key.public_key().verify(key.sign(MESSAGE), MESSAGE)
        assert counted.stat().st_size == before + 10  # one command a signature
        counter = counter_of(key)
        assert counter.increment() == counter.read()
        where = f"tpm2:handle=0x{PIN_KEY:08x};pin=yes;tcti={tcti}"
        with_pin = Signer.from_uri(where, secrets=secrets())
        pinned.public_key().verify(with_pin.sign(MESSAGE), MESSAGE)
        assert transient(own_tpm) == []
        # The handle gets another key while ours is open.
        swtpm.evict(own_tpm, KEY)
        refused("no-key", key.sign, MESSAGE)
        Signer.create(uri(own_tpm))
        refused("wrong-key", key.sign, MESSAGE)
        own_tpm.kill()
        for _ in range(3):
            refused("no-chip", with_pin.sign, MESSAGE)
        own_tpm.start()
        pinned.public_key().verify(with_pin.sign(MESSAGE), MESSAGE)
        own_tpm.kill()
        refused("no-chip", with_pin.sign, MESSAGE)
    # The device itself goes away and comes back, and what was open is none of the new one's.
    own_tpm.start()
    for _ in range(3):
        refused("no-chip", with_pin.sign, MESSAGE)
    with reach(own_tpm, tmp_path):
        pinned.public_key().verify(with_pin.sign(MESSAGE), MESSAGE)
        key.close()
        with_pin.close()


def test_a_key_that_was_replaced_behind_our_back_signs_nothing(own_tpm: Swtpm) -> None:
    key = swtpm.fresh(own_tpm)
    swtpm.evict(own_tpm, KEY)
    refused("no-key", key.sign, MESSAGE)
    Signer.create(uri(own_tpm))
    refused("wrong-key", key.sign, MESSAGE)
