"""One board on the bench for a file of tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from powercut.bench import Bench, Site, make_site
from tallystick.tools.micropython import MicroPython


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def bench(
    tmp_path_factory: pytest.TempPathFactory,
    site: Site,
    micropython64: MicroPython,
    device_library: Path,
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with Bench(micropython64, device_library, folder, site) as running:
        yield running
