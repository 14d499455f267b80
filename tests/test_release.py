"""What `make release` lists beside what package indexes know; it asks the network, no test does."""

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

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
