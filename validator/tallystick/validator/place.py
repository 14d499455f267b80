"""Where a validator keeps what it knows: a file, or a PostgreSQL database by its URL.

    store = "validator.sqlite"
    store = "postgresql+psycopg://tally@db.example/tally?sslmode=verify-full"

A URL may hold a password, so it is shown without one, here and in every error. Better: libpq takes
it from ~/.pgpass, PGPASSFILE or PGPASSWORD, or `?passfile=`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.evidence.errors import Malformed

if TYPE_CHECKING:
    from sqlalchemy import URL

DRIVER = "postgresql+psycopg"
URL_CHARS_MAX = 2_048
# Of libpq; what could change the meaning of a statement (`options`) is not among them.
PARAMETERS = frozenset(
    [
        "application_name",
        "channel_binding",
        "connect_timeout",
        "gssencmode",
        "host",
        "keepalives_idle",
        "passfile",
        "port",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
    ]
)


@dataclass(frozen=True)
class Server:
    """A database of PostgreSQL; one validator's log and nothing else is in it."""

    url: "URL" = field(repr=False)

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def hidden(self, text: str) -> str:
        """A driver's words without the password, on one line."""
        password = self.url.password
        if password:
            text = text.replace(str(password), "***")
        return " ".join(text.split())


Place = Path | Server


def parse_place(text: str, folder: Path) -> Place:
    """A path relative to `folder`, or a server. No error shows the text: it may hold a password."""
    if "://" not in text:
        return folder / text
    if len(text) > URL_CHARS_MAX:
        raise Malformed("too-large", "store: a URL of over 2,048 characters")
    shape = f"store: a file, or {DRIVER}://USER@HOST/DATABASE"
    if not text.startswith(f"{DRIVER}://"):
        raise Malformed("bad-value", shape)
    # Of an extra: who keeps a file, as the base install's commands know it, needs none.
    from sqlalchemy import exc, make_url  # noqa: PLC0415

    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        # The library's message repeats the URL.
        raise Malformed("bad-value", f"{shape}; this one cannot be read") from None
    if not url.database:
        raise Malformed("bad-value", f"{shape}; it names no database")
    unknown = sorted(set(url.query) - PARAMETERS)
    if unknown:
        raise Malformed(
            "bad-value", f"store: {unknown[0][:32]!r} is no parameter that is taken in its URL"
        )
    return Server(url)
