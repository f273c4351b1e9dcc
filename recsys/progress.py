"""Show one progress bar for the whole of a long call, with the time that is left.

`whole` opens a bar at the top of `fit`, `evaluate` or `tune`; inside another one it is a part of
that. `part` and `each` say which share of the work is done when they end, from outside inwards.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

# Nothing is shown of what takes less than DELAY seconds; without a terminal, a line every MINUTE.
DELAY, MINUTE = 2.0, 60.0
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed} so far, {remaining} left"


@dataclass(frozen=True)
class Span:
    """A part of a bar, from one share of all work to another."""

    bar: _Bar
    start: float
    end: float

    def at(self, share: float) -> None:
        """Say that this share of the part is done; from any thread."""
        self.bar.move(self.start + share * (self.end - self.start))


_here: ContextVar[Span | None] = ContextVar("recsys_progress", default=None)


@contextmanager
def whole(name: str) -> Iterator[None]:
    """Show a bar while the block runs, unless one is there: then the block is the rest of that."""
    if _here.get() is not None:
        with part(1.0):
            yield
        return
    bar = _Bar(name)
    span = Span(bar, 0.0, 1.0)
    try:
        with _inside(span, None):
            yield
            bar.move(1.0)
    finally:
        bar.close()


@contextmanager
def part(until: float) -> Iterator[Span | None]:
    """Take the bar to this share of the part around the block; None where no bar is."""
    outer = _here.get()
    if outer is None:
        yield None
        return
    end = outer.start + until * (outer.end - outer.start)
    span = Span(outer.bar, min(outer.bar.done, end), end)
    with _inside(span, outer):
        yield span
        span.at(1.0)


@contextmanager
def _inside(span: Span, outer: Span | None) -> Iterator[None]:
    _here.set(span)
    try:
        yield
    finally:
        if _here.get() is span:  # else a generator ends after what it was in
            _here.set(outer)


def each(things: Iterable[T], total: int | None = None) -> Iterator[T]:
    """Go through things that take equally long, `total` of them if they have no length."""
    total = len(things) if isinstance(things, Sized) else total
    for number, thing in enumerate(things, start=1):
        with part(min(1.0, number / max(1, total or number))):
            yield thing


class _Bar:
    """What is shown: a bar on a terminal or in a notebook, a line a minute elsewhere.

    Nothing with the environment variable TQDM_DISABLE, which tqdm itself overlooks in notebooks.
    """

    def __init__(self, name: str) -> None:
        self.name, self.done = name, 0.0
        self.started = self._said = time.monotonic()
        self._bar: Any = None

    def move(self, done: float) -> None:
        now = time.monotonic()
        self.done = max(self.done, min(done, 1.0))
        if now - self.started < DELAY or os.environ.get("TQDM_DISABLE"):
            return
        if self._bar is None and self.done < 1:
            self._bar = _open(self.name, now - self.started)
        if self._bar:
            self._bar.update(self.done - self._bar.n)
        elif now - self._said >= MINUTE and self.done < 1:
            self._said, passed = now, now - self.started
            left = f"{clock(passed / self.done - passed)} left" if self.done else "beginning"
            line = f"{self.name}: {self.done:.0%}, {clock(passed)} so far, {left}"
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar:
            self._bar.close()


def _open(name: str, passed: float) -> Any:
    """Open a bar for work that began some seconds ago; False where none can be shown."""
    with warnings.catch_warnings():  # in a notebook without ipywidgets
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    from tqdm.std import tqdm as on_terminal

    notebook = tqdm.__mro__[1] is not on_terminal
    if not notebook and not sys.stderr.isatty():
        return False
    # With a delay, tqdm shows nothing before the first move; without `miniters`, too few of them.
    look = {"bar_format": FORMAT, "smoothing": 0, "leave": False, "delay": 1e-9, "miniters": 0}
    bar = tqdm(total=1.0, desc=name, **look)
    bar.start_t -= passed
    return bar


def clock(seconds: float) -> str:
    """Write seconds as 1:05 or 1:00:05.

    Examples
    --------
    >>> clock(65), clock(3605.4)
    ('1:05', '1:00:05')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
