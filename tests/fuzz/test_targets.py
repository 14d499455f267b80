"""Every fuzz target, run by hypothesis: on any bytes, and on seeds cut about or changed inside.

A target is a file `fuzz_<parser>.py` beside this one. Its docstring is its invariant, in one
sentence; `SEEDS` are inputs that reach deep; `target(data)` raises where the invariant breaks.
"""

import importlib.util
import os
import re
from pathlib import Path
from random import Random, randrange
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.mutants import mutant
from tallystick.evidence import cbor

EXAMPLES = 300
CHANGED = 600
# In CI the same ones come every time.
FIRST = 0 if os.environ.get("CI") else randrange(1 << 32)
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


def cut_about(data: bytes, random: Random) -> bytes:
    """Bits flipped, and pieces taken out, put in or said twice, in one to four places."""
    made = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(made))
        what = random.choice(("flip", "cut", "insert", "repeat"))
        if what == "flip" and at < len(made):
            made[at] ^= 1 << random.randrange(8)
        elif what == "cut":
            del made[at : at + random.randint(1, 8)]
        elif what == "insert":
            made[at:at] = random.randbytes(random.randint(1, 8))
        else:
            made[at:at] = made[at : at + random.randint(1, 40)]
    return bytes(made)


@pytest.mark.parametrize("fuzzed", TARGETS, ids=lambda module: module.__name__)
def test_target(fuzzed: ModuleType) -> None:
    assert fuzzed.__doc__ and fuzzed.__doc__.count("\n") == 0, "the invariant, in one sentence"
    for seed in fuzzed.SEEDS:
        fuzzed.target(seed)
    _SETTINGS(given(st.binary(max_size=300))(fuzzed.target))()
    # Not drawn by hypothesis, which takes ten times as long for each as a parser does.
    for number in range(FIRST, FIRST + CHANGED):
        for change in (cut_about, mutant):
            random = Random(number)
            data = change(random.choice(fuzzed.SEEDS), random)
            try:
                fuzzed.target(data)
            except BaseException:
                print(f"by {change.__name__} with Random({number}): {data.hex()}")
                raise


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
