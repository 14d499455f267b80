"""What every driver does alike: one suite, on a real place for keys of each kind."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.keystations import (
    FLEET,
    NOW_S,
    ROOT,
    STATIONS,
    WAIT_S,
    InChip,
    KeyStation,
)
from support.tokens import PIN
from tallystick.evidence import keycustody
from tallystick.evidence.enrolment import CUSTODIES, CUSTODY_SOFTWARE, custody_context
from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.evidence.keys import ALIASES, EDDSA, PublicKey
from tallystick.hw.counter import Counter
from tallystick.hw.signer import DRIVERS, Signer

BEGIN_AND_POLL_S_MAX = 0.05
UNPLUGGED_S_MAX = 60.0
TRIES_MAX = 50


@pytest.fixture(params=STATIONS, ids=lambda kind: kind.__name__)
def station(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KeyStation]:
    for name in ("TALLY_PIN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    made = request.param(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def key(station: KeyStation) -> Iterator[Signer]:
    made = station.create()
    yield made
    made.close()


def refused(call: Callable[..., Any], *arguments: Any) -> KeyDriverError:
    """The KeyDriverError that a call ends with; no other error, and no PIN in it."""
    with pytest.raises(KeyDriverError) as raised:
        call(*arguments)
    error: BaseException | None = raised.value
    while error is not None:
        assert PIN not in str(error) and PIN not in repr(error)
        error = error.__cause__ or error.__context__
    assert raised.value.reason and raised.value.message
    return raised.value


def to_the_end(work: Signer | Counter) -> None:
    end_s = time.monotonic() + UNPLUGGED_S_MAX
    while not work.poll():
        assert time.monotonic() < end_s, "poll() never ends"
        time.sleep(0.001)


def test_every_driver_is_in_the_suite() -> None:
    assert {kind.scheme for kind in STATIONS} == set(DRIVERS)


# --- create, find, sign ------------------------------------------------------------------------


def test_a_key_is_made_found_again_and_never_made_over(station: KeyStation) -> None:
    assert refused(station.open).reason == "no-key"
    made = station.create()
    public = made.public_key()
    assert made.alg == station.alg == public.alg and made.alg in ALIASES.values()
    assert CUSTODIES.index(made.custody) == station.level
    if station.shared:
        assert refused(station.create).reason == "key-exists"
    made.close()
    assert refused(station.create).reason == "key-exists"
    opened = station.open()
    assert opened.public_key() == public
    opened.public_key().verify(opened.sign(b"x"), b"x")
    opened.close()
    other = station.create(1)
    assert other.public_key() != public
    other.close()


def test_an_algorithm_that_it_has_not_is_not_made(station: KeyStation) -> None:
    wrong = [-35, 0] if station.level in {0, 1} else [-35, 0, EDDSA]
    for alg in wrong:
        assert refused(Signer.create, station.uri(), alg, station.secrets).reason == "no-such-key"
    assert refused(station.open).reason == "no-key"


def test_signatures_verify_and_s_is_low(station: KeyStation, key: Signer) -> None:
    public = key.public_key()
    for number in range(station.signatures):
        message = b"decision %d" % number
        # verify() refuses a high s, another form than 64 bytes, and another key's.
        signature = key.sign(message)
        public.verify(signature, message)
        with pytest.raises(Unverified):
            public.verify(signature, message + b".")


def test_messages_of_any_size_are_signed(key: Signer) -> None:
    for size in (0, 1, 32, 64, 65_536):
        message = bytes(size)
        key.public_key().verify(key.sign(message), message)


def test_the_self_test_says_what_works(key: Signer) -> None:
    said = key.self_test()
    assert said and PIN not in " ".join(said)
    key.public_key().verify(key.sign(b"afterwards"), b"afterwards")


# --- in phases ---------------------------------------------------------------------------------


def test_phases_are_kept_apart(key: Signer) -> None:
    assert refused(key.poll).reason == "not-signing"
    assert refused(key.signature).reason == "not-ready"
    key.begin(b"first")
    assert refused(key.begin, b"second").reason == "busy"
    assert refused(key.sign, b"second").reason == "busy"
    to_the_end(key)
    assert key.poll() is True  # asked again, it says the same
    key.public_key().verify(key.signature(), b"first")
    assert refused(key.signature).reason == "not-ready"
    key.begin(b"third")
    to_the_end(key)
    key.public_key().verify(key.signature(), b"third")


def test_nothing_waits_for_a_slow_signature(station: KeyStation, key: Signer) -> None:
    # The best of them: a busy machine takes its time between the two.
    for _ in range(TRIES_MAX):
        began_s = time.perf_counter()
        key.begin(b"decision")
        done = key.poll()
        took_s = time.perf_counter() - began_s
        if not done:
            to_the_end(key)
        key.signature()
        if took_s < BEGIN_AND_POLL_S_MAX and not (station.slow and done):
            return
    pytest.fail(f"{took_s} s, done: {done}")


# --- verify, count, show -----------------------------------------------------------------------


def test_the_hardware_verifies_or_says_that_it_does_not(station: KeyStation, key: Signer) -> None:
    public = key.public_key()
    signature = key.sign(b"receipt")
    for message, good in ((b"receipt", True), (b"forged!", False)):
        work = key.verifier(public, signature, message) or public.verifier(signature, message)
        if good:
            finish(work)
        else:
            with pytest.raises(Unverified):
                finish(work)
    assert isinstance(station, InChip) == (key.verifier(public, signature, b"receipt") is not None)


def finish(work: Any) -> None:
    end_s = time.monotonic() + WAIT_S
    while not work.step():
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_a_counter_only_rises_and_survives_its_reader(station: KeyStation, key: Signer) -> None:
    counter = key.counter()
    assert (counter is not None) == station.counts
    if counter is None:
        return
    first = counter.read()
    assert counter.increment() == first + 1 == counter.read()
    assert refused(counter.poll).reason == "not-raising"
    assert refused(counter.value).reason == "not-ready"
    counter.begin()
    assert refused(counter.begin).reason == "busy"
    to_the_end(counter)
    assert counter.value() == first + 2
    assert counter.limit is None or counter.limit > counter.read()
    other = key if not station.shared else station.open()
    second = other.counter()
    assert second is not None and second.read() == first + 2
    assert second.increment() == first + 3 == counter.read()
    for signer in {key, other}:
        signer.close()
    again = station.open()
    reopened = again.counter()
    assert reopened is not None and reopened.read() == first + 3
    again.close()


def count(
    station: KeyStation, key: PublicKey, evidence: list[list[Any]], iss: str = FLEET
) -> keycustody.Counted:
    return keycustody.count(
        key, key.thumbprint(), iss, ROOT.public_key(), station.level, evidence, NOW_S
    )


def test_evidence_passes_the_verifiers_check(station: KeyStation, key: Signer) -> None:
    public = key.public_key()
    evidence = key.evidence(custody_context(public, FLEET))
    assert [kind for kind, _ in evidence] == ([station.evidence] if station.evidence else [])
    counted = count(station, public, evidence)
    assert counted.level == station.level and not counted.not_checked
    if station.level == CUSTODY_SOFTWARE:
        return
    assert counted.shown and counted.not_proven  # what it does not prove is said too
    # Without it the same claim counts as software.
    assert count(station, public, []).level == CUSTODY_SOFTWARE
    other = other_key(station)
    for wrong, iss in ((other, FLEET), (public, "borealis")):
        bound = count(station, wrong, evidence, iss).level == CUSTODY_SOFTWARE
        assert bound == station.attested
    stranger = ROOT.public_key() if station.alg == EDDSA else ed25519_key()
    assert count(station, stranger, evidence).level == CUSTODY_SOFTWARE


def other_key(station: KeyStation) -> PublicKey:
    # A virtual chip in this process is open once, so its second key is not asked for.
    if not station.shared:
        return PublicKey(station.alg, bytes(64))
    made = station.create(1)
    made.close()
    return made.public_key()


def ed25519_key() -> PublicKey:
    from support.devices import key

    made: PublicKey = key("a stranger").public_key()
    return made


# --- what goes wrong ---------------------------------------------------------------------------


def test_unplugged_in_the_middle_and_plugged_in_again(station: KeyStation, key: Signer) -> None:
    public = key.public_key()
    key.begin(b"first")
    key.poll()
    station.unplug(key)
    if not station.unpluggable:
        to_the_end(key)
        public.verify(key.signature(), b"first")
        return
    began_s = time.monotonic()
    with contextlib.suppress(KeyDriverError):
        to_the_end(key)
        public.verify(key.signature(), b"first")  # it was faster
    refused(key.sign, b"second")
    assert time.monotonic() - began_s < UNPLUGGED_S_MAX
    if station.shared:
        assert refused(station.open).reason != "no-key"  # a key that is away is not one that is not
    refused(key.self_test)
    station.plug_in(key)
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            public.verify(key.sign(b"third"), b"third")
            break
        except KeyDriverError:
            assert time.monotonic() < end_s, "the key did not come back"
            time.sleep(0.1)
    key.begin(b"fourth")
    to_the_end(key)
    public.verify(key.signature(), b"fourth")


def test_a_wrong_pin_and_none_are_said(station: KeyStation, key: Signer) -> None:
    key.close()
    if not station.pin:
        return

    def use(secrets: Any) -> None:
        opened = Signer.from_uri(station.uri(), secrets)
        try:
            opened.sign(b"x")  # a TPM looks at the PIN only now
        finally:
            opened.close()

    wrong = refused(use, lambda _: "wrong-one")
    assert wrong.reason in {"wrong-pin", "wrong-passphrase"}
    for nothing in (None, lambda _: None, lambda _: ""):
        error = refused(Signer.from_uri, station.uri(), nothing)
        assert error.reason in {"no-pin", "no-passphrase"}
    use(station.secrets)  # and the right one still does it


def test_a_robot_that_starts_alone_has_the_pin_in_its_environment(
    station: KeyStation, key: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    key.close()
    monkeypatch.setenv("TALLY_PIN", PIN)
    # As Recorder.open() does, which has nobody to ask.
    opened = Signer.from_uri(station.uri())
    opened.public_key().verify(opened.sign(b"x"), b"x")
    opened.close()
    if station.pin:
        monkeypatch.setenv("TALLY_PIN", "wrong-one")
        assert refused(lambda: Signer.from_uri(station.uri()).sign(b"x")).reason in {
            "wrong-pin",
            "wrong-passphrase",
        }


def test_two_keys_are_open_at_once(station: KeyStation, key: Signer) -> None:
    if not station.shared:
        assert refused(station.open).reason == "chip-in-use"
        return
    other, same = station.create(1), station.open()
    for signer in (key, other, same):
        signer.begin(b"x")
    for signer in (key, other, same):
        to_the_end(signer)
        signer.public_key().verify(signer.signature(), b"x")
    assert same.public_key() == key.public_key() != other.public_key()
    same.close()
    other.close()
    key.public_key().verify(key.sign(b"y"), b"y")


SIGN_MANY = """
import sys, time
from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.signer import Signer
time.sleep(max(0, float(sys.argv[2]) - time.time()))
try:
    key = Signer.from_uri(sys.argv[1], lambda _: sys.argv[4])
except KeyDriverError as error:
    print(error.reason)
    sys.exit()
for number in range(int(sys.argv[3])):
    message = b"%d" % number
    key.public_key().verify(key.sign(message), message)
key.close()
print("signed")
"""


def test_two_programs_sign_at_once(station: KeyStation, key: Signer) -> None:
    count = str(min(station.signatures, 24))
    start = str(time.time() + 1)
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", SIGN_MANY, station.uri(), start, count, PIN],
            env=station.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for number in range(8):
        key.public_key().verify(key.sign(b"%d" % number), b"%d" % number)
    said = [program.communicate(timeout=60)[0].strip() for program in programs]
    # A chip's file is one process's; whoever comes second is told.
    expected = {"signed"} if station.shared else {"chip-in-use"}
    assert set(said) <= expected and all(program.returncode == 0 for program in programs), said


def test_closing_twice_is_nothing_and_what_comes_after_is_said(
    station: KeyStation, key: Signer
) -> None:
    key.begin(b"x")
    key.close()
    key.close()
    for call in (lambda: key.sign(b"x"), lambda: key.evidence(bytes(32)), key.self_test):
        # Some drivers still can, the others say so in their own error.
        with contextlib.suppress(KeyDriverError):
            call()
    key.close()
    opened = station.open()
    opened.public_key().verify(opened.sign(b"x"), b"x")
    opened.close()


def test_uris_that_are_wrong_are_refused_alike(
    station: KeyStation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = station.uri()
    scheme, _, rest = uri.partition(":")
    wrong = [
        f"{scheme}:",
        f"{scheme}:\0",
        f"{scheme}:\ud800",
        f"{scheme}:{'a' * 5000}",
        f"{scheme}:;;;",
        f"{scheme}:?",
        f"{scheme}:{rest};{rest}",
        f"{scheme}:;{rest}",
        scheme,
        f":{rest}",
        f"x{uri}",
        "",
    ]
    for given in wrong:
        for call in (Signer.from_uri, lambda bad, ask: Signer.create(bad, None, ask)):
            if scheme == "file" and call is not Signer.from_uri and given[5:6] in {";", "?"}:
                continue  # a file may be called so
            refused(call, given, station.secrets)


def test_nothing_shows_the_pin(station: KeyStation, key: Signer) -> None:
    assert PIN not in repr(key) and PIN not in str(key)
    assert PIN not in repr(key.public_key())
