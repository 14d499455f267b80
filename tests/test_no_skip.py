"""CI forbids skips: here a skip of each kind is seen to fail there, and only there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOKS = """
from support.no_skip import pytest_make_collect_report, pytest_runtest_makereport
"""
CASES = {
    "mark": "import pytest\n@pytest.mark.skip(reason='because')\ndef test_it(): pass\n",
    "call": "import pytest\ndef test_it(): pytest.skip('because')\n",
    "fixture": (
        "import pytest\n@pytest.fixture\ndef part(): pytest.skip('because')\n"
        "def test_it(part): pass\n"
    ),
    "file": "import pytest\npytest.skip('because', allow_module_level=True)\n",
    "import": "import pytest\npytest.importorskip('no_such_module')\n",
}


def run(folder: Path, forbidden: bool) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    environment.pop("TALLY_NO_SKIP", None)
    if forbidden:
        environment["TALLY_NO_SKIP"] = "1"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", CASES)
def test_a_skip_fails_where_it_is_forbidden(kind: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_case.py").write_text(CASES[kind])
    allowed = run(tmp_path, forbidden=False)
    assert "1 skipped" in allowed.stdout
    forbidden = run(tmp_path, forbidden=True)
    assert forbidden.returncode in {1, 2}
    assert "forbids it" in forbidden.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_case.py").write_text(
        "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"
    )
    assert run(tmp_path, forbidden=True).returncode == 0
