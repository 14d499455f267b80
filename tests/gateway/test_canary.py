"""A22: canary secrets of a gateway are found nowhere: logs, page, metrics, errors, dumps, store."""

import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from click.testing import CliRunner

from support.canary import Canaries
from support.devices import Fleet
from support.site import Site
from tallystick.evidence import cbor, enrolment
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import EDDSA
from tallystick.gateway import config as configs
from tallystick.gateway import logs, pageroutes
from tallystick.gateway.service import Gateway
from tallystick.hw.signer import Signer
from tallystick.tools.main import cli

PASSPHRASE = "canary of a passphrase 2357"
PASSWORD = "canary-of-a-password-1123"
TOKEN = "canary-of-a-token-4711"
NOBODY = 9  # no broker listens there
ACME = Fleet("acme")
# Files that hold secrets because they are for that.
KEPT = ("sealed", "gateway.pin", "broker.password", "page.token")


class Sealed(Site):
    """A site whose key is sealed by a passphrase, with a broker's password and a page's token."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder,
            ACME,
            NOBODY,
            validators='username = "dock"\npassword_file = "broker.password"\n',
            limits='[page]\nbind = "127.0.0.1:0"\ntoken_file = "page.token"\n',
        )
        given = (("gateway.pin", PASSPHRASE), ("broker.password", PASSWORD), ("page.token", TOKEN))
        for name, text in given:
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        (folder / "key").unlink()
        signer: Any = Signer.create(f"file:{folder / 'sealed'}", EDDSA, lambda _: PASSPHRASE)
        enrolled = ACME.enrol(signer, enrolment.SUBJECT_GATEWAY)
        (folder / "credential.cbor").write_bytes(cbor.encode(enrolled))
        signer.close()
        text = self.path.read_text()
        self.path.write_text(
            text.replace('key = "file:key"', 'key = "file:sealed"\nkey_pin_file = "gateway.pin"')
        )
        self.canaries = Canaries(passphrase=PASSPHRASE, password=PASSWORD, token=TOKEN)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Sealed]:
    yield Sealed(tmp_path / "gateway")
    structlog.reset_defaults()


def ask(site: Sealed, http: httpx2.Client) -> None:
    for route in pageroutes.ROUTES:
        path = route.path.replace("{id}", "A" * 43)
        if "events" in path:
            continue  # without end
        for token in (TOKEN, PASSWORD):
            answer = http.get(path, headers={"Authorization": f"Bearer {token}"})
            site.canaries.hear(f"GET {path}", answer.content + str(answer.headers).encode())
            if path == "/metrics" and token == TOKEN:
                assert answer.status_code == 200


@pytest.mark.parametrize("console", [False, True], ids=["json", "console"])
def test_they_are_found_nowhere(
    site: Sealed, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, console: bool
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: console)
    logs.configure()
    hear = site.canaries.hear
    gateway = Gateway(site.config)
    stop = threading.Event()
    watch = threading.Thread(target=gateway.watch, args=(stop,), daemon=True)
    gateway.start()
    watch.start()
    try:
        assert gateway.page is not None
        with httpx2.Client(base_url=gateway.page.url, timeout=60) as http:
            ask(site, http)
        for shown in (gateway, gateway.broker, gateway.page):
            hear("repr", repr(shown) + repr(vars(shown)))
    finally:
        stop.set()
        watch.join(60)
        gateway.stop()
    hear("repr", repr(site.config) + str(site.config) + repr(site.status()))
    backup = ("gateway", "backup", "--to", str(site.folder / "copy.sqlite"))
    for command in (
        ("gateway", "check"),
        ("gateway", "status"),
        ("gateway", "status", "--json"),
        ("gateway", "quarantine", "list"),
        ("doctor",),
        ("doctor", "--json"),
        ("hold", "case-7"),
        ("hold", "--list"),
        backup,
        ("gateway", "export", "--to", str(site.folder / "exported")),
    ):
        done = CliRunner().invoke(cli, [*command, "--config", str(site.path)])
        hear(" ".join(command), done.output + repr(done.exception))
    assert (site.folder / "copy.sqlite").exists()
    assert (site.folder / "exported" / "export.json").exists()
    said = capfd.readouterr()
    hear("stdout", said.out)
    hear("stderr", said.err)
    assert said.err
    site.canaries.look(site.folder, *KEPT)
    assert any(where == "gateway.sqlite" for where, _ in site.canaries.told)
    assert site.canaries.found() == []


def test_errors_tell_none(site: Sealed) -> None:
    hear = site.canaries.hear
    (site.folder / "gateway.pin").write_text(PASSPHRASE + "x")
    with pytest.raises(TallyError) as refused:
        Gateway(site.config)
    hear("wrong", "".join(traceback.format_exception(refused.value)))
    for name in ("broker.password", "page.token", "gateway.pin"):
        kept = (site.folder / name).read_text()
        for mode, text in ((0o644, kept), (0o600, f"{kept}\n{kept}\n" * 200)):
            (site.folder / name).write_text(text)
            (site.folder / name).chmod(mode)
            try:
                Gateway(configs.load(site.path)).stop()
            except (TallyError, OSError) as error:
                hear(name, "".join(traceback.format_exception(error)) + repr(error))
            else:
                pytest.fail(f"{name} was taken with mode {mode:o}")
        (site.folder / name).write_text(kept)
        (site.folder / name).chmod(0o600)
    assert site.canaries.found() == []


CREDENTIALS = "user:canary-of-a-url-3141"
URLS = [
    ('url = "mqtt://127.0.0.1:9"', f'url = "mqtt://{CREDENTIALS}@127.0.0.1:9"'),
    ('url = "mqtt://127.0.0.1:9"', f'url = "mqtt://127.0.0.1:9/?password={CREDENTIALS}"'),
    ('url = "mqtt://127.0.0.1:9"', f'url = "{CREDENTIALS}"'),
    ("[page]", f"[[validators]]\nname='v'\nurl='https://{CREDENTIALS}@v.example'\n[page]"),
    ("[page]", f"[[validators]]\nname='v'\nurl='https://v.example/?t={CREDENTIALS}'\n[page]"),
    ("[page]", f"[[validators]]\nname='v'\nurl='{CREDENTIALS}'\n[page]"),
    ('bind = "127.0.0.1:0"', f'bind = "{CREDENTIALS}@127.0.0.1:0"'),
    ('username = "dock"', f'password = "{CREDENTIALS}"'),
    ('token_file = "page.token"', f'token = "{CREDENTIALS}"'),
    ('token_file = "page.token"', f'token_file = "page.token" "{CREDENTIALS}"'),
]


@pytest.mark.parametrize(("old", "new"), URLS)
def test_a_password_at_the_wrong_place_is_refused_and_not_repeated(
    site: Sealed, old: str, new: str
) -> None:
    text = site.path.read_text()
    assert old in text
    site.path.write_text(text.replace(old, new))
    canaries = Canaries(url=CREDENTIALS.partition(":")[2])
    for command in (("gateway", "check"), ("gateway", "status"), ("doctor",), ("gateway", "run")):
        done = CliRunner().invoke(cli, [*command, "--config", str(site.path)])
        assert done.exit_code == 1
        canaries.hear(" ".join(command), done.output + repr(done.exception))
        if done.exception is not None:
            canaries.hear("trace", "".join(traceback.format_exception(done.exception)))
    assert canaries.found() == []
