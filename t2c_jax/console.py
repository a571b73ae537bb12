"""What people read: Rich on standard error. (Programs read standard output, where only a command's result goes.)"""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from pygments.lexer import Lexer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

_Item = TypeVar("_Item")

# Not through Jupyter's display, which is for results: what people read about progress is on standard error there too.
console = Console(stderr=True, highlight=False, force_jupyter=False)


def mute() -> None:
    """Prints nothing from now on: in a run of several processes only the first one does."""
    console.quiet = True


def say(message: str) -> None:
    """Prints one line."""
    console.print(message, markup=False, soft_wrap=True)


def say_in_handler(message: str) -> None:
    """Prints one line from a signal handler.

    It may have interrupted another print, and a buffered file refuses a second one within it.
    """
    if not console.quiet:
        line = f"\n{message}\n" if console.is_terminal else f"{message}\n"  # a terminal's line may hold a progress bar
        os.write(console.file.fileno(), line.encode("utf-8", "replace"))


def warn(message: str) -> None:
    """Prints one line about something that is odd but no error."""
    console.print(Text("warning: ", style="yellow").append(message, style="default"), soft_wrap=True)


def rule(title: str) -> None:
    """Prints a line across, with the title of a stage."""
    console.rule(Text(title, style="bold"), align="left", characters="-" if not console.is_terminal else "─")


def code(text: str, source: str, lexer: Lexer) -> None:
    """Prints a prompt and the code that answers it, highlighted on a terminal."""
    console.print(Text(text.strip(), style="italic"))
    console.print(_highlighted(source, lexer))
    console.print()


def print_code(source: str, lexer: Lexer) -> None:
    """Prints code on standard output, highlighted if that is a terminal."""
    Console(highlight=False).print(_highlighted(source, lexer))


def print_title(text: str) -> None:
    """Prints the title of what follows on standard output, fainter if that is a terminal."""
    Console(highlight=False).print(Text(text, style="dim"))


def _highlighted(source: str, lexer: Lexer) -> Syntax:
    return Syntax(source, lexer, theme="ansi_dark", background_color="default", word_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table; the first column is aligned to the left, the others to the right."""
    grid = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
    console.print(grid)


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(_rate(speed) if speed else "")


def _rate(per_second: float) -> str:
    return f"{per_second:,.1f}/s" if per_second < 10 else f"{per_second:,.0f}/s"


class Bar:
    """A progress bar; in a pipe, a line at every tenth of the way with the rate and the time left."""

    def __init__(self, progress: Progress | None, title: str, total: int | None, done: int) -> None:
        self._progress, self._title, self._total = progress, title, total
        self._done, self._note = done, ""
        self._tenths = done * 10 // total if total else 0  # of the last line
        self._started, self._done_before = time.monotonic(), done
        self._task = progress.add_task(title, total=total, completed=done, note="") if progress else None

    def note(self, text: str) -> None:
        """Shows ``text`` at the end of the line from now on."""
        self._note = text
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, note=text)

    def advance(self, count: int = 1) -> None:
        """Adds ``count`` finished units."""
        self._done += count
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, count)
        elif self._total and self._done * 10 // self._total > self._tenths:
            self._tenths = self._done * 10 // self._total
            say(self._line(self._total))

    def _line(self, total: int) -> str:
        parts = [f"{self._title}: {self._done:,}/{total:,}"]
        if (seconds := time.monotonic() - self._started) > 0:
            rate = (self._done - self._done_before) / seconds
            left = datetime.timedelta(seconds=round((total - self._done) / rate))
            parts += [_rate(rate), f"{left} left"] if self._done < total else [_rate(rate)]
        return "  ".join([*parts, self._note] if self._note else parts)


def advancing(bar: Bar, items: Iterable[_Item]) -> Iterator[_Item]:
    """The items unchanged; the bar advances by one after each."""
    for item in items:
        yield item
        bar.advance()


@contextlib.contextmanager
def progress(title: str, total: int | None, unit: str = "", done: int = 0) -> Iterator[Bar]:
    """A progress bar with rate and time left on a terminal; in a pipe, a line with them at every tenth of the way."""
    if not console.is_terminal:
        yield Bar(None, title, total, done)
        return
    columns = [
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=console) as rich_progress:
        yield Bar(rich_progress, title, total, done)
