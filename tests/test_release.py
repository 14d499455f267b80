"""What `make release` lists beside what package indexes know; it asks the network, no test does."""

import re
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

TOP = Path(__file__).parent.parent
WEB = TOP / "gateway/tallystick/gateway/web"


def release() -> ModuleType:
    loader = SourceFileLoader("release", str(TOP / "scripts/release"))
    spec = spec_from_loader("release", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_vendored_files_are_listed_as_they_are() -> None:
    (uplot,) = release().VENDORED
    header = (WEB / "uPlot.iife.min.js").read_text()[:100]
    found = re.search(r"uPlot \(v([0-9.]+)\)", header)
    assert found is not None and uplot["version"] == found[1]
    assert uplot["properties"][0]["value"].endswith("web/uPlot.iife.min.js")
    assert "MIT License" in (WEB / "uPlot.LICENSE").read_text()
    # Nothing else there is by others.
    minified = {path.name for path in TOP.glob("*/tallystick/**/web/*.min.*")}
    assert minified == {"uPlot.iife.min.js", "uPlot.min.css"}


def test_the_list_is_in_one_order() -> None:
    known = [{"bom-ref": "z"}, {"bom-ref": "a"}]
    made = [one["bom-ref"] for one in release().add_vendored(known)]
    assert made == ["a", "uplot", "z"]


def test_all_that_users_install_is_listed_and_asked_about() -> None:
    project = msgspec.toml.decode((TOP / "pyproject.toml").read_bytes())["project"]
    ours = {"bench", "test", "dev", "all"}
    assert set(release().EXTRAS.split(",")) == set(project["optional-dependencies"]) - ours
    assert re.search(r"^release: hardware ", (TOP / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("answer", "code"), [(0, 0), (1, 1)], ids=["nothing", "something"])
def test_what_is_known_or_not_to_be_had_is_no_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int, code: int
) -> None:
    # An index that nobody reaches, and a weakness: the tool ends with 1 in both.
    script = release()
    tools, python = (tmp_path / name / "bin" / "python" for name in ("tools", "release"))
    (python.parent.parent / "lib/python3/site-packages").mkdir(parents=True)
    tools.parent.mkdir(parents=True)
    asked = tmp_path / "asked"
    program = tools.parent / "pip-audit"
    program.write_text(f'#!/bin/sh\necho "$*" >{asked}\nexit {answer}\n')
    program.chmod(0o755)
    made = tmp_path / "tallystick-1-py3-none-any.whl"
    found = {"release": python, "tools": tools}
    monkeypatch.setattr(script, "build", lambda _out: made)
    monkeypatch.setattr(script, "environment", lambda folder, *_what: found[folder.name])
    monkeypatch.setattr(script, "sbom", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["release", str(tmp_path / "dist")])
    assert script.main() == code
    assert "--strict" in asked.read_text() and "site-packages" in asked.read_text()
    monkeypatch.setattr(sys, "argv", ["release", "--no-audit", str(tmp_path / "dist")])
    asked.unlink()
    assert script.main() == 0
    assert not asked.exists()
