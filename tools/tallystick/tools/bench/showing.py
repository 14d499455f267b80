"""How a bench shows that it works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress(steps: list[str]) -> Iterator[Callable[[str], None]]:
    """A bar on the terminal's error output, so that `--json` stays clean."""
    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # Drawn twice a second: the drawing must not be what is measured.
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as shown:
        bar = shown.add_task(steps[0], total=len(steps))

        def advance(step: str) -> None:
            shown.update(bar, description=step, completed=steps.index(step))

        yield advance
        shown.update(bar, completed=len(steps))
