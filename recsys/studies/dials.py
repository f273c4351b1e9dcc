"""Show what each setting of the dials of `recommend` costs and brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recsys.evaluation.measure import MODEL, Contender

if TYPE_CHECKING:
    from recsys.recommender import Recommender

# The model itself, with popularity 1 and diversity 0, makes both rows of five.
SETTINGS: dict[str, dict[str, float]] = {
    "popularity 0": {"popularity": 0.0},
    "popularity 0.5": {"popularity": 0.5},
    "popularity 2": {"popularity": 2.0},
    "popularity 4": {"popularity": 4.0},
    "diversity 0.1": {"diversity": 0.1},
    "diversity 0.2": {"diversity": 0.2},
    "diversity 0.4": {"diversity": 0.4},
    "diversity 0.6": {"diversity": 0.6},
}


def turned(model: Recommender, k: int) -> dict[str, Contender]:
    """Let a model take part once for every setting, lists of k.

    Returns
    -------
    dict of name -> Contender
        The model as it is among them; all have `unit_vectors`, so that how far apart the items of a
        list are is measured too.
    """

    def contender(dials: dict[str, Any]) -> Contender:
        return Contender(
            model.items,
            lambda cases: model.rank(
                cases.histories, k, exclude=cases.watched, staleness=cases.staleness, **dials
            ),
            unit_vectors=model.tables.unit_vectors,
        )

    return {MODEL: contender({})} | {name: contender(dials) for name, dials in SETTINGS.items()}
