"""Keys in a TPM 2.0, on a real software TPM."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import swtpm
from support.swtpm import AK, KEY, PIN, PIN_KEY, secrets, transient, uri
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw.counter import Counter
from tallystick.hw.signer import Signer
from tallystick.tools.swtpm import Swtpm

MESSAGE = b"a checkpoint"
HALF_THE_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 >> 1


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    yield from swtpm.running(tmp_path_factory.mktemp("tpm"))


@pytest.fixture
def own_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    """A TPM that the test may kill, pause, or lock."""
    yield from swtpm.running(tmp_path_factory.mktemp("own"), certified=False)


@pytest.fixture
def key(tpm: Swtpm) -> Iterator[Signer]:
    signer = swtpm.fresh(tpm)
    yield signer
    signer.close()


def refused(reason: str, action: object, *arguments: object, **named: object) -> KeyDriverError:
    with pytest.raises(KeyDriverError) as caught:
        action(*arguments, **named)  # type: ignore[operator]  # a method under test
    assert caught.value.reason == reason, caught.value
    assert PIN not in str(caught.value) and PIN not in repr(caught.value)
    return caught.value


def counter_of(key: Signer) -> Counter:
    counter = key.counter()
    assert counter is not None
    return counter


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
        assert time.perf_counter() - before < 1
        refused("busy", key.begin, b"another")
        refused("not-ready", key.signature)
    finally:
        own_tpm.resume()
    deadline = time.monotonic() + 30
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
        at_once = time.monotonic() + 1
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
    deadline = time.monotonic() + 10
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


# --- PIN


def test_a_key_with_a_pin_asks_for_it(tpm: Swtpm) -> None:
    asked = []

    def answer(what: str) -> str:
        asked.append(what)
        return PIN

    swtpm.fresh(tpm, PIN_KEY, ";pin=yes")
    key = Signer.from_uri(uri(tpm, PIN_KEY, ";pin=yes"), secrets=answer)
    assert asked == ["TPM key 0x81020003"]
    key.public_key().verify(key.sign(MESSAGE), MESSAGE)
    assert counter_of(key).increment() > 0
    assert PIN not in repr(key)


def test_a_pin_that_is_missing_or_too_long(tpm: Swtpm) -> None:
    pinned = uri(tpm, PIN_KEY, ";pin=yes")
    swtpm.fresh(tpm, PIN_KEY, ";pin=yes")
    refused("no-pin", Signer.from_uri, pinned)
    refused("no-pin", Signer.from_uri, pinned, secrets=secrets(None))
    # Signing with an empty PIN would be a wrong try at each start.
    refused("no-pin", Signer.from_uri, uri(tpm, PIN_KEY))
    refused("bad-pin", Signer.from_uri, pinned, secrets=secrets(PIN * 3))
    swtpm.evict(tpm, PIN_KEY)
    refused("no-pin", Signer.create, pinned)
    refused("bad-pin", Signer.create, pinned, secrets=secrets(PIN * 3))
    refused("no-key", Signer.from_uri, pinned, secrets=secrets())


def test_wrong_pins_are_counted_and_never_repeated(own_tpm: Swtpm) -> None:
    pinned = uri(own_tpm, PIN_KEY, ";pin=yes")
    good = swtpm.fresh(own_tpm, PIN_KEY, ";pin=yes")
    free = swtpm.fresh(own_tpm)
    wrong = Signer.from_uri(pinned, secrets=secrets("wrong"))
    error = refused("wrong-pin", wrong.sign, MESSAGE)
    assert "2 of 3 tries left" in str(error)
    # A recorder that tries again each second must not lock the TPM with one wrong PIN.
    for _ in range(5):
        refused("wrong-pin", wrong.sign, MESSAGE)
        refused("wrong-pin", wrong.counter)
    good.sign(MESSAGE)
    wrong = Signer.from_uri(pinned, secrets=secrets("wrong again"))
    assert "1 of 3 tries left" in str(refused("wrong-pin", wrong.sign, MESSAGE))
    # Nor must a service that is started again and again.
    error = refused("pin-final-try", Signer.from_uri, pinned, secrets=secrets("wrong still"))
    assert "1 of 3" in str(error)
    # What was open goes on, and when all tries are gone the TPM says so.
    good.sign(MESSAGE)
    from tallystick.hw import tpm2_keys
    from tallystick.hw.tpm2_context import Tpm

    last = Tpm(own_tpm.tcti)
    refused("wrong-pin", last.run, "test", lambda c: tpm2_keys.sign(c, PIN_KEY, b"wrong", MESSAGE))
    refused("pin-locked", good.sign, MESSAGE)
    refused("pin-locked", Signer.from_uri, pinned, secrets=secrets())
    # A key without a PIN is not locked by that.
    free.public_key().verify(free.sign(MESSAGE), MESSAGE)
    assert counter_of(free).increment() > 0


def undefine(connection: Any, owner: bytes) -> None:
    from tpm2_pytss import ESYS_TR

    connection.esapi.tr_set_auth(ESYS_TR.OWNER, owner)
    connection.esapi.nv_undefine_space(connection.esapi.tr_from_tpmpublic(0x01820001))


def test_a_tpm_whose_owner_has_a_password(own_tpm: Swtpm) -> None:
    from tpm2_pytss import ESYS_TR

    from tallystick.hw.tpm2_context import Tpm

    Tpm(own_tpm.tcti).run(
        "test", lambda c: c.esapi.hierarchy_change_auth(ESYS_TR.OWNER, b"owner's")
    )
    refused("no-pin", Signer.create, uri(own_tpm))
    refused("wrong-pin", Signer.create, uri(own_tpm), secrets=secrets("no"))
    key = Signer.create(uri(own_tpm), secrets=secrets("owner's"))
    key.sign(MESSAGE)
    without = Signer.from_uri(uri(own_tpm))
    Tpm(own_tpm.tcti).run("test", lambda c: undefine(c, b"owner's"))
    refused("no-pin", without.counter)
    owner = Signer.from_uri(uri(own_tpm), secrets=secrets("owner's"))
    assert counter_of(owner).increment() > 0
    assert counter_of(without).increment() > 1
    assert transient(own_tpm) == []


# --- counter


def test_the_counter_only_goes_up(key: Signer, own_tpm: Swtpm) -> None:
    mine = swtpm.fresh(own_tpm)
    counter = counter_of(mine)
    assert counter.limit is None
    first = counter.read()
    assert first > 0  # made, and counted once, so that it has a value
    counter.begin()
    refused("busy", counter.begin)
    while not counter.poll():
        time.sleep(0.001)
    assert counter.value() == first + 1 == counter.read()
    assert [counter.increment() for _ in range(3)] == [first + 2, first + 3, first + 4]
    own_tpm.kill()
    own_tpm.start()
    assert counter_of(Signer.from_uri(uri(own_tpm))).read() == first + 4


def test_a_tpm_that_asks_to_try_again_counts_once(
    tpm: Swtpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tpm2_pytss import ESAPI, TPM2_RC, TSS2_Exception

    from tallystick.hw import tpm2_context

    counter = counter_of(swtpm.fresh(tpm))
    before = counter.read()
    monkeypatch.setattr(tpm2_context, "RETRY_S", 0.001)
    asked = {"nv_increment": 0, "nv_read": 0}

    def again(name: str, code: TPM2_RC, when: set[int]) -> None:
        real = getattr(ESAPI, name)

        def command(*arguments: Any, **named: Any) -> Any:
            asked[name] += 1
            if asked[name] in when:
                raise TSS2_Exception(code)
            return real(*arguments, **named)

        monkeypatch.setattr(ESAPI, name, command)

    # A TPM that limits how often its NV memory is written.
    again("nv_increment", TPM2_RC.NV_RATE, {1, 2})
    # The value is read before and after; after it was raised the TPM is busy.
    again("nv_read", TPM2_RC.RETRY, {4})
    assert counter.increment() == before + 1
    assert asked["nv_increment"] == 3
    # It does not go on for ever.
    again("nv_increment", TPM2_RC.NV_RATE, set(range(100)))
    refused("busy", counter.increment)
    assert asked["nv_increment"] == 3 + tpm2_context.ATTEMPTS_MAX
    monkeypatch.undo()
    assert counter.read() == before + 1
    assert transient(tpm) == []


def test_a_counter_that_is_deleted_and_made_anew_goes_on_above(own_tpm: Swtpm) -> None:
    from tallystick.hw.tpm2_context import Tpm

    key = swtpm.fresh(own_tpm)
    counter = counter_of(key)
    for _ in range(5):
        highest = counter.increment()
    Tpm(own_tpm.tcti).run("test", lambda c: undefine(c, b""))
    refused("no-counter", counter.read)
    refused("no-counter", counter.increment)
    refused("not-raising", counter.poll)
    anew = key.counter()
    assert anew is not None and anew.read() > highest


def test_a_new_key_at_an_old_handle_has_a_counter_above_the_old_ones(own_tpm: Swtpm) -> None:
    highest = counter_of(swtpm.fresh(own_tpm)).increment()
    # The counter that is left has the PIN of the key that is gone: none.
    for extra in (";pin=yes", ""):
        key = swtpm.fresh(own_tpm, KEY, extra)
        value = counter_of(key).read()
        assert value > highest
        highest = counter_of(key).increment()
        assert highest == value + 1
    # A refused creation leaves the counter of the key that is there as it is.
    refused("key-exists", Signer.create, uri(own_tpm))
    assert counter_of(key).read() == highest


def test_another_programs_nv_index_is_left_alone(own_tpm: Swtpm) -> None:
    from tpm2_pytss import TPM2_ALG, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC

    from tallystick.hw.tpm2_context import Tpm

    key = swtpm.fresh(own_tpm)
    Tpm(own_tpm.tcti).run("test", lambda c: undefine(c, b""))
    public = TPMS_NV_PUBLIC(
        nvIndex=0x01820001,
        nameAlg=TPM2_ALG.SHA256,
        attributes=TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE,
        dataSize=8,
    )
    Tpm(own_tpm.tcti).run(
        "test", lambda c: c.esapi.nv_define_space(b"", TPM2B_NV_PUBLIC(nvPublic=public))
    )
    counter = counter_of(key)
    refused("wrong-counter", counter.read)
    refused("wrong-counter", counter.increment)
    swtpm.evict(own_tpm, KEY)
    refused("wrong-counter", Signer.create, uri(own_tpm))
    refused("no-key", Signer.from_uri, uri(own_tpm))


# --- two programs, and a TPM that goes away


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
        timeout=30,
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


def test_what_the_self_test_says(key: Signer) -> None:
    said = key.self_test()
    assert "self-test passed" in said[1]
    assert any("cannot leave" in line for line in said)
    assert any("verifies" in line for line in said)
    assert any("0x01820001" in line for line in said)
