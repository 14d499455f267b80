"""How far long work is: for people at a terminal, and nothing of it for files and pipes."""

import io

import pytest
from rich.console import Console

from tallystick.tools import _progress


@pytest.mark.parametrize("terminal", [True, False])
def test_it_is_for_people_at_a_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    monkeypatch.setattr(_progress, "screen", lambda **_: console)
    with _progress.progress("messages of [a]") as told:
        told(1_234, None)
        told(2_000, 4_000)
    assert ("messages of [a]" in out.getvalue()) == terminal
    assert ("2,000 of 4,000" in out.getvalue()) == terminal
    assert terminal or not out.getvalue()
