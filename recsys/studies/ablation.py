"""Add one lever after the other to the textbook's recipe, to see what each is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys.evaluation.measure import contender_of_model
from recsys.recommender import Recommender
from recsys.settings import TEXTBOOK
from recsys.vectors.calibrate import DEFAULTS

if TYPE_CHECKING:
    import pandas as pd

    from recsys.evaluation.measure import Contender

PLAIN: dict[str, Any] = {"calibrate": False, "ridge": 0.0, "discount": 0.0}
POPULARITY = {"epochs": DEFAULTS["epochs"], "half_life": DEFAULTS["half_life"]}
# Each line holds all that the lines above it added; only the last, which takes random walks in the
# place of the histories, is an alternative to the line before. The model itself has all levers up
# to popularity, and calibration chooses its half-life and the amount of training too.
LEVERS: dict[str, dict[str, Any]] = {
    "textbook": TEXTBOOK,
    "+ training": PLAIN | {"scoring": "cosine"},
    "+ input-output": PLAIN,
    "+ recency": PLAIN | {"half_life": DEFAULTS["half_life"]},
    "+ rarity": {"calibrate": False, "ridge": 0.0, "half_life": DEFAULTS["half_life"]},
    "+ ridge": {"calibrate": False, "half_life": DEFAULTS["half_life"]},
    "+ popularity": POPULARITY,
    "walks": POPULARITY | {"sequences": "walks"},
}


def levers(train: pd.DataFrame, params: dict[str, Any], k: int) -> dict[str, Contender]:
    """Train every model of `LEVERS`.

    Parameters
    ----------
    train : DataFrame
    params : dict
        Keywords of `Recommender`, of which seed, workers and min_rating are taken over.
    k : int
        Length of the lists.
    """
    shared = {name: params[name] for name in ("seed", "workers", "min_rating")}
    return {
        name: contender_of_model(Recommender(**given, **shared, index="exact").fit(train), k)
        for name, given in LEVERS.items()
    }
