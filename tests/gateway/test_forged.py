"""A15, A16, A18 at a running gateway, over a real broker: forged is refused, and true is taken."""

import secrets
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from support import forged
from support.devices import Device, Fleet, key
from support.keychanges import rotate
from support.site import Radio, Site, until
from tallystick.evidence import cbor, custody
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")


@pytest.fixture
def site(tmp_path: Path, mosquitto: Mosquitto) -> Site:
    made = Site(tmp_path / "gateway", ACME, mosquitto.port)
    made.with_prefix(f"t/{secrets.token_hex(4)}")
    return made


def radio(site: Site, device: Device, broker: Mosquitto) -> Radio:
    return Radio(broker.port, device, site.config.broker.prefix)


def refusals(site: Site) -> int:
    return sum(row["count"] for row in site.status()["refused"].values())


def refused_at_least(site: Site, count: int) -> bool:
    return refusals(site) >= count


def stored(site: Site) -> int:
    found: int = site.status()["segments"]
    return found


@pytest.mark.parametrize("alg", [EDDSA, ES256])
def test_a_forged_signature_is_refused_and_the_true_one_is_taken(
    site: Site, mosquitto: Mosquitto, alg: int
) -> None:
    device = ACME.device("a", alg)
    device.record(2)
    site.enrol(device)
    true = device.stretches[0].checkpoint
    bad = forged.forgeries(device.signer, true)
    with site.running() as gateway, radio(site, device, mosquitto) as link:
        until(lambda: gateway.worker.core.identities.find(device.id), "the enrolment")
        for statement in bad.values():
            device.stretches[0].checkpoint = statement
            link.up(device.segment())
        # The gateway writes what it refused once a second.
        until(partial(refused_at_least, site, len(bad)), f"all of {list(bad)}")
        assert stored(site) == 0
        assert link.statements() == []
        device.stretches[0].checkpoint = true
        link.up(device.segment())
        until(link.statements, "custody of the true one")
        assert custody.parse(link.statements()[0]).verify(site.key).to == 3
    assert refusals(site) == len(bad)


def test_bad_credentials_are_refused_in_the_folder_and_in_a_hello(
    site: Site, mosquitto: Mosquitto
) -> None:
    device = ACME.device("a")
    device.record(1)
    bad = [made for made, _ in forged.credentials(ACME).values()]
    reasons = Counter(reason for _, reason in forged.credentials(ACME).values())
    for number, credential in enumerate(bad):
        file = site.folder / "enrolments" / f"bad-{number}.cbor"
        file.write_bytes(cbor.encode(credential))
    site.enrol(device)
    with site.running() as gateway, radio(site, device, mosquitto) as link:
        until(lambda: gateway.worker.core.identities.find(device.id), "the good one among them")
        until(lambda: refusals(site) == len(bad), "each bad one")
        assert {reason: site.refused(reason) for reason in reasons} == reasons
        assert site.status()["devices"] == 1
        for count, credential in enumerate(bad, len(bad) + 1):
            device.credential = credential
            link.up(device.hello())
            until(partial(refused_at_least, site, count), "a hello with a bad credential")
        assert site.status()["devices"] == 1


def test_a_key_is_enrolled_once(site: Site, mosquitto: Mosquitto) -> None:
    one, two = ACME.device("a"), ACME.device("b")
    one.record(1)
    two.record(1)
    site.enrol(one)
    site.enrol(two)
    stolen = rotate(two, one.signer)
    renewed = rotate(one, key("second key of a"))
    with site.running() as gateway, radio(site, two, mosquitto) as link:
        for device in (one, two):
            until(partial(gateway.worker.core.identities.find, device.id), "both enrolments")
        link.up(stolen.hello())
        until(lambda: site.refused("already-enrolled") == 1, "another device's key")
        with radio(site, renewed, mosquitto) as other:
            other.up(renewed.hello())
            until(lambda: other.down, "the welcome")
        # A key that was rotated away still belongs to its id.
        back = rotate(two, one.signer, [two.epoch, two.size, bytes(32)])
        link.up(back.hello())
        until(lambda: site.refused("already-enrolled") == 2, "the old key of another device")
        link.up(two.segment())
        until(link.statements, "custody under its own key")
