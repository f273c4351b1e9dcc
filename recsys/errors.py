"""Say what went wrong: every exception of the package, in one place."""

from __future__ import annotations


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
