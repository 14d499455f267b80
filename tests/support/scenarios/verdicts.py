"""Profiles, findings, verdicts, evidence files."""

from typing import Any

from support import examples as ex
from support.scenarios import (
    Scenario,
    Scenarios,
    craft,
    flip,
    headers_of,
    key_hex,
    payload_of,
    replaced,
)
from tallystick.evidence import cbor, profile
from tallystick.evidence import verdict as verdicts

GATEWAY_KEY = key_hex(ex.GATEWAY.public_key())
VALIDATOR_KEY = key_hex(ex.VALIDATOR.public_key())
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdn"
    "gotpRZb6KE6RyyBwJnAM=\n"
)


def profiles() -> Scenarios:
    good = ex.the_profile().encode()
    values = cbor.decode(good)
    twice = [*values[7], values[7][0]]
    for name, expect, data in (
        ("good", "ok", good),
        ("no-roles", "bad-type", replaced(values, 5, {})),
        ("maximum-below-minimum", "bad-value", replaced(values, 5, {"giver": [2, 1]})),
        ("claims-of-no-role", "bad-value", replaced(values, 6, {"thief": values[6]["giver"]})),
        ("unknown-check", "bad-value", replaced(values, 7, [["guess", "x", {}]])),
        ("check-name-twice", "duplicate-key", replaced(values, 7, twice)),
        ("too-large", "too-large", replaced(values, 7, [["agree", "x", {"t": "t" * 1000 * 17}]])),
    ):
        about = f"A profile's encoding: {name.replace('-', ' ')}."
        yield Scenario("profile-encoding", name, "6.4", about, {"data": data.hex()}, expect)
    device = cbor.decode(profile.parse(good).device_profile().encode())
    for name, expect, data in (
        ("good", "ok", cbor.encode(device)),
        (
            "unknown-type",
            "bad-value",
            replaced(device, 4, {"giver": {"released": {"x": ["float", None, None, True]}}}),
        ),
    ):
        about = f"What a device needs of a profile: {name.replace('-', ' ')}."
        yield Scenario("device-profile", name, "6.4", about, {"data": data.hex()}, expect)


def findings() -> Scenarios:
    inputs = cbor.decode(ex.inputs().encode())
    for name, expect, about, data in (
        ("good", "ok", "What a finding depends on.", cbor.encode(inputs)),
        (
            "closed",
            "ok",
            "A role is missing and the deadline has passed.",
            replaced(inputs, 7, True),
        ),
        (
            "unsorted",
            "non-canonical",
            "Claims out of order.",
            replaced(inputs, 4, inputs[4][::-1]),
        ),
        (
            "claim-twice",
            "duplicate-key",
            "One claim, given twice.",
            replaced(inputs, 4, inputs[4][:1] * 2),
        ),
        (
            "unknown-status",
            "bad-value",
            "A key status that nobody knows.",
            replaced(inputs, 4, [[*inputs[4][0][:3], "fine", *inputs[4][0][4:]]]),
        ),
    ):
        yield Scenario("finding-inputs", name, "6.5", about, {"data": data.hex()}, expect)
    found = cbor.decode(ex.the_finding().encode())
    for name, expect, about, data in (
        ("conflicting", "ok", "A check failed.", cbor.encode(found)),
        ("one-sided", "ok", "A role is missing.", ex.one_sided_finding().encode()),
        (
            "unknown-state",
            "bad-value",
            "The word is matched, never true.",
            replaced(found, 6, "true"),
        ),
        ("unsorted", "non-canonical", "Claims out of order.", replaced(found, 9, found[9][::-1])),
    ):
        yield Scenario("unsigned-finding", name, "6.5", about, {"data": data.hex()}, expect)
    good = ex.the_verdict()
    values = cbor.decode(payload_of(good))

    def of(at: int, item: Any) -> bytes:
        return craft(ex.VALIDATOR, headers_of(good), replaced(values, at, item))

    other_sub = verdicts.parse(good).sign(ex.VALIDATOR, ex.INITECH, bytes(32))
    pending = [*found[:6], "pending", *found[7:]]
    for name, expect, about, data in (
        ("conflicting", "ok", "A signed finding.", good),
        ("one-sided", "ok", "A peer stayed away.", ex.the_verdict(ex.one_sided_finding())),
        ("pending", "bad-value", "A pending finding is never signed.", of(1, pending)),
        ("other-interaction", "bad-header", "sub is another id.", other_sub),
        (
            "uninvited-unsorted",
            "non-canonical",
            "Party sets out of order.",
            of(4, [b"\x02" * 32, b"\x01" * 32]),
        ),
        ("negative-size", "bad-value", "A log of less than nothing.", of(2, -1)),
        ("flipped", "bad-signature", "One bit of the signature.", flip(good, -1)),
    ):
        given = {"data": data.hex(), "key": VALIDATOR_KEY}
        yield Scenario("signed-verdict", name, "6.5", about, given, expect)


def files() -> Scenarios:
    good = ex.the_file().encode()
    values = cbor.decode(good)

    def of(sections: dict[int, Any]) -> bytes:
        return cbor.encode([22, "tallystick/1", sections])

    for name, expect, about, data in (
        ("good", "ok", "Every section.", good),
        ("empty", "ok", "Nothing is disclosed.", of({})),
        ("note-only", "ok", "A note for people.", of({7: "nothing yet"})),
        ("empty-section", "non-canonical", "An empty section must be left out.", of({2: []})),
        ("unknown-section", "bad-value", "Section 11.", of({**values[2], 11: []})),
        ("other-version", "bad-value", "A later version.", cbor.encode([22, "tallystick/2", {}])),
        (
            "other-kind",
            "unknown-kind",
            "A device profile's kind.",
            cbor.encode([23, "tallystick/1", {}]),
        ),
        (
            "malformed-half",
            "bad-value",
            "A half without its last element.",
            of({3: [values[2][3][0][:-1]]}),
        ),
        ("receipts-missing", "bad-value", "An entry without its list.", of({4: [[b"entry"]]})),
        (
            "text-sections",
            "bad-value",
            "Sections by name.",
            cbor.encode([22, "tallystick/1", {"notes": []}]),
        ),
        ("truncated", "truncated", "The last byte is missing.", good[:-1]),
        ("trailing-byte", "trailing-bytes", "A byte after the object.", good + b"\x00"),
    ):
        yield Scenario("evidence-file", name, "7", about, {"data": data.hex()}, expect)


def all_scenarios() -> Scenarios:
    for part in (
        profiles,
        findings,
        files,
    ):
        yield from part()
