"""A device joins: codes, invitations, requests, answers, orders."""

from typing import Any

from support import examples as ex
from support import joins
from support.scenarios import Scenario, Scenarios, craft, flip, headers_of, key_hex, payload_of
from tallystick.evidence import cbor, root
from tallystick.evidence.keys import b64u

ROOT = key_hex(ex.GLOBEX_ROOT.public_key())
OTHER = key_hex(ex.ACME_ROOT.public_key())
LINE = joins.ROOT_LINE
ACME_LINE = root.format_root(ex.ACME, ex.ACME_ROOT.public_key())


def codes() -> Scenarios:
    text = joins.code().text()
    for name, expect, about, given_text, line in (
        ("good", "ok", "A code and its root.", text, LINE),
        ("as-typed", "ok", "In capitals, with blanks.", text.upper().replace("-", " "), LINE),
        ("mistyped", "bad-value", "One character.", ("b" if text[0] == "a" else "a") + text[1:],
         LINE),
        ("short", "bad-value", "A group is missing.", text[:-5], LINE),
        ("foreign", "bad-value", "A character of no base32.", "1" + text[1:], LINE),
        ("other-root", "wrong-key", "The root of another fleet.", text, ACME_LINE),
    ):  # fmt: skip  # a row each
        given = {"text": given_text, "line": line}
        yield Scenario("join-code", name, "5.5", about, given, expect)


def requests() -> Scenarios:
    good = joins.join()
    values = good.values()

    def of(at: int, item: Any) -> bytes:
        return cbor.encode([*values[:at], item, *values[at + 1 :]])

    other = joins.join(by=joins.code("another"))
    data = good.encode()
    for name, expect, about, given_data, by in (
        ("good", "ok", "By a code's holder.", data, joins.code()),
        ("other-code", "not-authorised", "Another code's key.", data, joins.code("another")),
        ("other-request", "not-authorised", "Another key asks.",
         of(3, joins.request_of(ex.GIVER)), joins.code()),
        ("other-nonce", "not-authorised", "Another nonce.", of(2, bytes(16)), joins.code()),
        ("other-name", "not-authorised", "Another code's name.",
         of(1, other.code), joins.code()),
        ("keys-swapped", "not-authorised", "The gateway's proof for the fleet's.",
         cbor.encode([*values[:4], values[5], values[4]]), joins.code()),
        ("empty", "bad-value", "Nothing is asked.", of(3, b""), joins.code()),
        ("too-large", "too-large", "A request of over 16 KiB.", of(3, bytes(16_384)),
         joins.code()),
        ("trailing", "trailing-bytes", "A byte follows.", data + b"\0", joins.code()),
    ):  # fmt: skip  # a row each
        given = {
            "data": given_data.hex(),
            "door": by.door_key().hex(),
            "fleet": by.fleet_key().hex(),
        }
        yield Scenario("join-request", name, "5.5", about, given, expect)


def invitations() -> Scenarios:
    good = joins.invite()
    values = cbor.decode(payload_of(good))

    def of(at: int, item: Any) -> bytes:
        payload = cbor.encode([*values[:at], item, *values[at + 1 :]])
        return craft(ex.GLOBEX_ROOT, headers_of(good), payload)

    for name, expect, about, data, signed_by in (
        ("good", "ok", "For one key.", good, ROOT),
        ("withdrawn", "ok", "For no key any more.", joins.invite(0), ROOT),
        ("forged", "bad-signature", "One bit of the signature.", flip(good, -40), ROOT),
        ("other-root", "wrong-alg", "By another fleet.", good, OTHER),
        ("other-name", "wrong-key", "The subject is another code.", of(1, bytes(16)), ROOT),
        ("too-many", "too-large", "For 100,001 keys.", of(3, 100_001), ROOT),
        ("backwards", "bad-value", "It ends before it begins.", of(4, [2, 1]), ROOT),
    ):
        given = {"data": data.hex(), "root": signed_by}
        yield Scenario("join-invitation", name, "5.5", about, given, expect)


def answers() -> Scenarios:
    good = joins.signed_answer()
    values = cbor.decode(payload_of(good))

    def of(at: int, item: Any, **subject: str) -> bytes:
        payload = cbor.encode([*values[:at], item, *values[at + 1 :]])
        headers = headers_of(good)
        if subject:
            headers[15] = {**headers[15], 2: subject["sub"]}
        return craft(ex.GLOBEX_ROOT, headers, payload)

    own = '{"fleet":"globex","key":"file:mine"}'
    for name, expect, about, data, signed_by in (
        ("good", "ok", "A credential and a configuration.", good, ROOT),
        ("no-ca", "ok", "A broker without TLS.", of(6, None), ROOT),
        ("forged", "bad-signature", "One bit of the signature.", flip(good, -40), ROOT),
        ("other-root", "wrong-alg", "By another fleet.", good, OTHER),
        ("other-device", "wrong-device", "The subject is another device.",
         of(1, ex.RECEIVER.id, sub=b64u(ex.GIVER.id)), ROOT),
        ("own-setting", "bad-value", "It names the device's key.", of(4, own), ROOT),
        ("no-object", "bad-value", "Settings that are a list.", of(4, "[1]"), ROOT),
        ("no-json", "bad-value", "Settings that are no JSON.", of(4, "{"), ROOT),
        ("no-credential", "bad-value", "Nobody is enrolled.", of(3, []), ROOT),
        ("path", "bad-value", "A profile that leaves its folder.", of(5, {"../x": b"y"}), ROOT),
        ("hidden", "bad-value", "A profile's name with a dot before.", of(5, {".x": b"y"}), ROOT),
        ("17-profiles", "too-large", "Seventeen profiles.",
         of(5, {f"p{n:02}": b"y" for n in range(17)}), ROOT),
    ):  # fmt: skip  # a row each
        given = {"data": data.hex(), "root": signed_by}
        yield Scenario("join-answer", name, "5.5", about, given, expect)


def orders() -> Scenarios:
    good = joins.order()
    gateway, challenge = ex.GATEWAY.id.hex(), joins.CHALLENGE.hex()
    for name, expect, about, data, to, answers_ in (
        ("good", "ok", "The root asks.", good, gateway, challenge),
        ("forged", "bad-signature", "One bit.", flip(good, -40), gateway, challenge),
        ("other-gateway", "wrong-device", "For another.", good, ex.GIVER.id.hex(), challenge),
        ("replayed", "not-authorised", "Another challenge's.", good, gateway, bytes(32).hex()),
    ):
        given = {"data": data.hex(), "root": ROOT, "gateway": to, "challenge": answers_}
        yield Scenario("queue-order", name, "5.5", about, given, expect)


def all_scenarios() -> Scenarios:
    """Each names what is wrong with it."""
    yield from codes()
    yield from requests()
    yield from invitations()
    yield from answers()
    yield from orders()
