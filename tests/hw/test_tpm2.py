"""Keys in a TPM 2.0, on a real software TPM: made, found, signing, leaving nothing behind."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import swtpm
from support.swtpm import (
    KEY,
    PIN_KEY,
    counter_of,
    refused,
    secrets,
    transient,
    uri,
)
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw.signer import Signer
from tallystick.tools.swtpm import Swtpm

MESSAGE = b"a checkpoint"
HALF_THE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 >> 1


@pytest.fixture
def key(tpm: Swtpm) -> Iterator[Signer]:
    signer = swtpm.fresh(tpm)
    yield signer
    signer.close()


# --- keys


def test_a_key_signs_and_its_public_key_verifies_it(key: Signer, tpm: Swtpm) -> None:
    assert (key.alg, key.custody) == (ES256, "tpm")
    for number in range(20):
        message = b"%d" % number
        signature = key.sign(message)
        key.public_key().verify(signature, message)
        assert int.from_bytes(signature[32:], "big") <= HALF_THE_ORDER
    again = Signer.from_uri(uri(tpm))
    assert again.public_key() == key.public_key()
    again.public_key().verify(again.sign(MESSAGE), MESSAGE)
    assert again.verifier(key.public_key(), signature, message) is None


def test_the_key_was_made_inside_and_cannot_leave(key: Signer, tpm: Swtpm) -> None:
    from tpm2_pytss import TPMA_OBJECT

    from tallystick.hw.tpm2_context import Tpm

    public = Tpm(tpm.tcti).run("test", lambda c: c.public(KEY))
    wanted = (
        TPMA_OBJECT.FIXEDTPM
        | TPMA_OBJECT.FIXEDPARENT
        | TPMA_OBJECT.SENSITIVEDATAORIGIN
        | TPMA_OBJECT.USERWITHAUTH
        | TPMA_OBJECT.NODA
        | TPMA_OBJECT.SIGN_ENCRYPT
    )
    assert int(public.objectAttributes) == int(wanted)


def test_a_key_is_never_overwritten(key: Signer, tpm: Swtpm) -> None:
    refused("key-exists", Signer.create, uri(tpm))
    # Not even an endorsement key that the TPM's maker left where some put theirs.
    refused("key-exists", Signer.create, uri(tpm, 0x81010001))
    key.public_key().verify(key.sign(MESSAGE), MESSAGE)


def test_a_foreign_key_is_not_used(tpm: Swtpm) -> None:
    # The maker's RSA endorsement key.
    refused("wrong-key", Signer.from_uri, uri(tpm, 0x81010001))
    # A key that could leave: not fixed to TPM and parent.
    from tpm2_pytss import TPMA_OBJECT

    from tallystick.hw import tpm2_keys
    from tallystick.hw.tpm2_context import Tpm

    template = tpm2_keys.signing_template(restricted=False, pin=False)
    template.publicArea.objectAttributes &= ~(TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT)
    Tpm(tpm.tcti).run("test", lambda c: tpm2_keys.create(c, 0x81020010, template, None, None))
    refused("wrong-key", Signer.from_uri, uri(tpm, 0x81020010))


def test_what_is_not_there(tpm: Swtpm) -> None:
    refused("no-key", Signer.from_uri, uri(tpm, 0x810200FF))
    error = refused("no-chip", Signer.from_uri, "tpm2:handle=0x81020001;tcti=device:/dev/no-tpm")
    assert "/dev/no-tpm" in str(error)
    refused("no-such-key", Signer.create, uri(tpm, 0x810200FE), alg=EDDSA)


@pytest.mark.parametrize(
    "rest",
    [
        "handle=",
        "handle=0x8102",
        "handle=0x80000001",
        "handle=0x81400000",
        "handle=0x81800000",
        "ak=0x81020002",
        "handle=0x81020001;handle=0x81020003",
        "handle=0x81020001;ak=0x81020001",
        "handle=0x81020001;color=red",
        "handle=0x81020001;pin=maybe",
        "handle=0x81020001;",
        "handle=2164391937",
    ],
)
def test_a_uri_is_strict(rest: str) -> None:
    refused("bad-key-uri", Signer.from_uri, "tpm2:" + rest)


def test_the_tcti_comes_from_the_environment_too(
    key: Signer, tpm: Swtpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPM2TOOLS_TCTI", tpm.tcti)
    assert Signer.from_uri("tpm2:handle=0x81020001").public_key() == key.public_key()
    from tallystick.hw import tpm2_uri

    monkeypatch.delenv("TPM2TOOLS_TCTI")
    assert tpm2_uri.parse("handle=0x81020001").tcti == "device:/dev/tpmrm0"
    # The library's own default would be the device without a resource manager.
    assert tpm2_uri.parse("handle=0x81020001;tcti=device").tcti == "device:/dev/tpmrm0"


NOT_IN_GROUP_TSS = """
import os, sys
from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.signer import Signer
import tallystick.hw.tpm2, tpm2_pytss
import tallystick.hw.tpm2_key
if os.getuid() == 0:
    os.setgroups([]); os.setegid(65534); os.seteuid(65534)
try:
    Signer.from_uri("tpm2:handle=0x81020001;tcti=device:" + sys.argv[1])
except KeyDriverError as error:
    print(error.reason, error)
"""


def test_a_user_outside_group_tss_is_told_so(tpm: Swtpm, tmp_path: Path) -> None:
    device = tmp_path / "tpmrm0"
    device.touch(0o000)
    # Others may pass to the file, and not open it.
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", NOT_IN_GROUP_TSS, str(device)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert done.stdout.startswith("no-access "), done.stdout + done.stderr
    assert "group tss" in done.stdout and str(device) in done.stdout


# --- split-phase


def test_signing_waits_for_nobody(own_tpm: Swtpm) -> None:
    key = swtpm.fresh(own_tpm)
    own_tpm.pause()
    try:
        before = time.perf_counter()
        key.begin(MESSAGE)
        assert not any(key.poll() for _ in range(1000))
        # Less than it would wait for one answer.
        assert time.perf_counter() - before < 15
        refused("busy", key.begin, b"another")
        refused("not-ready", key.signature)
    finally:
        own_tpm.resume()
    deadline = time.monotonic() + 60
    while not key.poll():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    key.public_key().verify(key.signature(), MESSAGE)
    refused("not-ready", key.signature)
    refused("not-signing", key.poll)


def test_a_tpm_that_never_answers_ends_in_an_error(
    own_tpm: Swtpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tallystick.hw import tpm2_context

    key = swtpm.fresh(own_tpm)
    counter = counter_of(key)
    before = counter.read()
    monkeypatch.setattr(tpm2_context, "ANSWER_S_MAX", 0.2)
    own_tpm.pause()
    try:
        refused("busy", key.sign, MESSAGE)
        key.begin(MESSAGE)
        time.sleep(0.3)
        refused("busy", key.poll)
        for _ in range(3):
            refused("busy", counter.increment)
        # What waits behind it is bounded.
        for _ in range(tpm2_context.JOBS_MAX):
            refused("busy", key.self_test)
        monkeypatch.setattr(tpm2_context, "ANSWER_S_MAX", 30)
        at_once = time.monotonic() + 15
        refused("busy", key.sign, MESSAGE)
        assert time.monotonic() < at_once
    finally:
        own_tpm.resume()
    # What nobody waited for did not happen.
    time.sleep(0.5)
    key.public_key().verify(key.sign(MESSAGE), MESSAGE)
    assert counter.read() == before


def test_a_closed_key_says_so(tpm: Swtpm) -> None:
    key = swtpm.fresh(tpm)
    key.close()
    refused("closed", key.sign, MESSAGE)


def test_a_forgotten_key_leaves_no_thread(tpm: Swtpm) -> None:
    import gc

    key = swtpm.fresh(tpm)
    key.sign(MESSAGE)
    del key
    gc.collect()
    deadline = time.monotonic() + 60
    while [t for t in threading.enumerate() if t.name == "tpm2 " + tpm.tcti]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- slots


def test_nothing_stays_in_the_tpm(tpm: Swtpm) -> None:
    key = swtpm.fresh(tpm)
    pinned = swtpm.fresh(tpm, PIN_KEY, ";pin=yes")
    for number in range(100):
        (pinned if number % 10 == 0 else key).sign(b"%d" % number)
    counter_of(pinned).increment()
    for _ in range(5):
        refused("key-exists", Signer.create, uri(tpm))
        refused("no-key", Signer.from_uri, uri(tpm, 0x810200FF))
    assert transient(tpm) == []


def test_failures_in_the_middle_leave_nothing(tpm: Swtpm) -> None:
    from tpm2_pytss import TPM2_ECC

    from tallystick.hw import tpm2_keys
    from tallystick.hw.tpm2_context import Tpm

    connection = Tpm(tpm.tcti)
    swtpm.fresh(tpm, PIN_KEY, ";pin=yes")
    # The storage primary and a session are in their slots when this template is refused ...
    bad = tpm2_keys.signing_template(restricted=False, pin=False)
    bad.publicArea.parameters.eccDetail.curveID = TPM2_ECC.NONE
    for _ in range(4):
        refused(
            "chip-error",
            connection.run,
            "test",
            lambda c: tpm2_keys.create(c, 0x81020011, bad, None, None),
        )
    # ... a loaded key, too, when the handle is none that may be kept ...
    good = tpm2_keys.signing_template(restricted=False, pin=False)
    for _ in range(4):
        refused(
            "chip-error",
            connection.run,
            "test",
            lambda c: tpm2_keys.create(c, 0x81800001, good, None, None),
        )
    # ... and a session when the PIN is wrong.
    wrong = Signer.from_uri(uri(tpm, PIN_KEY, ";pin=yes"), secrets=secrets("wrong"))
    refused("wrong-pin", wrong.sign, MESSAGE)
    assert transient(tpm) == []
    connection.close()


def test_what_the_self_test_says(key: Signer) -> None:
    said = key.self_test()
    assert "self-test passed" in said[1]
    assert any("cannot leave" in line for line in said)
    assert any("verifies" in line for line in said)
    assert any("0x01820001" in line for line in said)
