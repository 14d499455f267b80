"""`tally log`: real validators are read, followed and compared; what contradicts is proven."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from support.circle import Member, circle
from support.devices import Fleet
from support.forgedlog import START_MS, Forger
from support.site import until
from support.validating import HANDOVER, TOKEN, Gateway, handover
from tallystick.evidence import evidencefile, note
from tallystick.evidence.errors import Unverified
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.keys import b64u
from tallystick.evidence.root import format_root
from tallystick.hw.signer import Signer
from tallystick.tools import log_state
from tallystick.tools.log import log
from tallystick.verify import Policy, check, load_evidence
from tallystick.verify.witnesses import Witnesses

PROFILES = f"[profiles]\ndigests = ['{b64u(HANDOVER.digest)}']\n"


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Member]]:
    """Three validators that all heard of one handover, and two of another one."""
    fleet = Fleet("acme")
    made = circle(tmp_path_factory.mktemp("circle"), fleet, ("acme", "borealis", "civic"))
    for member in made:
        member.start()
    giver, receiver = fleet.device("a"), fleet.device("b")
    handover(giver, receiver, "order-1")
    gateway = Gateway(fleet)
    gateway.take(*giver.segments(), *receiver.segments())
    for member in made:
        assert member.post(gateway, 0, [giver, receiver]).status_code == 200
    giver.record(5)
    gateway.take(giver.segments()[-1])
    for member in made[:2]:
        assert member.post(gateway, len(gateway.items) - 1, [giver]).status_code == 200

    def settled(member: Member) -> bool:
        status = member.http.get("/v1/status").json()
        head = note.parse(member.checkpoint())
        matched = status["states"].get("matched") == 1
        return matched and head.size == status["size"] and len(head.signatures) == 3

    for member in made:
        until(lambda member=member: settled(member), "all to settle")  # type: ignore[misc]
    yield made
    for member in made:
        member.close()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(log, [str(one) for one in arguments])


def verified(*arguments: str | Path) -> dict[str, Any]:
    result = run("verify", *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def policy(folder: Path, members: list[Member], k: int, of: Member | None = None) -> Path:
    """A policy that pins the note key of one log and accepts all as witnesses."""
    keys = "".join(
        f'[[witnesses.accept]]\norganisation = "{member.name}"\nkey = "{member.note_key.text()}"\n'
        for member in members
    )
    member = of or members[0]
    key = Signer.from_uri(f"file:{member.folder / 'key'}").public_key()
    path = folder / "policy.toml"
    path.write_text(
        f'roots = ["{Fleet("acme").root_line}"]\n'
        f'[[validators.accept]]\norganisation = "{member.name}"\n'
        f'key = "{format_root(member.name, key)}"\nnote_key = "{member.note_key.text()}"\n'
        f"[witnesses]\nat_least = {k}\n{keys}"
    )
    return path


# --- verify ------------------------------------------------------------------------------------


def test_a_running_log_holds_together(members: list[Member]) -> None:
    one = members[0]
    found = verified(one.url)
    assert found["origin"] == one.note_key.name
    assert found["entries"]["claims"] == 2
    assert found["entries"]["verdicts"] == 1
    assert found["entries"]["genesis"] == 1
    assert list(found["not_checked"]) == [
        "whose log it is: its own first entry names its key (give --key or --policy)"
    ]
    pinned = verified(one.url, "--key", one.note_key.text())
    assert pinned["not_checked"] == {}
    assert pinned["key_pinned"] is True
    text = run("verify", one.url)
    assert text.exit_code == 0
    assert "entries hold together" in text.output


def test_files_are_read_as_a_server_is(members: list[Member]) -> None:
    one = members[0]
    folder = one.folder / "tiles"
    until(
        lambda: (
            (folder / "checkpoint").exists()
            and (folder / "checkpoint").read_text() == one.checkpoint()
        ),
        "the files",
    )
    over_http, of_files = verified(one.url), verified(folder)
    assert {**over_http, "log": ""} == {**of_files, "log": ""}


def test_a_policy_says_how_many_must_have_cosigned(members: list[Member], tmp_path: Path) -> None:
    one = members[0]
    two = policy(tmp_path, members, 2)
    found = verified(one.url, "--policy", two)
    assert sorted(found["cosigned"]) == ["borealis", "civic"]
    assert (
        found["limits"][-1]
        == "2 beside the log's own cannot survive one liar; 3, of which 2 cosign, can"
    )
    text = run("verify", one.url, "--policy", two)
    assert "cosigned by borealis" in text.output
    assert "note: 2 of 2 organisations beside the log's own" in text.output
    three = run("verify", one.url, "--policy", policy(tmp_path, members, 3))
    assert three.exit_code == 1
    assert "2 of the 3 organisations that the policy needs" in three.output
    # A policy with the keys of another log is one for another log.
    other = run("verify", members[1].url, "--policy", two)
    assert other.exit_code == 1
    assert "no note key of the log borealis.example/log" in other.output


def test_wrong_use_and_what_cannot_be_read(members: list[Member], tmp_path: Path) -> None:
    one, other = members[:2]
    assert run("verify", one.url, "--key", other.note_key.text()).exit_code == 1
    assert run("verify", one.url, "--key", "x").exit_code == 2
    assert run("verify", "http://127.0.0.1:1").exit_code == 3
    assert run("verify", tmp_path / "nothing").exit_code == 3
    assert run("verify").exit_code == 2
    bad = tmp_path / "bad.toml"
    bad.write_text("[witnesses]\nat_least = 1\n")
    assert run("verify", one.url, "--policy", bad).exit_code == 2
    assert run("monitor", one.url, "--once").exit_code == 2
    assert run("monitor", one.url, one.url, "--state", tmp_path / "s", "--once").exit_code == 2
    (tmp_path / "broken").write_text("{}")
    assert run("monitor", one.url, "--state", tmp_path / "broken", "--once").exit_code == 2


# --- logs that lie -----------------------------------------------------------------------------


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path / "forger")


def test_each_part_of_a_log_is_checked(forger: Forger) -> None:
    forger.times(300)
    good = forger.write("good")
    assert verified(good)["tiles"] == 3
    for number, (name, change) in enumerate(
        (
            ("tile/entries/000", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
            ("tile/entries/001.p/45", lambda data: data[:-1]),
            ("tile/0/000", lambda data: data[32:64] + data[:32] + data[64:]),
            ("tile/0/001.p/45", lambda data: data[:-32]),
            ("tile/1/000.p/1", lambda _: bytes(32)),
            ("checkpoint", lambda data: data.replace(b"\n301\n", b"\n300\n")),
        )
    ):
        path = forger.write(f"bad {number}")
        file = path / name
        file.write_bytes(change(file.read_bytes()))  # type: ignore[no-untyped-call]
        assert run("verify", path).exit_code == 1, name
    missing = forger.write("missing")
    (missing / "tile/0/001.p/45").unlink()
    assert run("verify", missing).exit_code == 3


def test_entries_that_cannot_stand_where_they_stand(forger: Forger) -> None:
    forger.times(3)
    forger.times(1, START_MS - 1)
    late = run("verify", forger.write("falling"))
    assert late.exit_code == 1
    assert "entry 4: its time" in late.output
    forger.entries[4:] = [forger.entries[0]]
    assert "entry 4: a second genesis" in run("verify", forger.write("twice")).output
    forger.entries[4:] = [b"\x00"]
    assert "unknown-kind" in run("verify", forger.write("unknown")).output


# --- monitor -----------------------------------------------------------------------------------


def followed(state: Path, *where: str | Path) -> tuple[int, dict[str, Any]]:
    result = run("monitor", *where, "--state", state, "--once", "--json", "--proofs", state.parent)
    return result.exit_code, json.loads(result.output)


def test_honest_logs_are_followed_and_agree(members: list[Member], tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    urls = [member.url for member in members]
    code, first = followed(state, *urls)
    assert (code, first["found"], first["failed"]) == (0, [], {})
    # A device that one has heard less of is no contradiction: the path between is asked for.
    assert (first["differences"], first["not_asked"]) == ([], 0)
    code, second = followed(state, *urls)
    assert code == 0
    assert all("nothing new" in says for says in second["logs"].values())
    kept = log_state.load(state)
    assert {len(one.told.heads) for one in kept.logs.values()} == {2}
    assert {len(one.told.verdicts) for one in kept.logs.values()} == {1}


# --- evidence under cosigned checkpoints ---------------------------------------------------------


def test_evidence_is_under_a_cosigned_checkpoint(members: list[Member], tmp_path: Path) -> None:
    """Offline: the file holds the checkpoint of its receipts' size, cosigned by enough."""
    one = members[0]
    (found,) = one.http.get("/v1/interactions").json()["interactions"]
    where = f"/v1/evidence/{found['namespace']}/{found['interaction']}"
    answer = one.http.get(where, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    evidence = load_evidence(answer.content)

    def asked(k: int, witnesses: list[Member]) -> Policy:
        text = policy(tmp_path, witnesses, k, one).read_text()
        return Policy.parse(
            text.replace("[witnesses]", f"[devices]\ncustody = 'software'\n{PROFILES}[witnesses]")
        )

    report = check(evidence, asked(2, members))
    assert sum("cosigned by" in detail for _, detail in report.checked) == 2
    with pytest.raises(Unverified, match=r"2 of the 3 organisations .* cosigned the log of") as no:
        check(evidence, asked(3, members))
    assert no.value.reason == "bad-policy"
    # A second witness of the log's operator is not another, also where no note key is pinned.
    mine = asked(2, members)
    log_keyless = tuple(replace(v, note_key=None) for v in mine.trust.validators)
    second = members[1].cosigner
    accepted = tuple(
        replace(row, organisation=one.name) if row.key.key == second.key else row
        for row in mine.witnesses.accept
        if row.key.key != one.cosigner.key
    )
    trust = replace(mine.trust, validators=log_keyless, witnesses=Witnesses(2, accepted))
    with pytest.raises(Unverified, match=r"1 of the 2 organisations .* cosigned the log of"):
        check(evidence, replace(mine, trust=trust))
    # Witnesses that the policy does not accept are told apart, and fulfil nothing.
    report = check(evidence, asked(0, members[:1]))
    assert any("2 other signatures on the" in what for what, _ in report.not_checked)
    # Without the checkpoint in the file nothing shows who cosigned.
    file = evidencefile.parse(answer.content)
    parts = (file.credentials, file.profiles, file.halves, file.entries, file.custody)
    file = EvidenceFile(*parts, [], file.note, file.heads, file.forks, file.proofs)
    with pytest.raises(Unverified, match="0 of the 2 organisations"):
        check(load_evidence(file.encode()), asked(2, members))
