# A board forgets modules to save heap.  Here thousands of boots share one process, and loading them
# again would be most of what a boot costs, so they are kept: imported before what forgets them.

from tallystick.recorder import files

Files = files.Files


def _keep(names: tuple[str, ...]) -> None:
    pass


files.forget = _keep
