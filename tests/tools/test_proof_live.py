"""`tally proof` and `tally score` over HTTP, from two running validators that were lied to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from support.devices import Fleet
from support.validating import Gateway, compress, handover, load
from tallystick.evidence.keys import b64u
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.root import format_root
from tallystick.tools.main import cli
from tallystick.validator import schema
from tallystick.validator.service import Service

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}
PERIOD = ("--from", "2020-01-01", "--to", "2100-01-01")


class Site(NamedTuple):
    """Where the validators are, a policy that accepts them, and who lied."""

    urls: list[str]
    policy: Path
    services: list[Service]
    device: bytes
    gateway: bytes


def policy_of(services: list[Service], fleet: Fleet) -> str:
    lines = [f'roots = ["{fleet.root_line}"]']
    for service in services:
        keys = service.sequencer.log.keys
        note_key = NoteKey(keys.origin, keys.notes.public_key())
        lines += [
            "[[validators.accept]]",
            f'organisation = "{keys.name}"',
            f'key = "{format_root(keys.name, keys.signer.public_key())}"',
            f'note_key = "{note_key.text()}"',
        ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("live")
    fleet = Fleet("acme")
    services = [Service(load(folder / name, [fleet], owner=name)) for name in ("notary", "lab")]
    urls = [service.start() for service in services]
    giver, receiver = fleet.device("a"), fleet.device("b")
    handover(giver, receiver, "order-1")
    twin = giver.clone()
    giver.record(2)
    twin.decision("stop")
    twin.record(1)
    for url, device in zip(urls, (giver, twin), strict=True):
        # One gateway, which shows each validator another branch and another log of its own.
        gateway = Gateway(fleet)
        gateway.take(*receiver.segments(), *device.segments())
        data = gateway.batch(devices=[giver, receiver])
        answer = httpx2.post(f"{url}/v1/batches", content=compress(data), headers=ZSTD, timeout=60)
        assert answer.status_code == 200, answer.text
    policy = folder / "policy.toml"
    policy.write_text(policy_of(services, fleet))
    yield Site(urls, policy, services, giver.id, Gateway(fleet).id)
    for service in services:
        service.stop()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def test_what_two_validators_were_told_is_proven(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "proofs"
    done = run("proof", *site.urls, "--policy", site.policy, "--out", out, "--json")
    assert done.exit_code == 1, done.output
    proven = {one["proof"]: one for one in json.loads(done.output)["proven"]}
    assert proven["device fork"]["accused"] == [b64u(site.device)]
    assert proven["gateway with two stories"]["accused"] == [b64u(site.gateway)]
    for one in proven.values():
        shown = run("verify", one["file"], "--policy", site.policy, "--proof")
        assert shown.exit_code == 0, shown.output


def test_one_of_them_alone_knows_nothing(site: Site, tmp_path: Path) -> None:
    done = run("proof", site.urls[0], "--policy", site.policy, "--out", tmp_path / "none")
    assert done.exit_code == 0, done.output


def test_a_score_counts_what_was_proven(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "proofs"
    run("proof", *site.urls, "--policy", site.policy, "--out", out)
    proofs = [part for path in sorted(out.iterdir()) for part in ("--proof", path)]
    done = run("score", *site.urls, *PERIOD, "--policy", site.policy, *proofs, "--json")
    assert done.exit_code == 0, done.output
    made = json.loads(done.output)
    assert len(made["proofs"]) == len(proofs) // 2
    assert [one["origin"] for one in made["validators"]] == sorted(
        (one["origin"] for one in made["logs"]), key=len
    )


def test_two_logs_that_a_witness_was_shown_are_proven(site: Site, tmp_path: Path) -> None:
    """What validator/witness.py keeps, as it keeps it."""
    witness, accused = (service.sequencer for service in site.services)
    keys = accused.log.keys
    size = 1_000_000  # larger than what the log shows, so no whole log is needed to see it
    ours, theirs = (
        Note(keys.origin, size, bytes([at]) * 32, []).sign(keys.notes, keys.origin).text()
        for at in (1, 2)
    )
    with witness.store.write() as connection:
        row = {"origin": keys.origin, "size": size}
        known = {**row, "root": bytes(32), "note": ours, "line": None, "time_s": 1}
        connection.execute(sa.insert(schema.witnessed), known)
        view = {**row, "ours": ours, "theirs": theirs, "time_ms": 1}
        connection.execute(sa.insert(schema.split_views), view)
    out = tmp_path / "proofs"
    run("proof", *site.urls, "--policy", site.policy, "--out", out)
    (found,) = out.glob("validator-with-two-logs-*.tally")
    done = run("verify", found, "--policy", site.policy, "--proof", "--json")
    assert json.loads(done.output)["proven"][0]["accused"] == [b64u(keys.id)]
