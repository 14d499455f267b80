"""Where commands find PINs and passphrases."""

import io
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tallystick.evidence.errors import KeyDriverError
from tallystick.tools import secrets


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TALLY_PIN", raising=False)


def pin_file(folder: Path, text: str = "4711\n") -> Path:
    path = folder / "pin"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_pin_file_then_the_environment_then_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    assert secrets.ask("the token") is None  # no terminal: the driver says what is missing
    monkeypatch.setenv("TALLY_PIN", "0815")
    assert secrets.ask("the token") == "0815"
    assert secrets.secrets(pin_file(tmp_path))("the token") == "4711"
    pin_file(tmp_path).chmod(0o644)
    with pytest.raises(KeyDriverError, match="chmod 600"):
        secrets.secrets(tmp_path / "pin")("the token")


def on_terminal(typed: str, *, new: bool) -> str:
    @click.command()
    def command() -> None:
        sys.stdin.isatty = lambda: True  # type: ignore[method-assign]
        click.echo(f"got {secrets.secrets(new=new)('token robot')}")

    result = CliRunner().invoke(command, input=typed)
    return result.output


def test_a_terminal_is_asked_and_shows_nothing() -> None:
    said = on_terminal("hidden\n", new=False)
    assert "PIN or passphrase of token robot" in said
    assert said.count("hidden") == 1 and said.endswith("got hidden\n")


def test_a_new_one_is_asked_for_twice() -> None:
    assert on_terminal("one\ntwo\nsame\nsame\n", new=True).endswith("got same\n")


def test_a_key_file_is_sealed_only_where_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_PIN", "0815")
    assert secrets.for_new_key("file:key") is None
    sealed = secrets.for_new_key("file:key", seal=True)
    assert sealed is not None and sealed("x") == "0815"
    by_file = secrets.for_new_key("file:key", pin_file(tmp_path))
    assert by_file is not None and by_file("x") == "4711"
    hardware = secrets.for_new_key("pkcs11:token=t;object=o")
    assert hardware is not None and hardware("x") == "0815"
