"""Say what went wrong, or was assumed: every exception and warning, and how they show text."""

from __future__ import annotations

import logging
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

logger = logging.getLogger("recsys.data")  # what `tell` says is of data

LineOf = Callable[[int], int]
_heard: ContextVar[list[tuple[bool, str]] | None] = ContextVar("_heard", default=None)


class DataError(ValueError):
    """A ratings or items file, or a frame, cannot be used as it is."""


class DataWarning(UserWarning):
    """Something in the user's data was assumed, dropped or skipped; the message has the counts."""


class DownloadError(DataError):
    """A data set that was asked for by name cannot be had from any source."""


class ModelError(ValueError):
    """A model folder is missing, incomplete, damaged, or of another format version."""


class ReplacedError(ModelError):
    """Another process has put another model in the place of the one that was to be replaced."""


class NotFittedError(RuntimeError):
    """A model is asked for answers before `fit` or `load`."""


class _ReadableKeyError(KeyError):
    """A KeyError that prints its message as it is (a plain KeyError prints the repr)."""

    def __str__(self) -> str:
        return str(self.args[0])


class UnknownUserError(_ReadableKeyError):
    """A user id that the model has never seen."""


class UnknownItemError(_ReadableKeyError):
    """An item id or title that has no vector in the model."""


class ColdUserError(LookupError):
    """A user none of whose items has a vector, so that there is nothing to average."""


def escape(text: object) -> str:
    r"""Put any text on one line, with what cannot be seen escaped: line ends, bells, bidi marks.

    Examples
    --------
    >>> print(escape("Heat\n\x1b[31m and \u202ered"))
    Heat\n\x1b[31m and \u202ered
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else repr(c)[1:-1] for c in text
    )


def warn(text: str) -> None:
    """Give a `DataWarning` that points at the first line outside of this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "recsys":
        level, frame = level + 1, frame.f_back
    warnings.warn(text, DataWarning, stacklevel=level)


def tell(text: str, *, warning: bool = True) -> None:
    """Say what was assumed or dropped by a `DataWarning`, or how something was read by a log."""
    if (said := _heard.get()) is not None:
        said.append((warning, text))
    if warning:
        warn(text)
    else:
        logger.info("%s", text)


@contextmanager
def listening() -> Iterator[list[tuple[bool, str]]]:
    """Write down what `tell` says in this context: whether it is a warning, and the text."""
    said: list[tuple[bool, str]] = []
    token = _heard.set(said)
    try:
        yield said
    finally:
        _heard.reset(token)


def shown(value: object) -> str:
    """Show a value in a message of one line: its beginning, with what cannot be seen escaped."""
    text = str(value)
    return f"'{escape(text[:60])}'" if len(text) <= 60 else f"'{escape(text[:60])}...'"


@dataclass(frozen=True)
class Place:
    """Where a table came from, for messages: rows are counted from 1 where there is no file."""

    source: str
    line_of: LineOf | None

    def at(self, positions: Sequence[int]) -> str:
        """Name some rows, or lines of the file."""
        numbers = [self.line_of(p) if self.line_of else p + 1 for p in positions]
        word = "line" if self.line_of else "row"
        return f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"

    def error(self, bad: npt.ArrayLike, problem: str) -> DataError:
        """Make the error that names the first rows of a mask, bool (n_rows,)."""
        positions = np.flatnonzero(bad).tolist()
        more = f" and {len(positions) - 3:,} more" if len(positions) > 3 else ""
        return DataError(f"{self.source}, {self.at(positions[:3])}{more}: {problem}")
