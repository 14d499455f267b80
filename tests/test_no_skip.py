"""CI forbids skips: here a skip of each kind is seen to fail there, and only there."""

import os
import re
import subprocess
import sys
from pathlib import Path

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


# These skip while their file is collected, which ends a run before any test of another one.
COLLECTED = ("file", "import")


def test_a_skip_of_each_kind_fails_where_it_is_forbidden(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    for kind, case in CASES.items():
        (tmp_path / f"test_{kind}.py").write_text(case)
    allowed = run(tmp_path, forbidden=False)
    assert allowed.returncode == 0 and f"{len(CASES)} skipped" in allowed.stdout
    collected = run(tmp_path, forbidden=True)
    for kind in COLLECTED:
        (tmp_path / f"test_{kind}.py").unlink()
    called = run(tmp_path, forbidden=True)
    others = [kind for kind in CASES if kind not in COLLECTED]
    for done, code, kinds in ((collected, 2, COLLECTED), (called, 1, others)):
        assert done.returncode == code
        for kind in kinds:
            assert re.search(rf"^(FAILED|ERROR) test_{kind}\.py", done.stdout, re.MULTILINE), kind
        lines = [line for line in done.stdout.splitlines() if line.startswith("skipped where")]
        assert len(lines) == len(kinds) and all("forbids it" in line for line in lines)


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "test_case.py").write_text(
        "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"
    )
    assert run(tmp_path, forbidden=True).returncode == 0
