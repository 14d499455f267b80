"""The link to a validator: certificates of both sides, and no more bytes than it may take."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.authority import Authority
from support.devices import Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import Site, until
from support.tlsfront import TlsFront
from tallystick.evidence import cbor
from tallystick.evidence.enrolment import SUBJECT_VALIDATOR
from tallystick.evidence.errors import Malformed
from tallystick.evidence.root import format_root
from tallystick.gateway import check
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.pace import Throttle
from tallystick.gateway.peers import Peer
from tallystick.gateway.service import Gateway
from tallystick.gateway.validatorconfig import Tls
from tallystick.tools.doctor import validators

ACME = Fleet("acme")


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[Notary]:
    made = Notary(tmp_path / "notary", ACME).start()
    yield made
    made.stop()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path / "gate", ACME)
    robot = ACME.device()
    for _ in range(2):
        robot.record(4)
    made.give(robot, robot.hello(), *robot.segments())
    yield made
    made.store.close()


def forwarder(gate: MemoryGateway, peer: Peer) -> Forwarder:
    return Forwarder(
        peer,
        gate.store,
        gate.signing,
        tuple(gate.credential),
        gate.down_queue,
        threading.Event(),
        retry_s_max=0.2,
    )


def error_of(gate: MemoryGateway) -> str:
    rows: list[dict[str, object]] = gate.status()["validators"]  # type: ignore[assignment]
    return str(rows[0]["error"])


def test_certificates_of_both_sides(notary: Notary, gate: MemoryGateway, tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other")
    server, mine, foreign = authority.server(), authority.client("gw-1"), other.client("gw-1")
    with TlsFront(*server, authority.file, notary.port) as front:

        def peer(ca: Path, cert: Path | None, key: Path | None) -> Peer:
            made = notary.peer()
            url = f"https://127.0.0.1:{front.port}"
            return replace(made, config=replace(made.config, url=url, tls=Tls(ca, cert, key)))

        for ca, cert, key, says in (
            (other.file, *mine, "certificate verify failed"),
            (authority.file, None, None, "required"),
            (authority.file, *foreign, ""),
        ):
            wrong = forwarder(gate, peer(ca, cert, key))
            assert wrong.turn() > 0
            assert wrong.cursor == 0
            assert says in error_of(gate)
            wrong.close()
        assert front.names == []
        good = forwarder(gate, peer(authority.file, *mine))
        assert good.turn() == 0.0
        assert good.cursor == 2
        assert set(front.names) == {"gw-1"}
        good.close()
        # What is looked at before, and what the doctor sees, goes by the same way.
        config = replace(
            Site(tmp_path / "site", ACME, 1).config,
            validators=(peer(authority.file, *mine).config,),
        )
        found = {item.name: item for item in check.check(config)}
        assert found["validator notary"].good, found["validator notary"].found
        assert validators.look(config)[0].level == "good"


def test_a_site_configures_it(notary: Notary, mosquitto_port: int, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.client("gw-1")
    with TlsFront(*authority.server(), authority.file, notary.port) as front:
        line = format_root(notary.name, notary.key)
        text = (
            f'[[validators]]\nname = "notary"\nurl = "https://127.0.0.1:{front.port}"\n'
            f'key = "{line}"\nca = "{authority.file}"\ncert = "{cert}"\ncert_key = "{key}"\n'
            "bytes_s_max = 1000000\n"
        )
        site = Site(tmp_path / "site", ACME, mosquitto_port, validators=text)
        config = site.config
        assert config.validators[0].bytes_s_max == 1_000_000
        gateway = Gateway(config)
        gateway.start()
        try:
            until(lambda: front.names, "a connection of the gateway")
        finally:
            gateway.stop()


@pytest.fixture
def mosquitto_port(request: pytest.FixtureRequest) -> int:
    return int(request.getfixturevalue("mosquitto").port)


def test_what_a_table_refuses(notary: Notary, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.client("gw-1")
    _, other_key = authority.client("gw-2")
    line = format_root(notary.name, notary.key)
    for n, (url, more, says) in enumerate(
        (
            ("http://a", f'ca = "{authority.file}"', "need an https:// url"),
            ("https://a", f'cert = "{cert}"', "both or neither"),
            ("https://a", f'cert = "{cert}"\ncert_key = "{other_key}"', "notary.ca, cert"),
            ("https://a", f'ca = "{tmp_path}/none.pem"', "No such file"),
            ("http://a", "bytes_s_max = 999", "at least 1000"),
            ("http://a", "bytes_s_max = 0", "at least 1000"),
        )
    ):
        text = f'[[validators]]\nname = "notary"\nurl = "{url}"\nkey = "{line}"\n{more}\n'
        with pytest.raises(Malformed, match=says):
            Site(tmp_path / f"site{n}", ACME, 1, validators=text).config  # noqa: B018
    assert key.exists()


def test_a_throttle() -> None:
    free = Throttle(None)
    free.spend(10**9, 5.0)
    assert free.wait_s(5.0) == 0.0
    link = Throttle(1_000)
    assert link.wait_s(5.0) == 0.0
    link.spend(2_000, 5.0)
    assert link.wait_s(5.0) == 2.0
    assert link.wait_s(6.5) == 0.5
    assert link.wait_s(7.0) == 0.0
    # A link that was idle has saved nothing up.
    link.spend(500, 100.0)
    assert link.wait_s(100.0) == 0.5


def test_a_batch_waits_for_its_link(notary: Notary, gate: MemoryGateway) -> None:
    made = notary.peer()
    limited = replace(made, config=replace(made.config, bytes_s_max=1_000))
    one = forwarder(gate, limited)
    one._segments_max = 1
    assert one.turn() == 0.0
    assert one.cursor == 1
    wait_s = one.turn()
    assert wait_s > 0.1
    # News are looked at, since they may be urgent; nothing else goes sooner for them.
    assert not one.backing_off
    assert one.turn() > 0.1
    assert one.cursor == 1
    one._link = Throttle(None)
    assert one.turn() == 0.0
    assert one.cursor == 2
    one.close()


@pytest.mark.parametrize(
    ("owner", "said", "sent"),
    [("acme", "", "full"), ("borealis", "", "claims"), ("borealis", 'send = "full"', "full")],
)
def test_another_organisation_gets_claims_only(
    tmp_path: Path, owner: str, said: str, sent: str
) -> None:
    key = format_root(owner, ACME.device().signer.public_key())
    text = f'[[validators]]\nname = "v"\nurl = "http://a"\nkey = "{key}"\n{said}\n'
    assert Site(tmp_path / "key", ACME, 1, validators=text).config.validators[0].send == sent
    # And by its credential.
    _, credential = Fleet(owner).member("v", SUBJECT_VALIDATOR)
    (tmp_path / "v.cbor").write_bytes(cbor.encode(list(credential)))
    text = f'[[validators]]\nname = "v"\nurl = "http://a"\ncredential = "../v.cbor"\n{said}\n'
    assert Site(tmp_path / "by", ACME, 1, validators=text).config.validators[0].send == sent
