# Cutting a file of the journal.  MicroPython cannot shorten one, so its good part is copied.

from tallystick.recorder.files import BLOCK, Files
from tallystick.recorder.journal import CUT


def cut(files: Files, name: str, size: int) -> None:
    """Leave the first `size` bytes; bounded by the size of a file."""
    source = files.reading(name)
    handle = files.appending(CUT)
    try:
        while size:
            block = source.read(min(BLOCK, size))
            if not block:
                raise OSError(5, "the journal's file is shorter than it was")
            files.write(handle, block)
            size -= len(block)
        files.sync(handle)
    finally:
        source.close()
        handle.close()
    files.rename(CUT, name)
