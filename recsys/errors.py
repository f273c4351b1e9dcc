"""Say what went wrong, or was assumed: every exception and warning, and how they show text."""

from __future__ import annotations

import sys
import unicodedata
import warnings


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
