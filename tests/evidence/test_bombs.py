"""A11: what announces more than it has, lies deep, or is otherwise encoded: one error, no memory.

Each bomb goes alone, and inside a signature of somebody's own, to every parser that has a fuzz
target; at the doors of gateway and validator the same ones are refused in tests of their rooms.
"""

import importlib
import inspect
import pkgutil
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

import tallystick.evidence
from support.bombs import BOMBS
from support.examples import GIVER
from tallystick.evidence import cbor, cose
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import device_text

PEAK_BYTES_MAX = 64 * 1024  # beside the input; the largest head announces 2^64 - 1 items


def parsers() -> Iterator[tuple[str, Callable[[bytes], Any]]]:
    """Each `parse` and `decode` of the evidence that takes bytes and nothing else."""
    for module in pkgutil.iter_modules(tallystick.evidence.__path__, "tallystick.evidence."):
        if module.name.rpartition(".")[2].startswith("_"):
            continue
        loaded = importlib.import_module(module.name)
        for name, made in inspect.getmembers(loaded, inspect.isfunction):
            if made.__module__ != module.name or not name.startswith(("parse", "decode")):
                continue
            first, *rest = inspect.signature(made).parameters.values()
            needed = [one for one in rest if one.default is inspect.Parameter.empty]
            if first.annotation in (bytes, "bytes") and not needed:
                yield f"{module.name.rpartition('.')[2]}.{name}", made


PARSERS = dict(parsers()) | {"cbor.decode": cbor.decode}


def test_the_parsers_of_what_travels_are_among_them() -> None:
    wanted = {"batch", "segment", "checkpoint", "record", "claim", "evidencefile", "half", "hello"}
    assert {f"{name}.parse" for name in wanted} <= set(PARSERS)
    assert len(PARSERS) > 40


KEY = GIVER.public_key()
HEADER = cose.protected_header(KEY.alg, KEY.kid(), {1: "acme", 2: device_text(KEY.thumbprint())})


@cache
def signed(payload: bytes) -> bytes:
    """As a statement of ours has it: the header is right, and the signature is its signer's."""
    return cose.encode(HEADER, payload, GIVER.sign(cose.to_be_signed(HEADER, payload)))


@pytest.mark.parametrize("name", PARSERS)
def test_every_bomb_is_one_error_and_takes_no_memory(name: str) -> None:
    for what, bomb in BOMBS.items():
        # Only what is CBOR and no more takes a statement around any payload.
        for data in (bomb,) if name == "cbor.decode" else (bomb, signed(bomb)):
            tracemalloc.start()
            with pytest.raises(TallyError) as refused:
                PARSERS[name](data)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert len(refused.value.message) < 1_000, what
            assert peak < PEAK_BYTES_MAX + 8 * len(data), (what, peak)
