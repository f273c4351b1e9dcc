"""Know what the settings of a model may be, and what the tutorials set them to."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.vectors.item2vec import WORD2VEC, check_parameters

# What the tutorials do: skip-gram with gensim's other defaults, a plain mean of the watched items'
# vectors, and the cosine between that and the vectors of the items.
TEXTBOOK = {
    "sg": 1, "negative": 5, "vector_size": 100, "window": 5, "epochs": 5, "alpha": 0.025,
    "sample": 1e-3, "ns_exponent": 0.75, "min_count": 5, "scoring": "cosine", "calibrate": False,
    "discount": 0.0,
}  # fmt: skip


def check_settings(params: dict[str, Any]) -> None:
    """Raise ValueError for a setting that is out of range or does not go with another.

    Parameters
    ----------
    params : dict
        Every keyword of `recsys.recommender.Recommender`.
    """
    given = {name: params[name] for name in WORD2VEC}
    check_parameters({name: v for name, v in given.items() if (name, v) != ("epochs", None)})
    for name, choices in (
        ("scoring", ("input-output", "cosine")),
        ("index", ("annoy", "exact")),
        ("sequences", ("histories", "walks")),
        ("calibrate", (False, True)),
    ):
        if params[name] not in choices:
            raise ValueError(f"{name} must be one of {choices}, got {params[name]!r}")
    limits = {
        "half_life": (0.01, np.inf),
        "min_rating": (0, np.inf),
        "popularity_days": (0, np.inf),
        "discount": (-10, 10),
        "ridge": (0, np.inf),
        "p": (0.05, 20),  # the paper tries 0.25 to 4; far beyond, most steps are rejected
        "q": (0.05, 20),
    }
    for name in (*limits, "popularity_weight", "stale_popularity_weight"):
        value, (low, high) = params[name], limits.get(name, (-np.inf, np.inf))
        if value is None and name not in ("ridge", "discount", "p", "q"):
            continue
        if not isinstance(value, int | float) or not low <= value <= high or abs(value) == np.inf:
            wanted = f" from {low:g} to {high:g}".replace(" to inf", " up")
            wanted = wanted.replace(" from -inf up", "")
            raise ValueError(f"{name} must be a number{wanted}, got {value!r}")
    for name in ("min_rating", "popularity_days"):
        if params[name] == 0:
            raise ValueError(f"{name} must be above 0, got {params[name]!r}")
    if params["sequences"] != "walks" and not params["p"] == params["q"] == 1:
        raise ValueError("p and q are of random walks: use them with sequences='walks'")
    if params["hs"] and params["scoring"] != "cosine":
        raise ValueError("hs=1 trains no output vectors: use it with scoring='cosine'")
