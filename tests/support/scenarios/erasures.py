"""Erasures: what a root orders, what a validator says that it did."""

from typing import Any

from support import examples as ex
from support.scenarios import Scenario, Scenarios, flip, key_hex, payload_of
from tallystick.evidence import cbor, statement

ROOT = key_hex(ex.ACME_ROOT.public_key())
OWN = key_hex(ex.VALIDATOR.public_key())


class _Raw(statement.Signed):
    """A payload as it is given, rightly signed."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def values(self) -> list[Any]:
        return self._values


def all_scenarios() -> Scenarios:
    """Each names what is wrong with it."""
    ordered = ex.erasure_request()
    good = cbor.decode(payload_of(ordered))

    def of(at: int, item: Any) -> bytes:
        changed = [*good[:at], item, *good[at + 1 :]]
        return _Raw(changed).sign(ex.ACME_ROOT, ex.ACME, ex.GIVER.id)

    for name, expect, about, data, key in (
        ("request", "ok", "A fleet's root asks.", ordered, ROOT),
        ("retention", "ok", "A validator says what it did.", ex.erasure_retention(), OWN),
        ("other-signer", "wrong-alg", "The validator's, by a root's key of another algorithm.",
         ex.erasure_retention(key=ex.ACME_ROOT), OWN),
        ("forged", "bad-signature", "One bit.", flip(ordered, -40), ROOT),
        ("no-range", "bad-value", "Nothing is named.", of(2, []), ROOT),
        ("empty-range", "bad-value", "A range without a record.", of(2, [[3, 3]]), ROOT),
        ("touching", "bad-value", "Two ranges that are one.", of(2, [[0, 2], [2, 4]]), ROOT),
        ("falling", "bad-value", "Ranges in another order.", of(2, [[5, 6], [0, 2]]), ROOT),
        ("65-ranges", "too-large", "More than 64.",
         of(2, [[n * 3, n * 3 + 1] for n in range(65)]), ROOT),
        ("no-kind", "bad-value", "Of no kind.", of(3, []), ROOT),
        ("kind-twice", "bad-value", "A kind twice.", of(3, [1, 1]), ROOT),
        ("no-record", "bad-value", "Checkpoints are no bodies.", of(3, [4]), ROOT),
        ("whim", "bad-value", "Another cause.", of(4, "whim"), ROOT),
        ("whose", "bad-value", "Retention of nobody.", of(4, "retention"), ROOT),
    ):  # fmt: skip  # a row each
        given = {"data": data.hex(), "key": key, "below": 12, "kind": 1}
        yield Scenario("signed-erasure", name, "6.6", about, given, expect)
