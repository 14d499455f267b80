"""The package.json by which MicroPython's `mip` installs the device library.

Every address in it is relative to itself, so it serves whoever serves the folder: a web server, a
repository, a folder that mpremote reads. MicroPython's own `mip` 0.5 takes such addresses and 0.3,
which 1.25 brings, does not, so a compiled folder can have whole ones. Nothing of micropython-lib is
named: `mip` looks such names up in an index of its own.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from tallystick.tools import device_library

NAME = "package.json"


def text(files: Mapping[str, str]) -> str:
    """The file's content; `files` are paths below /lib to places relative to it."""
    urls = [[target, files[target]] for target in sorted(files)]
    lines = ",\n".join("  " + json.dumps(pair) for pair in urls)
    return f'{{"version": {json.dumps(version("tallystick"))}, "urls": [\n{lines}\n]}}\n'


def of_repository(top: Path) -> str:
    """Of the library's sources, beside a repository's folders."""
    sources = device_library.sources()
    return text({place: path.relative_to(top).as_posix() for place, path in sources.items()})


def of_folder(folder: Path, url: str = "") -> str:
    """Of all compiled modules in a folder; `url`: where it is served, for an older `mip`."""
    begin = url.rstrip("/") + "/" if url else ""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.mpy")]
    return text({name: begin + name for name in names})
