"""Make lists: what the model has learned of a user, what the store holds, filters and dials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.data.columns import find
from recsys.errors import ColdUserError, DataError, UnknownUserError
from recsys.model.ask import NO_ROWS
from recsys.serving.live import as_number, is_text
from recsys.serving.store import DISLIKE

if TYPE_CHECKING:
    import numpy.typing as npt

    from recsys.model.explain import Taste
    from recsys.recommendations import Recommendations
    from recsys.serving.forms import Asked, Wanted
    from recsys.serving.live import Served

    Rows = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Known:
    """What is known of a user now, as rows of the items.

    Attributes
    ----------
    user_row : int or None
        None for a user whom the model does not know, or who is present: they have new events.
    history, disliked, seen : integer arrays
        The history is oldest first, stored events after those of the model.
    learned : list of bool
        Which of the stored events the model has learned.
    """

    user_row: int | None
    history: Rows
    disliked: Rows
    seen: Rows
    learned: list[bool]


def known_of(served: Served, user: str, stored: Sequence[Any]) -> Known:
    """Put the history in the model and the stored events together.

    `stored` has item_id, time, rating and kind of each event, oldest first. Those that the model
    has learned (the same item and second) count once; items without a vector do not count yet;
    ratings below `min_rating` are no interest, but watched.
    """
    tables, row = served.model.tables, served.user_row(user)
    history: Rows = NO_ROWS
    seen: Rows = NO_ROWS
    if row is not None:
        history, seen = tables.histories.items_of(row), tables.watched.items_of(row)
    if not stored:
        return Known(row, history, NO_ROWS, seen, [])
    learned = _learned(served, row, stored)
    lowest = served.model.params["min_rating"] or 0.0
    new: dict[str, list[int]] = {"history": [], "disliked": [], "seen": []}
    for (item, _, rating, kind), is_known in zip(stored, learned, strict=True):
        item_row = None if is_known else served.item_row(item)
        if item_row is not None:
            new["seen"].append(item_row)
            if kind == DISLIKE:
                new["disliked"].append(item_row)
            elif rating is None or rating >= lowest:
                new["history"].append(item_row)
    rows = {name: np.array(found, np.int64) for name, found in new.items()}
    return Known(
        row if all(learned) else None,
        np.concatenate([history, rows["history"]]),
        rows["disliked"],
        np.concatenate([seen, rows["seen"]]),
        learned,
    )


def _learned(served: Served, row: int | None, stored: Sequence[Any]) -> list[bool]:
    """Tell which stored events are among those that the model was given."""
    events = served.model.tables.events
    if row is None or events.times is None:
        return [False] * len(stored)
    ids, part = events.sequences.item_ids, slice(*events.sequences.offsets[row : row + 2])
    pairs = set(
        zip(events.sequences.codes[part].tolist(), events.times[part].tolist(), strict=True)
    )
    as_id = str if is_text(ids) else as_number
    return [(find(ids, as_id(item)), time) in pairs for item, time, *_ in stored]


def n_learned(served: Served, user: str) -> int:
    """Count the events of a user that the model was given."""
    row = served.user_row(user)
    return 0 if row is None else int(served.model.tables.events.sequences.lengths[row])


def ids_of(served: Served, given: Iterable[str] | None, *, split: bool = False) -> list[Any] | None:
    """Return item ids as the model has them; with `split`, "1,2" is two where it is no item."""
    if given is None:
        return None
    found: list[Any] = []
    for text in given:
        several = split and "," in text and served.item_row(text) is None
        found += [served.item(part) for part in (text.split(",") if several else (text,))]
    return found


def _allowed(served: Served, seen: Rows, wanted: Wanted) -> Any:
    block, allow = (ids_of(served, ids, split=True) for ids in (wanted.block, wanted.allow))
    try:
        return served.model.allowed(seen, block, allow, wanted.where)
    except ValueError as error:
        raise DataError(str(error)) from None


def recommend(served: Served, user: str, known: Known, wanted: Wanted) -> Recommendations:
    """Recommend to what is known of a user, by filters and dials.

    Raises
    ------
    UnknownUserError, ColdUserError
        Nothing is known of them, or nothing with a vector; and there is no fallback.
    DataError
        A filter cannot be read.
    """
    model = served.model
    seen = NO_ROWS if wanted.watched else known.seen
    allowed = _allowed(served, seen, wanted)
    if len(known.history) == 0:
        if wanted.fallback is None:
            raise _nothing_known(served, user, known)
        return model.popular(wanted.k, _all_but(served, seen) if allowed is None else allowed)
    return model.recommend(
        model.taste(known.history, NO_ROWS, known.disliked), wanted.k, seen, allowed,
        user_row=known.user_row, popularity=wanted.popularity, diversity=wanted.diversity,
        reasons=wanted.reasons,
    )  # fmt: skip


def _nothing_known(served: Served, user: str, known: Known) -> LookupError:
    hint = "post events of theirs, or ask with fallback=popularity"
    if known.learned or served.user_row(user) is not None:
        return ColdUserError(f"none of the items of user {user!r} has a vector: {hint}")
    return UnknownUserError(f"unknown user {user!r}: {hint}")


def taste_of(served: Served, asked: Asked) -> Taste:
    """Return the taste of a visitor; no weight is above 0 where no item has a vector."""
    given = (asked.history, asked.liked, asked.disliked)
    rows = (served.model.tables.item_rows(ids_of(served, ids) or ()) for ids in given)
    return served.model.taste(*rows)


def recommend_for(served: Served, taste: Taste, wanted: Wanted) -> Recommendations:
    """Recommend to a visitor, as `recsys.Recommender.recommend_for`; or what is popular."""
    model, rows, weights = served.model, *taste[:2]
    seen = NO_ROWS if wanted.watched else rows
    allowed = _allowed(served, seen, wanted)
    if not (weights > 0).any():
        if wanted.fallback is None:
            raise ColdUserError(
                "none of the items of this history has a vector: ask with fallback=popularity"
            )
        return model.popular(wanted.k, _all_but(served, seen) if allowed is None else allowed)
    return model.recommend(
        taste, wanted.k, seen, allowed, popularity=wanted.popularity,
        diversity=wanted.diversity, reasons=wanted.reasons,
    )  # fmt: skip


def _all_but(served: Served, seen: Rows) -> Any:
    return served.model.tables.allowed(seen, None, None)


def explain(served: Served, taste: Taste, item: str) -> dict[str, Any]:
    """Split an item's score for a taste into shares that sum to it."""
    item_id = served.item(item)
    frame = served.model.explain(taste, item_id, None)
    shares = frame.to_dict("records")
    score = float(frame["contribution"].sum())
    return {"item_id": item_id, "score": score, "shares": shares}


def place_of(served: Served, taste: Taste) -> list[float] | None:
    """Return the mean of the places on the map of a taste's items, weighted as in the taste.

    Items that are disliked, or not on the map, do not count; None where none is left.
    """
    places, rows, weights = served.catalogue.places, *taste[:2]
    weights = np.where(np.isnan(places[rows, 0]), 0, np.maximum(weights, 0)).astype(float)
    if not weights.any():
        return None
    point: list[float] = (weights @ np.nan_to_num(places[rows]) / weights.sum()).tolist()
    return point
