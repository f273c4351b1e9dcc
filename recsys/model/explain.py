"""Split scores exactly: what each watched item contributes, and what popularity does.

The user vector is a weighted sum and the score an inner product, so each part of the user vector
has its own part of the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import take

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from recsys.model.tables import Tables

    Rows = npt.NDArray[np.integer[Any]]
    # The rows that averages are made of, and what each weighs in the user vector and in the average
    # of audience vectors: below 0 if it is disliked.
    Taste = tuple[Rows, npt.NDArray[np.float32], npt.NDArray[np.float32]]


def split_scores(
    tables: Tables, taste: Taste, rows: Rows, popularity_weight: float, *, cosine: bool
) -> tuple[Rows, npt.NDArray[np.float64]]:
    """Split the scores of some rows, (n,), for a taste; `cosine` tells whether they are cosines.

    As the weights of a taste sum to what its query holds for the level of an item, the level is a
    part of what each watched item says.

    Returns
    -------
    speakers : integer array, shape (m,)
        The items of the taste, each once.
    parts : float64 array, shape (n, m + 1)
        What each of them says of each row; the last column is popularity. A row sums to the score.
    """
    watched, weights, shares = taste[0], taste[1].astype(np.float64), taste[2]
    vectors = tables.vectors[watched].astype(np.float64)
    if cosine:
        weights = weights / np.linalg.norm(weights @ vectors)
    readout = tables.readout[rows].astype(np.float64)
    d, popularity = vectors.shape[1], readout[:, -1]
    answers, levels, to_audience = readout[:, :d], readout[:, d], readout[:, d + 1 : -1]
    said = weights * (answers @ vectors.T + levels[:, None])
    said += shares * (to_audience @ tables.answering[watched].T.astype(np.float64))
    speakers, which = np.unique(watched, return_inverse=True)
    parts = np.zeros((len(rows), len(speakers) + 1))
    np.add.at(parts.T, which, said.T)
    parts[:, -1] = popularity_weight * popularity
    return speakers, parts


def explain_score(
    tables: Tables, taste: Taste, item_id: Any, popularity_weight: float, *, cosine: bool
) -> pd.DataFrame:
    """Lay the parts of one score out as a frame, see `Recommender.explain`."""
    import pandas as pd

    row = np.array([tables.item_row(item_id)])
    speakers, parts = split_scores(tables, taste, row, popularity_weight, cosine=cosine)
    ids = [*take(tables.item_ids, speakers).tolist(), None]
    titles = [None if tables.titles is None else tables.titles[one] for one in speakers.tolist()]
    shown = pd.DataFrame({"item_id": ids, "title": [*titles, "(popularity)"]}, dtype=object)
    total = np.abs(parts[0]).sum() or 1.0
    shown = shown.assign(contribution=parts[0], share=parts[0] / total)
    order = np.argsort(-np.abs(parts[0]), kind="stable")
    return shown.iloc[order].reset_index(drop=True)


def give_reasons(
    tables: Tables, taste: Taste, rows: Rows, popularity_weight: float, *, cosine: bool
) -> list[str]:
    """Name for each item the two that speak most for it, and popularity where it says more."""
    speakers, parts = split_scores(tables, taste, rows, popularity_weight, cosine=cosine)
    parts[:, :-1][:, np.isin(speakers, taste[0][taste[1] < 0])] = 0  # disliked is no reason
    names = [
        (tables.titles[row] if tables.titles is not None else "") or str(item_id)
        for row, item_id in zip(speakers.tolist(), take(tables.item_ids, speakers), strict=True)
    ]
    reasons = []
    for said in parts:
        best = np.argsort(-said[:-1], kind="stable")[:2]
        chosen = " and ".join(names[place] for place in best if said[place] > 0)
        reason = f"because you watched {chosen}" if chosen else ""
        if said[-1] > np.maximum(said[:-1], 0).sum():
            reason = f"popular now; {reason}" if chosen else "popular now"
        reasons.append(reason or "nearest to what you watched")
    return reasons
