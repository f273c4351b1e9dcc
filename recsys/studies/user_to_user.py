"""Do the nearest users retrieve better than items, by the same user vectors?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from recsys.evaluation.baselines import user_item_matrix
from recsys.evaluation.measure import contender_of_baseline
from recsys.evaluation.opponents import Slice
from recsys.evaluation.report import protocol_tables
from recsys.evaluation.run import Study, average_protocols
from recsys.model.fit import fit_model
from recsys.recommender import fitted
from recsys.search.exact import unit_length

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from recsys.data.sequences import Sequences
    from recsys.evaluation.baselines import Baseline, Scores
    from recsys.evaluation.measure import Measured
    from recsys.evaluation.run import Trial

NEIGHBOURS = (50, 5, 10, 20, 100, 200, 500)


def nearest_users(
    train: Sequences,
    vectors_of: Callable[[Sequences], npt.NDArray[np.float32]],
    *,
    n_neighbours: int = 50,
) -> Baseline:
    """Score by what the users with the nearest user vectors have watched.

    The `n_neighbours` users of `train` with the largest cosine vote, each with that cosine, for
    every item of theirs. `vectors_of` turns histories, none empty, into user vectors, float32
    (n_users, d).

    References
    ----------
    Resnick et al. 1994, "GroupLens: An Open Architecture for Collaborative Filtering of Netnews"
    (there the users' ratings are compared, here their vectors).
    """
    from scipy.sparse import csr_array

    train = train.take_users(np.flatnonzero(train.lengths > 0))
    watched, units = user_item_matrix(train), unit_length(vectors_of(train))
    n = min(n_neighbours, len(train))

    def score(histories: Sequences) -> Scores:
        cosines = unit_length(vectors_of(histories)) @ units.T
        nearest = np.sort(np.argpartition(-cosines, n - 1, axis=1)[:, :n], axis=1)
        votes = np.take_along_axis(cosines, nearest, axis=1)
        places = np.arange(len(histories) + 1) * n
        voters = csr_array((votes.ravel(), nearest.ravel(), places), shape=cosines.shape)
        return np.asarray((voters @ watched).toarray(), dtype=np.float32)

    return score


def measure(trial: Trial) -> dict[str, Measured]:
    """Choose the number of neighbours inside the training part, and measure their votes."""
    model, n_neighbours = fitted(trial.model), NEIGHBOURS[0]
    where = Slice.of(trial.split.train, trial.given["min_rating"])
    if where is not None:
        # One event is enough for a vector here, so that the smaller part is never without any.
        params = trial.model.params | {"min_count": 1, "index": "exact"}
        earlier = fit_model(where.train, None, params)
        vote = partial(nearest_users, where.train.sequences, earlier.pool_all)
        n_neighbours, _ = where.best_of(NEIGHBOURS, lambda n: vote(n_neighbours=n))
    item_ids = trial.model.items
    score = nearest_users(trial.known.recode(item_ids), model.pool_all, n_neighbours=n_neighbours)
    contender = contender_of_baseline(score, item_ids, trial.ks[-1], needs_history=True)
    return trial.measure({"user-to-user": contender})


TITLE = "what the users with the nearest user vectors have watched"
STUDY = Study("user-to-user", measure, average_protocols,
              lambda report: protocol_tables(report["user_to_user"], TITLE))  # fmt: skip
