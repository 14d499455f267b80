"""Who reads which bodies: tokens with scopes; a denied read tells nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.devices import Fleet
from support.validating import OPERATOR, TOKEN, Gateway, compress, handover, load, write_config
from tallystick.evidence import evidencefile
from tallystick.evidence.checkpoint import parse as parse_head
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import b64u, device_text
from tallystick.validator import check as checks
from tallystick.validator import config as configs
from tallystick.validator.service import Service

ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}


def token(name: str) -> str:
    return f"the-long-token-of-{name}"


def readers(device: str, interaction: str) -> str:
    """Tables of readers, each with another scope."""
    scopes = {
        "acme": 'fleets = ["acme"]',
        "pair": 'fleets = ["acme"]\ncounterparts = true',
        "one": f'devices = ["{device}"]',
        "dock": 'namespaces = ["dock-3"]',
        "task": f'interactions = ["dock-3/{interaction}"]',
        "nobody": 'fleets = ["carthago"]',
    }
    return "".join(
        f'\n[readers.{name}]\ntoken = "{token(name)}"\n{scope}\n' for name, scope in scopes.items()
    )


class World:
    """acme's giver and borealis' receiver handed over once; then acme's giver waits alone."""

    def __init__(self, folder: Path) -> None:
        acme, borealis = Fleet("acme"), Fleet("borealis")
        self.giver, self.receiver = acme.device("a"), borealis.device("b")
        self.giver.decision(action="secret")
        handover(self.giver, self.receiver, "order-1")
        handover(self.giver, self.receiver, "order-2", sides="g")
        one = next(iter(self._claims(0)))
        self.interaction, self.pending = one, next(iter(self._claims(1)))
        tables = readers(self.receiver.text, self.interaction)
        self.service = Service(load(folder, [acme, borealis], tables=tables))
        self.http = httpx2.Client(base_url=self.service.start(), timeout=20)
        for fleet, device in ((acme, self.giver), (borealis, self.receiver)):
            gateway = Gateway(fleet)
            gateway.take(*device.segments())
            data = gateway.batch(devices=[self.giver, self.receiver])
            answer = self.http.post("/v1/batches", content=compress(data), headers=ZSTD)
            assert answer.status_code == 200, answer.text
        while self.http.get("/v1/status").json()["states"].get("matched") != 1:
            pass

    def _claims(self, nth: int) -> Iterator[str]:
        from tallystick.evidence import claim

        claims = [r for s in self.giver.stretches for r in s.records if r[1] == 1]
        yield b64u(claim.parse(claims[nth]).interaction_id())

    def get(self, path: str, name: str | None) -> httpx2.Response:
        headers = {} if name is None else {"Authorization": f"Bearer {token(name)}"}
        return self.http.get(path, headers=headers)

    def makers(self, name: str) -> set[bytes] | int:
        """Whose claims a reader gets of the handover, or the status that it is answered."""
        answer = self.get(f"/v1/evidence/dock-3/{self.interaction}", name)
        if answer.status_code != 200:
            return answer.status_code
        file = evidencefile.parse(answer.content)
        assert sum(entry[:2] == b"\x87\x12" for entry, _ in file.entries) == 2
        return {parse_head(half.checkpoint).device for half in file.halves}

    def close(self) -> None:
        self.http.close()
        self.service.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("scopes") / "validator")
    yield made
    made.close()


def test_a_reader_gets_the_bodies_of_its_scope(world: World) -> None:
    giver, receiver = world.giver.id, world.receiver.id
    both = {giver, receiver}
    got = {name: world.makers(name) for name in ("acme", "pair", "one", "dock", "task", "nobody")}
    assert got == {
        "acme": {giver}, "pair": both, "one": {receiver}, "dock": both, "task": both,
        "nobody": 403,
    }  # fmt: skip
    file = evidencefile.parse(world.get(f"/v1/evidence/dock-3/{world.interaction}", "acme").content)
    assert file.note == "1 records are not disclosed: not for this reader."


def record(world: World, device: bytes, index: int) -> str:
    return f"/v1/evidence/records/{device_text(device)}/{b64u(world.giver.epoch)}/{index}"


def test_a_record_is_its_makers_or_its_interactions(world: World) -> None:
    decision, claim, theirs = (
        record(world, world.giver.id, 1),
        record(world, world.giver.id, 2),
        record(world, world.receiver.id, 1),
    )
    got = {
        name: [world.get(path, name).status_code for path in (decision, claim, theirs)]
        for name in ("acme", "pair", "one", "dock", "task", "nobody")
    }
    assert got == {
        "acme": [200, 200, 403], "pair": [200, 200, 200], "one": [403, 403, 200],
        "dock": [403, 200, 200], "task": [403, 200, 200], "nobody": [403, 403, 403],
    }  # fmt: skip


def test_a_denied_read_tells_nothing(world: World) -> None:
    nowhere = b64u(bytes(16))
    asked = [
        (f"/v1/evidence/dock-3/{world.interaction}", f"/v1/evidence/dock-3/{nowhere}", "nobody"),
        (f"/v1/evidence/dock-3/{world.pending}", f"/v1/evidence/dock-3/{nowhere}", "nobody"),
        (f"/v1/evidence/dock-3/{world.interaction}", f"/v1/evidence/dock-4/{nowhere}", "nobody"),
        (record(world, world.giver.id, 1), record(world, world.giver.id, 999), "one"),
        (record(world, world.giver.id, 1), record(world, bytes(32), 1), "one"),
        (record(world, world.giver.id, 1), record(world, world.giver.id, 999), "task"),
    ]
    for there, missing, name in asked:
        answers = [world.get(path, name) for path in (there, missing)]
        told = [
            (one.status_code, one.content, sorted(set(one.headers) - {"date"})) for one in answers
        ]
        assert told[0] == told[1], (there, name)
        assert told[0][0] == 403
    # Without a token nobody learns even that a scope exists.
    for path in (asked[0][0], asked[0][1], record(world, world.giver.id, 1)):
        for given in (None, "unknown"):
            assert world.get(path, given).status_code == 401


def test_what_only_bodies_tell_is_not_open(world: World) -> None:
    """A pending set is in no log yet: its task and parties are known from a claim's body."""

    def seen(name: str | None) -> set[str]:
        rows = world.get("/v1/interactions", name).json()["interactions"]
        return {row["interaction"] for row in rows}

    both = {world.interaction, world.pending}
    assert seen(None) == {world.interaction}
    assert seen("nobody") == {world.interaction}
    assert seen("dock") == seen("acme") == seen("one") == both
    # Nor does it tell that there is a page more.
    page = "/v1/interactions?namespace=dock-3&limit=1"
    for name in (None, "nobody"):
        answer = world.get(page, name).json()
        assert [row["interaction"] for row in answer["interactions"]] == [world.interaction]
        assert answer["next"] is None
    first = world.get(page, "acme").json()
    rest = world.get(f"{page}&after={first['next']}", "acme").json()
    assert [row["interaction"] for row in rest["interactions"]] == [world.pending]
    path = f"/v1/interactions/dock-3/{world.pending}"
    hidden = world.get(path, None)
    missing = world.get(f"/v1/interactions/dock-3/{b64u(bytes(16))}", None)
    assert (hidden.status_code, hidden.content) == (missing.status_code, missing.content)
    assert hidden.status_code == 404
    assert world.get(path, "acme").status_code == 200


def test_tokens_are_told_nowhere(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    config = world.service.config
    told = [repr(config), world.http.get("/v1/status").text, world.http.get("/openapi.json").text]
    told.append(world.get(record(world, world.giver.id, 1), "nobody").text)
    told += capsys.readouterr()
    for secret in (TOKEN, OPERATOR, token("acme"), token("nobody")):
        assert not any(secret in text for text in told)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[readers.x]\ntoken = "0123456789abcdef"\n', "readers.x: name fleets"),
        ('[readers.x]\ntoken = "short"\nfleets = ["a"]\n', "must be 16 or more"),
        (f'[readers.x]\ntoken = "{TOKEN}"\nfleets = ["a"]\n', "share a token"),
        (f'[readers.x]\ntoken = "{OPERATOR}"\nfleets = ["a"]\n', "share a token"),
        ('[readers.x]\ntoken = "0123456789abcdef"\nfleets = ["A B"]\n', "no fleet's name"),
        ('[readers.x]\ntoken = "0123456789abcdef"\ndevices = ["zz"]\n', "readers.x.devices"),
        ('[readers.x]\ntoken = "0123456789abcdef"\ninteractions = ["a"]\n', "NAMESPACE/ID"),
        ('[readers.x]\ntoken = "0123456789abcdef"\nfleet = ["a"]\n', "fleet"),
        ('[retention]\ndecisions = "30"\n', "retention.decisions"),
        ('[retention]\nclaims = "0 d"\n', "retention.claims"),
        ("[retention]\nclaims = 30\n", "claims"),
        ('[retention]\nbodies = "30 d"\n', "bodies"),
    ],
)
def test_a_wrong_setting_is_said(tmp_path: Path, table: str, says: str) -> None:
    path = write_config(tmp_path, [Fleet("acme")], tables="\n" + table)
    with pytest.raises(Malformed) as refused:
        configs.load(path)
    assert says in refused.value.message
    assert OPERATOR not in refused.value.message


def test_check_says_who_reads_what_and_for_how_long(world: World) -> None:
    found = {one.name: one.found for one in checks.check(world.service.config)}
    assert "insurer: everything; nobody: fleets carthago; " in found["readers"]
    assert "pair: fleets acme, with their counterparts" in found["readers"]
    assert f"task: interactions dock-3/{world.interaction}" in found["readers"]
    assert found["retention"] == "bodies are kept; put on hold by counsel"
    assert not any(token("acme") in text or OPERATOR in text for text in found.values())


# --- the doors of holds and erasures -----------------------------------------------------------


def operator(world: World, method: str, path: str, body: Any = None) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    return world.http.request(method, path, headers=headers, json=body)


def test_holds_are_put_listed_and_lifted(world: World) -> None:
    wanted = {"why": "claim 7", "namespace": "dock-9", "interaction": world.interaction}
    put = operator(world, "PUT", "/v1/holds/case%207", wanted)
    assert put.status_code == 200, put.text
    (row,) = put.json()["holds"]
    assert (row["name"], row["by"], row["interaction"]) == (
        "case 7", "counsel", world.interaction,
    )  # fmt: skip
    assert operator(world, "PUT", "/v1/holds/case%207", wanted).status_code == 200
    other = operator(world, "PUT", "/v1/holds/case%207", {"why": "x", "fleet": "acme"})
    assert (other.status_code, other.json()["reason"]) == (409, "already-enrolled")
    assert operator(world, "DELETE", "/v1/holds/case%207").status_code == 204
    assert operator(world, "DELETE", "/v1/holds/case%207").status_code == 404
    for name in (None, "acme", "dock"):
        assert world.get("/v1/holds", name).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {}, {"why": "x"}, {"why": "", "fleet": "acme"}, {"why": "x", "fleet": "A"},
        {"why": "x", "fleet": "acme", "namespace": "dock-3"},
        {"why": "x", "interaction": "A" * 22}, {"why": "x", "device": "A" * 42 + "B"},
        {"why": "x", "device": "A"}, {"why": "x", "fleet": "acme", "more": 1}, [], "x",
    ],
)  # fmt: skip
def test_a_hold_that_is_none_is_refused(world: World, body: Any) -> None:
    answer = operator(world, "PUT", "/v1/holds/x", body)
    assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_order_that_is_none_is_refused(world: World) -> None:
    for data, media, status in (
        (b"\0", "application/cose", 400),
        (b"\0", "application/json", 415),
        (b"\0" * 5_000, "application/cose", 413),
    ):
        answer = world.http.post("/v1/erasures", content=data, headers={"Content-Type": media})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


# --- what the page asks for --------------------------------------------------------------------


def test_claims_are_shown_within_the_scope(world: World) -> None:
    def claims(name: str | None, id_: str) -> tuple[int, set[str], int]:
        answer = world.get(f"/v1/interactions/dock-3/{id_}/claims", name)
        if answer.status_code != 200:
            return answer.status_code, set(), 0
        shown = answer.json()
        assert all(one["fields"]["item"] == "box" for one in shown["claims"])
        return 200, {one["device"] for one in shown["claims"]}, shown["withheld"]

    giver, receiver = world.giver.text, world.receiver.text
    assert {name: claims(name, world.interaction) for name in (None, "acme", "pair", "one")} == {
        None: (401, set(), 0),
        "acme": (200, {giver}, 1),
        "pair": (200, {giver, receiver}, 0),
        "one": (200, {receiver}, 1),
    }
    nowhere = b64u(bytes(16))
    assert claims("nobody", world.interaction) == claims("nobody", nowhere) == (403, set(), 0)
    found = {
        name: world.get(f"/v1/interactions/dock-3/{world.interaction}/findings", name).json()
        for name in (None, "one", "nobody")
    }
    assert [found[name]["bodies"] for name in (None, "one", "nobody")] == [False, True, False]
    assert {one["state"] for one in found[None]["findings"]} == {"matched"}
    path = f"/v1/interactions/dock-3/{world.pending}/findings"
    assert [world.get(path, name).status_code for name in (None, "nobody", "dock")] == [
        404,
        404,
        200,
    ]


def test_a_search_finds_no_more_than_the_scope(world: World) -> None:
    def found(text: str, name: str | None) -> set[str]:
        answer = world.http.get(
            "/v1/search",
            params={"q": text},
            headers={} if name is None else {"Authorization": f"Bearer {token(name)}"},
        ).json()
        return {one["interaction"] for one in answer["interactions"]}

    both = {world.interaction, world.pending}
    # An item stands in bodies only; a task's id is in the log once there is a verdict.
    assert {name: found("box", name) for name in (None, "nobody", "task", "one", "dock")} == {
        None: set(), "nobody": set(), "task": {world.interaction}, "one": {world.interaction},
        "dock": both,
    }  # fmt: skip
    assert found("order-1", None) == {world.interaction}
    assert found("order-2", None) == set()
    assert found("order-2", "acme") == {world.pending}
    assert found(world.pending, None) == set()
    for wrong in ("", "x" * 257):
        assert world.http.get("/v1/search", params={"q": wrong}).status_code == 400
    assert world.http.get("/v1/search").status_code == 400
