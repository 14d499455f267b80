"""What each module of a board's library costs: bytes of .mpy, and of heap once it is imported.

Measured on MicroPython, each module after those that it imports, so that a cost is counted once.
A name that several modules use counts for the first.
"""

import ast
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tallystick.tools import device_source
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.device_library import compiled, micropython_lib, sources
from tallystick.tools.micropython import MicroPython

HEAP_KIB = 1024
RUN_S_MAX = 240
_SCRIPT = """
import gc, sys
def used():
    gc.collect()
    gc.collect()
    return gc.mem_alloc()
for name in sys.argv[1:]:
    before = used()
    try:
        __import__(name)
    except ImportError:
        print(name, "missing")
    else:
        print(name, used() - before)
"""


@dataclass(frozen=True)
class Module:
    """heap_bytes None: the port has not what the module imports."""

    name: str
    mpy_bytes: int
    heap_bytes: int | None


def measure(found: MicroPython, folder: Path) -> list[Module]:
    """Every module of the board's library, in the order of their names; `folder` is for its use."""
    contents = {place: path.read_bytes() for place, path in sources().items()}
    trees = device_source.slim_all(contents, board=True)
    library = compiled("board-library", sources(), slim=True, board=True)
    # As on a board: /lib. MicroPython keeps each module's path in its heap.
    (folder / "lib").symlink_to(library)
    (folder / "mqtt").symlink_to(micropython_lib(board=True))
    names = in_order({_dotted(place): text.decode() for place, text in trees.items()})
    (folder / "costs.py").write_text(_SCRIPT)
    done = found.run(
        "costs.py",
        *names,
        heap=f"{HEAP_KIB}k",
        path=[Path("lib"), Path("mqtt")],
        cwd=folder,
        timeout_s=RUN_S_MAX,
    )
    if done.returncode:
        raise BenchFailed("bench-failed", f"the modules did not load: {_last(done)}")
    heap = dict(map(str.split, done.stdout.splitlines()))
    places = {_dotted(place): place for place in trees}
    return [
        Module(
            name.removeprefix("tallystick."),
            (library / places[name]).with_suffix(".mpy").stat().st_size,
            # A table that grew elsewhere may have been given back meanwhile.
            None if heap[name] == "missing" else max(int(heap[name]), 0),
        )
        for name in sorted(names)
    ]


def _last(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]


def _dotted(place: str) -> str:
    return place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def in_order(modules: dict[str, str]) -> list[str]:
    """Names of modules (to source), each after those that it imports while it is made."""
    found: dict[str, None] = {}
    begun: set[str] = set()

    def add(name: str) -> None:
        if name in begun or name not in modules:
            return
        begun.add(name)
        package = name.rpartition(".")[0]
        add(package)
        for node in ast.parse(modules[name]).body:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    add(f"{node.module}.{alias.name}")
                add(node.module or "")
        found[name] = None

    for name in sorted(modules):
        add(name)
    return list(found)
