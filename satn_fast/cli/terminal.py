"""What the person at the terminal sees while and after something runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

# Results go to standard output; everything for the eye only goes to standard error, so pipes stay clean.
output = Console()
messages = Console(stderr=True)


@contextmanager
def progress_bars(*, hidden: bool = False) -> Iterator[Progress]:
    """A group of progress bars on standard error; `hidden` where another process shows them."""
    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=messages, disable=hidden) as bars:
        yield bars


def bar(bars: Progress, description: str, total: int | None = None) -> Callable[..., None]:
    """Adds a bar; the function given back is told `(done, total, note)` as the work goes on."""
    task = bars.add_task(description, total=total, note="")

    def update(done: int, total: int, note: str = "") -> None:
        bars.update(task, completed=done, total=total, note=note)

    return update


def results(*columns: str) -> Table:
    """A table in which only the first column, the file, gives way where the terminal is narrow."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold", no_wrap=index > 0)
    return table


def warn(message: str) -> None:
    """One line on standard error."""
    messages.print(f"satn-fast: {message}", style="yellow", highlight=False, soft_wrap=True, markup=False)
