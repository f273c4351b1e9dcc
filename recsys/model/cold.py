"""Give items that nobody has watched vectors, predicted from their metadata.

A ridge regression learns from the items that were watched how features (genres, tags, year, words
of the title) determine all the numbers that a model holds of an item; and from those that came
later than the first events, how popular new ones are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import TextColumn, find, id_array, rows_of, take
from recsys.data.events import DAY
from recsys.errors import DataError
from recsys.search.exact import unit_length
from recsys.search.threads import one_blas_thread
from recsys.vectors.readout import log_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import pandas as pd
    from scipy.sparse import csr_matrix

    from recsys.data.events import Events
    from recsys.model.tables import Tables

# A feature counts if at least MIN_ITEMS watched items have it; the MAX_FEATURES most frequent stay.
MIN_ITEMS, MAX_FEATURES = 2, 2000
PENALTY = 100.0
# Days that an item counts as new where popularity is of all time.
EARLY = 7.0


def item_features(items: pd.DataFrame) -> list[dict[str, float]]:
    """Describe each item of a checked frame by the names and values of its features.

    Of a column of tuples (genres, tags) each entry is a feature, of a column of text (the title)
    each word. A year lies between two decades. Unknown values and other numbers are not features.

    Examples
    --------
    >>> import pandas as pd
    >>> items = pd.DataFrame(
    ...     {"item_id": [7], "title": ["Star Wars"], "genres": [("War",)], "year": [1975]}
    ... )
    >>> list(item_features(items)[0])
    ['title=star', 'title=wars', 'genres=War', 'year=1970', 'year=1980']
    """
    from recsys.data.frames.names import ITEM, YEAR

    described: list[dict[str, float]] = [{} for _ in range(len(items))]
    for name in items.columns.drop(ITEM):
        known = items[name].notna().tolist()
        for features, value, there in zip(described, items[name].tolist(), known, strict=True):
            if isinstance(value, tuple):
                features |= {f"{name}={entry}": 1.0 for entry in value}
            elif isinstance(value, str):
                features |= {f"{name}={word}": 1.0 for word in re.findall(r"\w+", value.lower())}
            elif name == YEAR and there:
                decade, years = divmod(int(value), 10)
                features[f"year={10 * decade}"] = 1 - years / 10
                features[f"year={10 * decade + 10}"] = years / 10
    return described


def feature_matrices(watched: pd.DataFrame, new: pd.DataFrame) -> tuple[csr_matrix, csr_matrix]:
    """Lay out the features that MIN_ITEMS of the watched items have, MAX_FEATURES at most.

    Of shapes (n_watched, n_features) and (n_new, n_features); a row without an entry is an item
    whose metadata do not help.
    """
    from sklearn.feature_extraction import DictVectorizer

    vectorizer = DictVectorizer()
    # A first row with a feature of its own, taken off again, since there might be no other.
    matrix = vectorizer.fit_transform([{"": 1.0}, *item_features(watched)])[1:]
    n_items = matrix.getnnz(axis=0)
    kept = np.argsort(-n_items, kind="stable")[:MAX_FEATURES]
    kept = np.sort(kept[n_items[kept] >= MIN_ITEMS])
    return matrix[:, kept], vectorizer.transform(item_features(new))[:, kept]


def regress(
    watched: csr_matrix,
    counts: npt.NDArray[np.int64],
    targets: npt.NDArray[np.floating],
    new: csr_matrix,
) -> npt.NDArray[np.float32]:
    """Predict all columns of new items by a ridge regression on their features.

    An item that was watched n times weighs n ** 0.5, since its vectors are more certain.

    Features, weights and penalty were chosen inside the first 80% of the ratings of ml-100k and
    ml-latest-small, by the recall@20 among the cold items alone: .189 and .051 of `fold-in`, where
    the mean of the 10 to 100 nearest items found at best .210 and .035 (`warm`: .259 to .193).

    Parameters
    ----------
    watched, new : csr_matrix, shapes (n_watched, n_features) and (n_new, n_features)
    counts : int64 array, shape (n_watched,)
    targets : float array, shape (n_watched, m)

    Returns
    -------
    float32 array, shape (n_new, m)

    References
    ----------
    Learning the map from attributes to factors: Gantner et al. 2010, "Learning Attribute-to-Feature
    Mappings for Cold-Start Recommendations".
    """
    from sklearn.linear_model import Ridge

    weights = np.sqrt(counts) / np.sqrt(counts).mean()
    middle = np.average(targets, axis=0, weights=weights)
    # An intercept as a feature, since scikit-learn's closed form of sparse features knows none.
    model = Ridge(alpha=PENALTY, solver="cholesky", fit_intercept=False)
    model.fit(_with_ones(watched), targets - middle, sample_weight=weights)
    return np.asarray(model.predict(_with_ones(new)) + middle, np.float32)


def _with_ones(features: csr_matrix) -> Any:
    from scipy.sparse import csr_matrix, hstack

    return hstack([features, csr_matrix(np.ones((features.shape[0], 1)))], format="csr")


def early_popularity(
    events: Events, item_ids: npt.NDArray[Any], days: float | None
) -> npt.NDArray[np.float64]:
    """Return how popular each item was when it was new, as `popularity` of the read-out counts it.

    The logarithm of its share of all events in its first days (of a week if `days` is None), less
    the mean of `log_shares`, float64 (n_items,); NaN where that is not known, since an item was
    there from the start or there are no times.
    """
    early = np.full(len(item_ids), np.nan)
    if events.times is None:
        return early
    times, span = events.times.astype(np.float64), (days or EARLY) * DAY
    rows = rows_of(take(events.sequences.item_ids), item_ids)[events.sequences.codes]
    times, rows = times[rows >= 0], rows[rows >= 0]
    first = np.full(len(item_ids), np.inf)
    np.minimum.at(first, rows, times)
    ordered, new = np.sort(times), (first > times.min() + span) & np.isfinite(first)
    n_all = np.searchsorted(ordered, first + span) - np.searchsorted(ordered, first)
    n_own = np.bincount(rows[times < first[rows] + span], minlength=len(item_ids))
    counts, recent = np.bincount(rows, minlength=len(item_ids)), None
    if days is not None:
        recent = np.bincount(rows[times >= times.max() - span], minlength=len(item_ids))
    level = log_shares(counts, recent)[counts > 0].mean()
    early[new] = np.log(n_own[new] / n_all[new]) - level
    return early


def add_cold_items(tables: Tables, items: pd.DataFrame, params: Mapping[str, Any]) -> Tables:
    """Add a checked table of items to what a model knows, see `recsys.Recommender.add_items`.

    `params` are the model's settings.
    """
    import pandas as pd

    from recsys.data.frames.items import check_items
    from recsys.data.frames.names import ITEM

    if tables.catalogue is None:
        raise DataError("nothing is known of the model's items: fit(ratings, items) first")
    ids = _match_kind(tables, id_array(items[ITEM]))
    there = [item_id for item_id in ids.tolist() if find(tables.item_ids, item_id) is not None]
    if there:
        raise DataError(f"{_name(there)} already in the model: remove_items first, or leave out")
    known = tables.catalogue.to_frame(tables.item_ids)
    learned = np.flatnonzero(~tables.is_cold)
    watched, new = feature_matrices(known.iloc[learned], items)
    blank = ids[new.getnnz(axis=1) == 0].tolist()
    if blank:
        raise DataError(
            f"{_name(blank, 'cannot be added')}: none of their genres, years, words or tags occurs "
            f"in at least {MIN_ITEMS} items with a vector"
        )
    useful = watched.getnnz(axis=1) > 0
    rows = learned[useful]
    with one_blas_thread():
        predicted = regress(watched[useful], tables.counts[rows], tables.numbers[rows], new)
        liked = tables.events.where(tables.events.liked(params["min_rating"]))
        early = early_popularity(liked, take(tables.item_ids), params["popularity_days"])[rows]
        if (then := np.isfinite(early)).any():
            features, ones = watched[useful][np.flatnonzero(then)], np.ones(then.sum(), np.int64)
            predicted[:, -1] = regress(features, ones, early[then, None], new).ravel()
    if params["scoring"] == "cosine":
        d, width = tables.vectors.shape[1], tables.readout.shape[1]
        predicted[:, -width : d - width] = unit_length(predicted[:, :d])
    everything = check_items(pd.concat([known, items.assign(**{ITEM: ids})], ignore_index=True))
    return tables.with_cold_items(ids, predicted, everything)


def _match_kind(tables: Tables, ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bring ids to the kind of the model's, or say that they are of another."""
    is_text = isinstance(tables.item_ids, TextColumn)
    if is_text != (ids.dtype == object):
        kinds = ("text", "numbers") if is_text else ("numbers", "text")
        raise DataError(f"the model's item ids are {kinds[0]}, those of the new items {kinds[1]}")
    if is_text:
        return ids
    limits = np.iinfo(tables.item_ids.dtype)
    outside = [item_id for item_id in ids.tolist() if not limits.min <= item_id <= limits.max]
    if outside:
        raise DataError(f"item id {outside[0]} does not fit the model's ids, {limits.dtype}")
    return ids.astype(limits.dtype)


def _name(ids: list[Any], verb: str = "") -> str:
    """Begin a sentence about some items with the first three of them."""
    more = f" and {len(ids) - 3:,} more" if len(ids) > 3 else ""
    shown = ", ".join(f"{item_id!r:.60}" for item_id in ids[:3])
    return f"item{'s' * (len(ids) > 1)} {shown}{more} {verb or ('is' if len(ids) == 1 else 'are')}"
