# A board forgets modules to save heap.  Here thousands of boots share one process, and loading them
# again would be most of what a boot costs, so they are kept: imported before what forgets them.

from tallystick.recorder import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

Files = files.Files


def _keep(names: tuple[str, ...], kept: "Container[str]" = ()) -> None:
    pass


files.forget = _keep
