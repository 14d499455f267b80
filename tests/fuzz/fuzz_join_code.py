"""joincode.parse returns a code whose text reads back as the same code, or raises Malformed."""

from support import joins
from tallystick.evidence import joincode
from tallystick.evidence.errors import Malformed

SEEDS = (joins.code().text().encode(), joins.code().text().upper().replace("-", " ").encode())


def target(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        got = joincode.parse(text)
    except Malformed:
        return
    again = joincode.parse(got.text())
    assert (again.text(), again.name()) == (got.text(), got.name())
    kept = [char for char in text.lower() if char not in "- \r\n\t"]
    assert kept == list(got.text().replace("-", ""))
