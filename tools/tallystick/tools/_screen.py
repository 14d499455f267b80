"""What every command prints tables, trees and reports with."""

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

LINE_CHARS_MAX = 8_192


def screen(*, stderr: bool = False) -> Console:
    """A console; a line of a file or pipe is as long as it is, a terminal's fits its width."""
    console = Console(highlight=False, stderr=stderr)
    if not console.is_terminal:
        console.width = LINE_CHARS_MAX
    return console


def indented(console: Console, line: str) -> None:
    """Print a line two columns in; on a terminal it wraps between words and stays there."""
    if console.is_terminal:
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    else:
        console.print(Text(f"  {line}"))
