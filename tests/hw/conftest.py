"""Fixtures of the tests of keys."""

from collections.abc import Iterator

import pytest

from support import swtpm
from support.tokens import PIN
from tallystick.hw import _pkcs11_module as modules
from tallystick.tools.softhsm import SoftHsm
from tallystick.tools.swtpm import Swtpm


@pytest.fixture
def token(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftHsm]:
    """A folder with a real PKCS#11 token named `robot`."""
    monkeypatch.delenv("TALLY_PIN", raising=False)
    softhsm.make("robot", PIN)
    yield softhsm
    # Whatever a test opened it has closed, or the library would go on with this test's token.
    left = list(modules._modules.values())
    for module in left:
        module.users = 1
        modules.release(module)
    assert not left


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    """A TPM of a file's own."""
    yield from swtpm.running(tmp_path_factory.mktemp("tpm"))


@pytest.fixture
def own_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    """A TPM that the test may kill, pause, or lock."""
    yield from swtpm.running(tmp_path_factory.mktemp("own"), certified=False)
