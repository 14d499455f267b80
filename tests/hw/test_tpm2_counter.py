"""Counters and PINs of keys in a TPM 2.0, on a real software TPM."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from support import swtpm
from support.swtpm import (
    KEY,
    PIN,
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


@pytest.fixture
def key(tpm: Swtpm) -> Iterator[Signer]:
    signer = swtpm.fresh(tpm)
    yield signer
    signer.close()


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
