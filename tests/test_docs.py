"""Documentation that cannot drift: the commands' page, links, and what pages name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/**/*.md"),
        REPOSITORY / "tests/vectors/README.md",
    ]
)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def test_the_commands_page_is_made_from_help() -> None:
    script = REPOSITORY / "scripts" / "command-docs"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_shows_examples() -> None:
    sections = (REPOSITORY / "docs/commands.md").read_text().split("\n## ")[1:]
    assert len(sections) > 20
    assert [one.split("\n")[0] for one in sections if "Example" not in one] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
