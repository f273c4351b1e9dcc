"""Answer one question a file, beside the main table of an evaluation.

A study is a file here that defines STUDY (`recsys.evaluation.run.Study`): what it measures, its key
in the report and its lines of text. Nothing else needs to know of a new one.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from recsys.evaluation.run import Study


def study_names() -> list[str]:
    """List the names of all studies: those of the files, with "-" for "_"."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find_studies(names: Iterable[str]) -> list[Study]:
    """Return studies by name, each once.

    Raises
    ------
    ValueError
        There is no study of that name.
    """
    known = study_names()
    found = []
    for name in dict.fromkeys(names):
        if name not in known:
            raise ValueError(f"no study is called {name!r}; there are {', '.join(known)}")
        found.append(import_module(f"{__name__}.{name.replace('-', '_')}").STUDY)
    return found
