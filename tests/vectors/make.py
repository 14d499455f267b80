"""Writes the test vectors beside this file: `python tests/vectors/make.py`.

Each is one scenario in one file, `<operation>/<scenario>.json`; README.md says how to read them.
Every key is fixed and every signature deterministic, so the same bytes come out each time, and a
test compares them. What is expected of a vector is written by hand, in tests/support/scenarios;
what an accepted one gives is computed here.
"""

import json
import sys
from itertools import chain
from pathlib import Path

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[1] / name) for name in ("firmware", "hw", "tests")]

from support import vectors  # noqa: E402  # after the path is set
from support.scenarios import (  # noqa: E402  # as above
    circle,
    cosigners,
    custodies,
    devices,
    encodings,
    erasures,
    forks,
    gateways,
    guilty,
    holding,
    identities,
    joining,
    lines,
    logs,
    records,
    verdicts,
)

PARTS = (
    *(encodings, records, devices, identities, custodies, joining),
    *(guilty, forks, gateways, lines, logs, verdicts, erasures, circle),
    *(cosigners, holding),
)


def build() -> dict[str, str]:
    """Path below this folder -> text of the file."""
    files: dict[str, str] = {}
    for told in chain.from_iterable(part.all_scenarios() for part in PARTS):
        got, gives = vectors.run(told.operation, told.given)
        if got != told.expect:
            message = f"{told.operation}/{told.name}: {told.expect} was expected, {got} came"
            raise AssertionError(message)
        vector = {
            "about": told.about,
            "section": told.section,
            "operation": told.operation,
            "given": told.given,
            "expect": told.expect,
        }
        if got == "ok":
            vector["gives"] = gives
        path = f"{told.operation}/{told.name}.json"
        if path in files:
            message = f"two scenarios are called {path}"
            raise AssertionError(message)
        files[path] = json.dumps(vector, indent=1, sort_keys=False) + "\n"
    return files


def main() -> None:
    """Write every file, and take away those that no scenario makes."""
    files = build()
    for stale in set(HERE.glob("*/*.json")) - {HERE / path for path in files}:
        stale.unlink()
    for path, text in files.items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_text(text)
    print(f"{len(files)} vectors")


if __name__ == "__main__":
    main()
