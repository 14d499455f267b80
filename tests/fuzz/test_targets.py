"""Every fuzz target, run by hypothesis: on any bytes, and on seeds cut about or changed inside.

A target is a file `fuzz_<parser>.py` beside this one. Its docstring is its invariant, in one
sentence; `SEEDS` are inputs that reach deep; `target(data)` raises where the invariant breaks.
"""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.mutants import mutant
from tallystick.evidence import cbor

EXAMPLES = 300
_SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TARGETS = [_load(path) for path in sorted(Path(__file__).parent.glob("fuzz_*.py"))]


@st.composite
def _mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from(("flip", "cut", "insert", "repeat")))
        if what == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif what == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


@st.composite
def _changed_inside(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    return mutant(draw(st.sampled_from(seeds)), draw(st.randoms(use_true_random=False)))


@pytest.mark.parametrize("fuzzed", TARGETS, ids=lambda module: module.__name__)
def test_target(fuzzed: ModuleType) -> None:
    assert fuzzed.__doc__ and fuzzed.__doc__.count("\n") == 0, "the invariant, in one sentence"
    for seed in fuzzed.SEEDS:
        fuzzed.target(seed)
    _SETTINGS(given(st.binary(max_size=300))(fuzzed.target))()
    _SETTINGS(given(_mutated(tuple(fuzzed.SEEDS)))(fuzzed.target))()
    _SETTINGS(given(_changed_inside(tuple(fuzzed.SEEDS)))(fuzzed.target))()


# Parsers whose bytes the target of another one reads.
READ_BY = {
    "accepted.parse": "record.parse",
    "claim.parse": "record.parse",
    "decision.parse": "record.parse",
    "event.parse": "record.parse",
    "statement.parse": "checkpoint.parse",
    "note.split": "note.parse",
}
PARSERS = re.compile(r"^def (parse\w*|decode|split|from_(?:text|b64u|cose_key))\(", re.MULTILINE)


def test_every_parser_of_the_evidence_has_a_target() -> None:
    targets = "".join(Path(str(module.__file__)).read_text() for module in TARGETS)
    evidence = Path(cbor.__file__).parent
    for path in sorted(evidence.glob("*.py")):
        for name in PARSERS.findall(path.read_text()):
            wanted = f"{path.stem}.{name}"
            called = READ_BY.get(wanted, wanted)
            # By the module's name, or by its own where that is not `parse`.
            spelt = rf"\b{called}\(" + ("" if name == "parse" else rf"|\b{name}\(")
            assert re.search(spelt, targets), wanted
