"""Keys on a real SoftHSM token: what is made, what is found, PINs, and tokens that are pulled."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.tokens import MAKE, PIN, WAIT_S, Raw, pin, refusal
from tallystick.evidence import custody_pkcs11
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw import _pkcs11_login as logins
from tallystick.hw import _pkcs11_module as modules
from tallystick.hw import _pkcs11_objects as objects
from tallystick.hw.signer import Signer
from tallystick.tools.softhsm import SoftHsm

BOTH = pytest.mark.parametrize("alg", [ES256, EDDSA])

# --- keys --------------------------------------------------------------------------------------


@BOTH
def test_a_key_is_made_on_the_token_and_stays_there(token: SoftHsm, alg: int) -> None:
    made = Signer.create(token.uri("robot", "a key"), alg, pin)
    assert (made.alg, made.custody) == (alg, "pkcs11")
    made.close()
    opened = Signer.from_uri(token.uri("robot", "a key"), pin)
    assert opened.public_key() == made.public_key()
    opened.public_key().verify(opened.sign(b"x"), b"x")
    assert opened.counter() is None
    assert opened.verifier(opened.public_key(), bytes(64), b"x") is None
    assert "made on the token" in opened.self_test()[-1]
    opened.close()
    with Raw(token) as raw:
        private = next(
            iter(raw.session.get_objects({raw.attribute.CLASS: raw.pkcs11.ObjectClass.PRIVATE_KEY}))
        )
        for name in ("SENSITIVE", "PRIVATE", "TOKEN", "LOCAL", "NEVER_EXTRACTABLE", "SIGN"):
            assert private[getattr(raw.attribute, name)] is True, name
        for name in ("EXTRACTABLE", "DECRYPT", "UNWRAP", "DERIVE"):
            assert private[getattr(raw.attribute, name)] is False, name
        with pytest.raises(raw.pkcs11.AttributeSensitive):
            private[raw.attribute.VALUE]


def test_the_tokens_own_algorithm_is_p256(token: SoftHsm) -> None:
    key = Signer.create(token.uri("robot", "k"), secrets=pin)
    assert key.alg == ES256
    key.close()
    assert refusal(Signer.create, token.uri("robot", "z"), -35, pin).reason == "no-such-key"


def test_a_label_is_never_used_twice(token: SoftHsm) -> None:
    made = Signer.create(token.uri("robot", "k"), secrets=pin)
    assert refusal(Signer.create, token.uri("robot", "k"), EDDSA, pin).reason == "key-exists"
    made.close()
    with Raw(token) as raw:
        raw.make("half")[1].destroy()  # another program's, and only its public key is left
    assert refusal(Signer.create, token.uri("robot", "half"), None, pin).reason == "key-exists"
    with Raw(token) as raw:
        raw.make("twice")
        raw.make("twice")
    assert refusal(Signer.from_uri, token.uri("robot", "twice"), pin).reason == "ambiguous-key"
    assert refusal(Signer.from_uri, token.uri("robot", "none"), pin).reason == "no-key"


def test_a_key_that_the_token_makes_otherwise_is_removed(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = objects._generate

    def carelessly(session: Any, label: str, *_: Any) -> tuple[Any, Any]:
        attribute = modules.binding().Attribute
        curve = session.create_domain_parameters(
            modules.binding().KeyType.EC,
            {attribute.EC_PARAMS: objects.P256_PARAMS[0]},
            local=True,
        )
        template = {attribute.EXTRACTABLE: True}
        made: tuple[Any, Any] = curve.generate_keypair(
            store=True, label=label, private_template=template
        )
        return made

    monkeypatch.setattr(objects, "_generate", carelessly)
    said = refusal(Signer.create, token.uri("robot", "k"), None, pin)
    assert said.reason == "token-failed" and "extractable" in said.message
    monkeypatch.setattr(objects, "_generate", generate)
    Signer.create(token.uri("robot", "k"), None, pin).close()  # nothing of it is left


def test_two_programs_that_make_one_key_at_once_make_at_most_one(token: SoftHsm) -> None:
    start = str(time.time() + 1)
    uri = token.uri("robot", "k")
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, uri, start, PIN], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    said = [maker.communicate(timeout=WAIT_S)[0].strip() for maker in makers]
    assert said.count("made") <= 1 and set(said) <= {"made", "key-exists"}, said
    with Raw(token) as raw:
        kept = raw.session.get_objects({raw.attribute.CLASS: raw.pkcs11.ObjectClass.PRIVATE_KEY})
        assert len(list(kept)) == said.count("made")


def test_what_another_program_makes_and_withdraws_meanwhile_is_borne(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Signer.create(token.uri("robot", "k"), ES256, pin)
    made._epoch = -1  # type: ignore[attr-defined]  # as after a new login
    search, gone = objects._search, [2]

    def removed_meanwhile(session: Any, wanted: dict[Any, Any]) -> list[Any]:
        if gone[0]:
            gone[0] -= 1
            raise modules.binding().ObjectHandleInvalid
        return search(session, wanted)

    monkeypatch.setattr(objects, "_search", removed_meanwhile)
    monkeypatch.setattr(logins.Login, "reconnect", lambda _self: pytest.fail("nothing is gone"))
    made.public_key().verify(made.sign(b"x"), b"x")
    # Who made a key finds it by its id, whatever else has its label for a moment.
    assert made._uri.id is not None  # type: ignore[attr-defined]
    made.close()


def test_a_public_key_that_is_not_the_private_keys_is_refused(token: SoftHsm) -> None:
    Signer.create(token.uri("robot", "k"), ES256, pin).close()
    with Raw(token) as raw:
        kind, attribute = raw.pkcs11.ObjectClass, raw.attribute
        own = next(iter(raw.session.get_objects({attribute.CLASS: kind.PUBLIC_KEY})))
        other, private = raw.make("other")
        fields = {name: other[name] for name in (attribute.EC_PARAMS, attribute.EC_POINT)}
        fields |= {attribute.ID: own[attribute.ID], attribute.LABEL: "k", attribute.TOKEN: True}
        fields |= {attribute.CLASS: kind.PUBLIC_KEY, attribute.KEY_TYPE: raw.pkcs11.KeyType.EC}
        for item in (own, other, private):
            item.destroy()
        raw.session.create_object(fields)
    assert refusal(Signer.from_uri, token.uri("robot", "k"), pin).reason == "wrong-key"


def test_a_key_without_its_public_key_is_refused(token: SoftHsm) -> None:
    with Raw(token) as raw:
        raw.make("k")[0].destroy()
    assert refusal(Signer.from_uri, token.uri("robot", "k"), pin).reason == "no-public-key"


# --- evidence ----------------------------------------------------------------------------------


@BOTH
def test_evidence_is_what_the_token_says(token: SoftHsm, alg: int) -> None:
    key = Signer.create(token.uri("robot", "k"), alg, pin)
    [[kind, data]] = key.evidence(bytes(32))
    assert kind == "pkcs11-attributes"
    shown, not_shown = custody_pkcs11.parse(data).check(key.public_key(), bytes(32))
    assert any("'robot'" in line for line in shown) and not_shown
    key.close()


@pytest.mark.parametrize("weak", [{"extractable": True}, {"sensitive": False}])
def test_a_key_that_could_be_read_out_is_said_and_fails_its_check(
    token: SoftHsm, weak: dict[str, bool]
) -> None:
    with Raw(token) as raw:
        raw.make("weak", **weak)
    key = Signer.from_uri(token.uri("robot", "weak"), pin)
    [[_, data]] = key.evidence(bytes(32))
    with pytest.raises(Unverified, match="must"):
        custody_pkcs11.parse(data).check(key.public_key(), bytes(32))
    said = refusal(key.self_test)
    assert said.reason == "weak-custody" and next(iter(weak)) in said.message
    key.close()


# --- PINs --------------------------------------------------------------------------------------


def test_the_pin_comes_from_the_uri_then_the_caller_then_the_environment(
    token: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Signer.create(token.uri("robot", "k"), None, pin).close()
    file = tmp_path / "pin"
    file.write_text(PIN + "\n")
    file.chmod(0o600)
    asked: list[str] = []

    def wrong(what: str) -> str:
        asked.append(what)
        return "wrong-one"

    Signer.from_uri(token.uri("robot", "k", file), wrong).close()
    assert not asked
    file.chmod(0o644)
    assert refusal(Signer.from_uri, token.uri("robot", "k", file)).reason == "open-pin-file"
    assert refusal(Signer.from_uri, token.uri("robot", "k")).reason == "no-pin"
    assert refusal(Signer.from_uri, token.uri("robot", "k"), lambda _: None).reason == "no-pin"
    monkeypatch.setenv("TALLY_PIN", PIN)
    assert refusal(Signer.from_uri, token.uri("robot", "k"), wrong).reason == "wrong-pin"
    assert asked == ["token 'robot': key 'k'"]
    Signer.from_uri(token.uri("robot", "k")).close()


def test_the_library_comes_from_the_uri_or_the_environment(
    token: SoftHsm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(modules.MODULE_VARIABLE, raising=False)
    bare = token.uri("robot", "k").partition("?")[0]
    assert refusal(Signer.create, bare, None, pin).reason == "no-module"
    monkeypatch.setenv(modules.MODULE_VARIABLE, "libsofthsm2.so")
    assert refusal(Signer.create, bare, None, pin).reason == "no-module"
    (tmp_path / "no.so").write_text("no library")
    for path in (tmp_path / "missing.so", tmp_path / "no.so"):
        monkeypatch.setenv(modules.MODULE_VARIABLE, str(path))
        assert refusal(Signer.create, bare, None, pin).reason == "no-module"
    monkeypatch.setenv(modules.MODULE_VARIABLE, token.library)
    Signer.create(bare, None, pin).close()
    assert refusal(Signer.from_uri, bare.replace("robot", "other"), pin).reason == "no-token"


def test_a_wrong_pin_is_said_with_what_the_token_says_of_tries(token: SoftHsm) -> None:
    made = Signer.create(token.uri("robot", "k"), None, pin)
    # The token would not even look: for it the whole process is logged in.
    assert refusal(Signer.from_uri, token.uri("robot", "k"), lambda _: "wrong-one").reason == (
        "wrong-pin"
    )
    made.close()
    error = refusal(Signer.from_uri, token.uri("robot", "k"), lambda _: "wrong-one")
    assert error.reason == "wrong-pin" and "at least once" in error.message
    assert refusal(Signer.from_uri, token.uri("robot", "k"), lambda _: "x").reason == "wrong-pin"
    Signer.from_uri(token.uri("robot", "k"), pin).close()


def test_the_last_try_is_left_to_people() -> None:
    logins.check_tries(0, "t")
    logins.check_tries(logins.PIN_COUNT_LOW, "t")
    for flags, reason in (
        (logins.PIN_FINAL_TRY, "pin-final-try"),
        (logins.PIN_FINAL_TRY | logins.PIN_COUNT_LOW, "pin-final-try"),
        (logins.PIN_LOCKED, "pin-locked"),
        (logins.PIN_LOCKED | logins.PIN_FINAL_TRY, "pin-locked"),
    ):
        assert refusal(logins.check_tries, flags, "t").reason == reason
    said = {logins.tries_left(f) for f in (0, 0x10000, 0x20000, 0x40000)}
    assert len(said) == 4
