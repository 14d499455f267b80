"""SoftHSM tokens that are pulled, swapped and put back; processes and threads that share one."""

import hashlib
import os
import subprocess
import sys
import threading
import time

import pytest

from support.tokens import MAKE, PIN, WAIT_S, pin, refusal
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw import _pkcs11_login as logins
from tallystick.hw import _pkcs11_module as modules
from tallystick.hw.signer import Signer
from tallystick.tools.softhsm import SoftHsm

BOTH = pytest.mark.parametrize("alg", [ES256, EDDSA])


@BOTH
def test_a_token_that_was_pulled_and_put_back_is_logged_in_to_again(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch, alg: int
) -> None:
    monkeypatch.setattr(logins, "RECONNECT_S_MIN", 0.2)
    key = Signer.create(token.uri("robot", "k"), alg, pin)
    other = Signer.create(token.uri("robot", "other"), alg, pin)
    token.pull()
    assert refusal(key.sign, b"x").reason == "no-token"
    assert "once a second" in refusal(key.sign, b"x").message
    key_error = refusal_of_begun(key)
    assert key_error.reason == "no-token"
    token.put_back()
    time.sleep(0.25)
    for signer in (key, other):
        signer.public_key().verify(signer.sign(b"y"), b"y")
        signer.begin(b"z")
        while not signer.poll():
            pass
        signer.public_key().verify(signer.signature(), b"z")
        assert signer.evidence(bytes(32))
        signer.close()


def refusal_of_begun(key: Signer) -> KeyDriverError:
    key.begin(b"x")

    def poll() -> None:
        while not key.poll():
            pass

    return refusal(poll)


def test_a_token_that_is_away_is_looked_for_at_a_limited_pace(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Signer.create(token.uri("robot", "k"), None, pin)
    token.pull()
    refusal(key.sign, b"x")
    starts: list[int] = []
    monkeypatch.setattr(modules.Module, "restart", lambda _self: starts.append(1))
    for _ in range(50):
        assert refusal(key.sign, b"x").reason == "no-token"
    assert not starts
    token.put_back()
    monkeypatch.undo()
    key.close()


def test_another_token_of_that_label_is_not_given_the_pin(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "RECONNECT_S_MIN", 0.0)
    key = Signer.create(token.uri("robot", "k"), None, pin)
    token.pull()
    token.make("robot", "0000-another")
    for _ in range(2):
        assert refusal(key.sign, b"x").reason == "wrong-token"
    token.put_back()
    key.close()


def test_a_pin_that_the_token_refused_is_not_tried_again(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "RECONNECT_S_MIN", 0.0)
    key = Signer.create(token.uri("robot", "k"), None, pin)
    token.pull()
    refusal(key.sign, b"x")
    token.put_back()
    # Its owner changed the PIN meanwhile.
    change_pin(token, PIN, "another-pin")
    for _ in range(4):
        assert refusal(key.sign, b"x").reason == "wrong-pin"
    looked: list[int] = []
    monkeypatch.setattr(logins, "find_token", lambda *_: looked.append(1))
    assert refusal(key.sign, b"x").reason == "wrong-pin"
    assert not looked
    monkeypatch.undo()
    key.close()


def change_pin(token: SoftHsm, old: str, new: str) -> None:
    code = (
        "import pkcs11, sys\n"
        "found = next(iter(pkcs11.lib(sys.argv[1]).get_tokens(token_label='robot')))\n"
        "found.open(rw=True, user_pin=sys.argv[2]).set_pin(sys.argv[2], sys.argv[3])\n"
    )
    subprocess.run([sys.executable, "-c", code, token.library, old, new], check=True)


def test_another_key_of_that_name_is_refused_after_a_reconnect(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "RECONNECT_S_MIN", 0.0)
    Signer.create(token.uri("robot", "k"), ES256, pin).close()
    key = Signer.from_uri(token.uri("robot", "k"), pin)
    code = (
        "import pkcs11, sys\n"
        "from pkcs11 import Attribute\n"
        "found = next(iter(pkcs11.lib(sys.argv[1]).get_tokens(token_label='robot')))\n"
        "session = found.open(rw=True, user_pin=sys.argv[2])\n"
        "for item in list(session.get_objects()): item.destroy()\n"
    )
    subprocess.run([sys.executable, "-c", code, token.library, PIN], check=True)
    subprocess.run(
        [sys.executable, "-c", MAKE, token.uri("robot", "k"), "0", PIN], check=True, timeout=WAIT_S
    )
    for _ in range(2):
        assert refusal(key.sign, b"x").reason == "wrong-key"
    key.close()


def test_a_key_on_another_token_goes_on_when_the_library_was_started_anew(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    token.make("second", PIN)
    before = {path.name for path in token.tokens.iterdir()}
    token.make("third", PIN)
    [folder] = [path for path in token.tokens.iterdir() if path.name not in before]
    goes = Signer.create(token.uri("third", "k"), None, pin)
    stays = Signer.create(token.uri("second", "k"), EDDSA, pin)
    folder.rename(token.folder / "third.away")
    assert refusal(goes.sign, b"x").reason == "no-token"
    # Its handles' numbers may mean another key now, so none of them is tried first.
    monkeypatch.setattr(logins.Login, "reconnect", lambda _self: pytest.fail("used a void handle"))
    stays.public_key().verify(stays.sign(b"x"), b"x")
    for key in (goes, stays):
        key.close()


def test_looking_for_a_token_that_is_not_there_disturbs_no_key_at_work(token: SoftHsm) -> None:
    key = Signer.create(token.uri("robot", "k"), None, pin)
    before = key._module.generation  # type: ignore[attr-defined]
    assert refusal(Signer.from_uri, token.uri("other", "k"), pin).reason == "no-token"
    assert key._module.generation == before  # type: ignore[attr-defined]
    key.close()


# --- processes and threads ---------------------------------------------------------------------


def test_a_forked_child_opens_anew(token: SoftHsm) -> None:
    key = Signer.create(token.uri("robot", "k"), None, pin)
    child = os.fork()
    if child == 0:
        good = False
        try:
            reasons = []
            for call in (
                lambda: key.sign(b"x"),
                lambda: key.begin(b"x"),
                lambda: key.evidence(b""),
            ):
                try:
                    call()
                except KeyDriverError as error:
                    reasons.append(error.reason)
            key.close()
            try:
                # The parent's login is not the child's.
                Signer.from_uri(token.uri("robot", "k"), lambda _: "wrong-one")
            except KeyDriverError as error:
                reasons.append(error.reason)
            own = Signer.from_uri(token.uri("robot", "k"), pin)
            own.public_key().verify(own.sign(b"y"), b"y")
            own.close()
            good = reasons == ["forked", "forked", "forked", "wrong-pin"]
        finally:
            os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    key.public_key().verify(key.sign(b"x"), b"x")
    key.close()


def test_many_threads_and_two_keys_share_one_library(token: SoftHsm) -> None:
    keys = [Signer.create(token.uri("robot", f"k{alg}"), alg, pin) for alg in (ES256, EDDSA)]
    wrong: list[Exception] = []

    def work(seed: int) -> None:
        try:
            for n in range(40):
                message = hashlib.sha256(b"%d %d" % (seed, n)).digest()
                key = keys[(seed + n) % 2]
                key.public_key().verify(key.sign(message), message)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not wrong
    for key in keys:
        key.close()


def test_a_library_is_called_by_one_thread_at_a_time(token: SoftHsm) -> None:
    key = Signer.create(token.uri("robot", "k"), None, pin)
    with key._module.lock:  # type: ignore[attr-defined]
        key.begin(b"x")
        time.sleep(0.2)
        assert not key.poll()
        assert refusal(key.begin, b"y").reason == "busy"
        assert refusal(key.sign, b"y").reason == "busy"
    while not key.poll():
        pass
    key.public_key().verify(key.signature(), b"x")
    key.close()


def test_closing_waits_for_a_signature_and_may_be_done_twice(token: SoftHsm) -> None:
    key = Signer.create(token.uri("robot", "k"), None, pin)
    second = Signer.from_uri(token.uri("robot", "k"), pin)
    key.begin(b"x")
    key.close()
    key.close()
    for call in (lambda: key.sign(b"x"), lambda: key.begin(b"x"), lambda: key.evidence(bytes(32))):
        assert refusal(call).reason == "closed"
    second.public_key().verify(second.sign(b"x"), b"x")  # the login is shared, and not ended
    second.close()


def test_nothing_shows_the_pin(token: SoftHsm) -> None:
    key = Signer.create(token.uri("robot", "k"), None, pin)
    for thing in (key, key._login, key._module, key._uri, key._handles):  # type: ignore[attr-defined]
        assert PIN not in repr(thing) and PIN not in str(thing)
    key.close()
