"""How far long work is, for people: a line on standard error that goes when it is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tallystick.tools._screen import screen

# How much is done, of how much where that is known.
Told = Callable[[int, int | None], None]


@contextmanager
def progress(what: str) -> Iterator[Told]:
    """Show it on a terminal; a file, a pipe and the journal get nothing of it."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeElapsedColumn(),
    )
    console = screen(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(what, total=None, said="")

        def told(done: int, total: int | None) -> None:
            said = f"{done:,}" if total is None else f"{done:,} of {total:,}"
            bar.update(task, total=total, completed=done, said=said)

        yield told
