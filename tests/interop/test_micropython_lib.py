"""micropython-lib's cbor2, on real MicroPython, reads what the device writes untagged.

No package client that this project may use brings micropython-lib's cbor2 (CONTRIBUTING.md says
what was tried), so the test is there only where its folder is named:

    TALLYSTICK_MICROPYTHON_LIB=~/micropython-lib/python-ecosys/cbor2 make test
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support import examples as ex
from tallystick.evidence import cbor, cose
from tallystick.evidence.number import Dec
from tallystick.tools.micropython import MicroPython

FOLDER = os.environ.get("TALLYSTICK_MICROPYTHON_LIB")
# It decodes each line of a file of hexadecimal and writes values as text that JSON can hold.
PROGRAM = """
import sys, json, binascii, cbor2
def plain(value):
    if isinstance(value, (bytes, bytearray)):
        return "h:" + binascii.hexlify(value).decode()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
for line in open(sys.argv[1]):
    print(json.dumps(plain(cbor2.loads(binascii.unhexlify(line.strip())))))
"""


def tagged(value: Any) -> bool:
    """Whether a decimal fraction, which is tag 4, stands anywhere in it."""
    if isinstance(value, dict):
        return any(map(tagged, value.values()))
    return isinstance(value, Dec) or (isinstance(value, list) and any(map(tagged, value)))


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "h:" + value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def untagged() -> list[bytes]:
    """Every example, and of signed ones the protected header and the payload."""
    found = []
    for example in ex.everything():
        if example.signed:
            parsed = cose.parse(example.data, 1 << 24)
            found += [parsed.protected, parsed.payload or b"\xf6"]
        else:
            found.append(example.data)
    return [data for data in found if data and not tagged(cbor.decode(data))]


if FOLDER is not None:

    @pytest.mark.parametrize("bits", [64, 32])
    def test_its_cbor2_reads_what_we_write(
        bits: int, request: pytest.FixtureRequest, tmp_path: Path
    ) -> None:
        micropython: MicroPython = request.getfixturevalue(f"micropython{bits}")
        encodings = untagged()
        assert len(encodings) > 20
        lines = tmp_path / "encodings"
        lines.write_text("\n".join(data.hex() for data in encodings) + "\n")
        (tmp_path / "read_back.py").write_text(PROGRAM)
        done = micropython.run(
            str(tmp_path / "read_back.py"), str(lines), path=[Path(str(FOLDER)).expanduser()]
        )
        read = [json.loads(line) for line in done.stdout.splitlines()]
        assert read == [plain(cbor.decode(data)) for data in encodings]
