# The recorder is loaded when its name is used, so that a part can be imported without the whole.

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.recorder import Recorder

__all__ = ["Recorder"]


def __getattr__(name: str) -> object:
    if name == "Recorder":
        from tallystick.recorder.recorder import Recorder  # noqa: PLC0415  # see above

        return Recorder
    if sys.implementation.name == "micropython" and name[0] != "_":
        # CPython looks for a module by itself when this raises; MicroPython does not.
        return __import__("tallystick.recorder." + name, None, None, (name,))
    raise AttributeError(name)
