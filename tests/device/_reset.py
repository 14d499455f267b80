# What a reset does to a board's heap: no module is there any more, and nothing that it held.

import gc
import sys


def reset(*helpers: str) -> None:
    """Forget the library and these helpers; the caller lets go of them, and imports them again."""
    if sys.implementation.name == "micropython":
        for name in list(sys.modules):
            if name.startswith("tallystick") or name in helpers:
                del sys.modules[name]
    gc.collect()
