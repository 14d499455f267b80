# Giving heap back on a microcontroller: what was needed once is forgotten.

import gc
import sys

MICROPYTHON = sys.implementation.name == "micropython"


def preload(names: tuple[str, ...]) -> None:
    """Load these modules in this order, one close to the other."""
    if MICROPYTHON:
        for name in names:
            __import__("tallystick." + name)
        gc.collect()


def forget(names: tuple[str, ...]) -> None:
    """These modules are loaded again when they are needed again."""
    if not MICROPYTHON:
        return
    for name in names:
        name = "tallystick." + name  # noqa: PLW2901  # one meaning
        if name in sys.modules:
            del sys.modules[name]
        at = name.rfind(".")
        parent = sys.modules.get(name[:at])
        if parent is not None and hasattr(parent, name[at + 1 :]):
            delattr(parent, name[at + 1 :])
    # Now, lest what is loaded next lie between what is left: pieces are of no use.
    gc.collect()
