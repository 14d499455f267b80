"""A22: canary secrets of a validator are found nowhere: logs, answers, errors, dumps, its store."""

import traceback
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import structlog
from click.testing import CliRunner

from support.canary import Canaries
from support.devices import Fleet
from support.validating import Gateway, compress, handover, write_config
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import EDDSA
from tallystick.hw.signer import Signer
from tallystick.tools.main import cli
from tallystick.validator import config as configs
from tallystick.validator import logs, queries, routes
from tallystick.validator.service import Service

READER = "canary-of-a-reader-4711"
COUNSEL = "canary-of-an-operator-0815"
PASSPHRASE = "canary of a passphrase 2357"
PASSWORD = "canary-of-a-password-1123"
ZSTD = {"Content-Encoding": "zstd", "Content-Type": "application/cose"}
# Files that hold secrets because they are for that, with the mode 0600 or by the operator's choice.
KEPT = ("key", "note.key", "sealed", "pin", "validator.toml", "away.toml")


class World:
    """A validator whose note key is sealed by a passphrase, and all the secrets that it has."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet("acme")
        self.folder = folder
        folder.mkdir()
        (folder / "pin").write_text(PASSPHRASE)
        (folder / "pin").chmod(0o600)
        Signer.create(f"file:{folder / 'sealed'}", EDDSA, lambda _: PASSPHRASE).close()
        self.path = write_config(
            folder,
            [self.fleet],
            note_key='"file:sealed"',
            note_key_pin_file='"pin"',
            tiles='"tiles"',
            tables=(
                f'second = "{COUNSEL}"\n[readers.canary]\ntoken = "{READER}"\nfleets = ["acme"]\n'
            ),
        )
        away = self.path.read_text().replace(
            '"validator.sqlite"', f'"postgresql://tally:{PASSWORD}@127.0.0.1:9/tally"'
        )
        (folder / "away.toml").write_text(away)
        self.config = configs.load(self.path)
        self.canaries = Canaries(
            reader=READER,
            counsel=COUNSEL,
            passphrase=PASSPHRASE,
            password=PASSWORD,
            key=secret_of(folder / "key"),
        )


def secret_of(path: Path) -> bytes:
    """The 32 bytes of an open key file."""
    from tallystick.evidence import cbor

    *_, secret, _checksum = cbor.decode(path.read_bytes())
    assert isinstance(secret, bytes) and len(secret) == 32
    return secret


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield World(tmp_path / "validator")
    structlog.reset_defaults()


def ask(world: World, http: httpx2.Client) -> None:
    """Every route, with tokens that are right, wrong and cut."""
    filled = {
        "name": "x",
        "namespace": "dock-3",
        "id": "A" * 22,
        "device": "A" * 43,
        "tile": "0/000",
    }
    for route in routes.ROUTES:
        path = route.path
        if path == "/v1/verdicts/events":
            continue  # without end
        for name, value in filled.items():
            path = path.replace(f"{{{name}}}", value)
        for token in (READER, COUNSEL, PASSPHRASE):
            headers = {"Authorization": f"Bearer {token}"}
            answer = http.request(route.method, path, headers=headers, content=b"x")
            world.canaries.hear(f"{route.method} {path}", answer.content)
            world.canaries.hear(f"headers of {path}", str(answer.headers))


@pytest.mark.parametrize("console", [False, True], ids=["json", "console"])
def test_they_are_found_nowhere(
    world: World,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    console: bool,
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: console)
    logs.configure()
    hear = world.canaries.hear
    service = Service(world.config)
    http = httpx2.Client(base_url=service.start(), timeout=20)
    try:
        giver, receiver, gateway = (
            world.fleet.device("a"),
            world.fleet.device("b"),
            Gateway(world.fleet),
        )
        handover(giver, receiver, "order-1")
        gateway.take(*giver.segments(), *receiver.segments())
        data = compress(gateway.batch(devices=[giver, receiver]))
        assert http.post("/v1/batches", content=data, headers=ZSTD).status_code == 200
        ask(world, http)

        # A defect of ours, with secrets in the frames that it passes.
        def broken(*_: object, **__: object) -> None:
            secret = world.config.readers
            raise ZeroDivisionError(len(secret))

        with monkeypatch.context() as patched:
            patched.setattr(queries, "totals", broken)
            answer = http.get("/v1/status", headers={"Authorization": f"Bearer {READER}"})
            assert answer.status_code == 503
            hear("a defect", answer.content)
        # As a traceback that shows variables would.
        hear("repr", repr(world.config) + str(world.config))
        for shown in (service, service.sequencer, service.sequencer.keys):
            hear("repr", repr(shown) + repr(vars(shown)))
    finally:
        http.close()
        service.stop()
    said = capfd.readouterr()
    assert "ZeroDivisionError" in said.err
    hear("stdout", said.out)
    hear("stderr", said.err)
    world.canaries.look(world.folder, *KEPT)
    assert any(where.startswith("tiles/") for where, _ in world.canaries.told)
    assert world.canaries.found() == []


def test_commands_and_errors_tell_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hear = world.canaries.hear
    for name in ("validator.toml", "away.toml"):
        for command in ("check", "run"):
            if (name, command) == ("validator.toml", "run"):
                continue
            arguments = ["validator", command, "--config", str(world.folder / name)]
            done = CliRunner().invoke(cli, arguments)
            assert done.exit_code == (0 if name == "validator.toml" else 1), done.output
            hear(" ".join(arguments), done.output)
            if done.exception is not None:
                hear("exception", "".join(traceback.format_exception(done.exception)))
    # A key that its passphrase does not open, and settings that are wrong beside a secret.
    (world.folder / "pin").write_text(PASSPHRASE + "x")
    world.canaries.secrets["wrong"] = (PASSPHRASE + "x").encode()
    wrong = world.path.read_text().replace('bind = "', 'bind = 7\nbound = "')
    for path, text in ((world.path, None), (world.folder / "away.toml", wrong)):
        if text is not None:
            path.write_text(text)
        with pytest.raises(TallyError) as refused:
            Service(configs.load(path))
        hear("error", "".join(traceback.format_exception(refused.value)))
        hear("error", repr(refused.value) + refused.value.message)
    assert world.canaries.found() == []


def test_the_canaries_would_be_found(world: World) -> None:
    """In each spelling, at each place in a text."""
    import base64

    for name, secret in world.canaries.secrets.items():
        for before in range(4):
            text = b"x" * before + secret + b"yy"
            for form in (text, text.hex().encode(), base64.b64encode(text), repr(text).encode()):
                world.canaries.told = [("here", b"<" + form + b">")]
                assert (name, "here") in world.canaries.found(), (name, before, form)
            world.canaries.told = [("here", base64.urlsafe_b64encode(text).rstrip(b"="))]
            assert (name, "here") in world.canaries.found()
