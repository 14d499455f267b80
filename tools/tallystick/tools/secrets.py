"""PINs and passphrases for commands: from --pin-file, from TALLY_PIN, or asked on the terminal."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tallystick.hw import secret

if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets

F = TypeVar("F", bound=Callable[..., Any])


def pin_file_option(command: F) -> F:
    """Give a command --pin-file, as the argument `pin_file`."""
    return click.option(
        "--pin-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A file (mode 0600) with the key's PIN or passphrase; else TALLY_PIN, else you are "
        "asked on the terminal.",
    )(command)


def seal_option(command: F) -> F:
    """Give a command --seal, as the argument `seal`."""
    return click.option(
        "--seal",
        is_flag=True,
        help="Encrypt a new file: key with a passphrase, asked for as a PIN is; --pin-file does "
        "so too.",
    )(command)


def secrets(pin_file: Path | None = None, *, new: bool = False) -> "Secrets":
    """What a driver asks for a PIN or passphrase.

    new: it is being chosen, so on a terminal it is asked for twice.
    """

    def answer(what: str) -> str | None:
        if pin_file is not None:
            return secret.read_secret(str(pin_file))
        kept = secret.from_environment()
        if kept is not None:
            return kept
        # A script without a terminal gets the driver's own error, which says what is missing.
        return _prompt(what, new=new) if sys.stdin.isatty() else None

    return answer


def ask(what: str) -> str | None:
    """A PIN or passphrase from TALLY_PIN, else from the terminal; None where there is neither."""
    return secrets()(what)


def of_root(pin_file: Path | None = None, *, new: bool = False) -> "Secrets":
    """For a fleet's root key: its own places first, which are never a member's.

    `pin_file`; systemd's credential `root_pin`; TALLY_ROOT_PIN; TALLY_PIN; the terminal.
    """
    known = secret.service_secrets("root", None if pin_file is None else str(pin_file))

    def answer(what: str) -> str | None:
        found = known(what)
        return found if found is not None else secrets(new=new)(f"the fleet root ({what})")

    return answer


def for_new_key(uri: str, pin_file: Path | None = None, *, seal: bool = False) -> "Secrets | None":
    """Secrets for Signer.create: a key file is sealed only where that was asked for.

    Hardware needs its PIN in any case; a robot's key file has to open without anybody there.
    """
    if not uri.startswith("file:"):
        return secrets(pin_file)
    return secrets(pin_file, new=True) if seal or pin_file is not None else None


def say_if_open(uri: str, ask: "Secrets | None", how: str) -> None:
    """Tell whoever makes a key file without a passphrase that it is open, and `how` to seal it."""
    path = uri.removeprefix("file:")
    if path != uri and ask is None:
        click.echo(f"{path} lies open: whoever reads it has the key; {how}", err=True)


def _prompt(what: str, *, new: bool) -> str:
    # To standard error, so that a command's output can be a file's content.
    text: str = click.prompt(
        f"PIN or passphrase of {what}", hide_input=True, err=True, confirmation_prompt=new
    )
    return secret.plain(text, "the terminal")
