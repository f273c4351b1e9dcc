"""Recommend from a file of ratings or views with Item2Vec, and say honestly how well.

Names are resolved when first used: `from recsys import recommend` imports neither pandas nor
gensim, so that a script has its first recommendation in a fraction of a second.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# `python -m recsys` puts the current folder before all others: a numpy.py of somebody else there
# would be run. Where this package is imported from that folder itself, it is trusted.
_run = sys.argv[:1] == ["-m"] and " -m recsys" in " ".join(sys.orig_argv)
if _run and sys.path[:1] == [os.getcwd()] != [os.path.dirname(os.path.dirname(__file__))]:
    del sys.path[0]

if TYPE_CHECKING:
    from recsys.data.events import Events, build_sequences
    from recsys.data.load import load_items, load_ratings
    from recsys.data.sequences import Sequences, training_pairs
    from recsys.data.splits import TimeSplit, split_by_time
    from recsys.errors import (
        ColdUserError,
        DataError,
        DataWarning,
        DownloadError,
        ModelError,
        NotFittedError,
        UnknownItemError,
        UnknownUserError,
    )
    from recsys.export.lookup import LookUp
    from recsys.recommendations import Recommendation, Recommendations
    from recsys.recommender import Recommender, recommend
    from recsys.vectors.item2vec import ItemVectors, train_item2vec
    from recsys.vectors.users import user_vectors
    from recsys.vectors.walks import random_walks

_HOMES = {
    "data.events": "Events build_sequences",
    "data.load": "load_items load_ratings",
    "data.sequences": "Sequences training_pairs",
    "data.splits": "TimeSplit split_by_time",
    "errors": "ColdUserError DataError DataWarning DownloadError ModelError NotFittedError "
    "UnknownItemError UnknownUserError",
    "export.lookup": "LookUp",
    "recommendations": "Recommendation Recommendations",
    "recommender": "Recommender recommend",
    "vectors.item2vec": "ItemVectors train_item2vec",
    "vectors.users": "user_vectors",
    "vectors.walks": "random_walks",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    """Import a public name from its module at first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'recsys' has no attribute {name!r}")
    value = getattr(import_module(f"recsys.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
