"""The tables of a model: made from training, kept as columns, refused where those disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.data.columns import TextColumn, take
from recsys.data.events import Events
from recsys.errors import DataWarning, UnknownItemError
from recsys.model.catalogue import Catalogue
from recsys.model.tables import Tables
from recsys.vectors.item2vec import ItemVectors

VIEWS = pd.DataFrame({"user_id": list("bbbaac"), "item_id": [30, 10, 20, 30, 30, 20]})
ITEMS = pd.DataFrame({"item_id": [40, 30, 10], "title": ["Heat", "Alien", "Aliens"]})
# What training gives: 20 was too rare to get a vector.
TRAINED = ItemVectors(
    item_ids=np.array([10, 30]),
    vectors=np.array([[3, 4], [0, 2]], np.float32),
    contexts=np.array([[1, 0], [0, 1]], np.float32),
)
AUDIENCE = np.array([[6, 8, 0], [0, 0, 2]], np.float32)
READOUT = np.array([[1, 0, 0, 0.5], [0, 1, 0, -0.5]], np.float32)
STALENESS = np.array([0.0, 1.5, 30.0])


def tables(items: pd.DataFrame | None = ITEMS, *, keep: Any = None) -> Tables:
    events = Events.of(VIEWS)
    histories = events.sequences if keep is None else events.sequences.where(np.array(keep))
    known = histories.recode(TRAINED.item_ids)
    seen = known if keep is None else events.sequences.recode(TRAINED.item_ids)
    return Tables.of(TRAINED, AUDIENCE, READOUT, known, seen, STALENESS, items, events)


def titled(*titles: str) -> Tables:
    column = {"title": TextColumn.of(titles)}
    return replace(tables(), catalogue=Catalogue(column), item_ids=np.arange(len(titles)))


def test_everything_is_brought_onto_the_items_that_have_a_vector() -> None:
    made = tables()
    assert take(made.user_ids).tolist() == ["a", "b", "c"]
    assert take(made.item_ids).tolist() == [10, 30]
    assert [made.histories.items_of(row).tolist() for row in range(3)] == [[1, 1], [1, 0], []]
    assert made.counts.tolist() == [1, 3]
    assert list(made.titles or []) == ["Aliens", "Alien"]
    assert made.watched is made.histories
    assert np.array_equal(made.unit_vectors, np.array([[0.6, 0.8, 0], [0, 0, 1]], np.float32))
    assert list(tables(ITEMS[ITEMS["item_id"] != 10]).titles or []) == ["", "Alien"]
    assert tables(None).titles is None
    with pytest.warns(DataWarning, match="are the ids of one kind"):
        assert list(tables(ITEMS.astype({"item_id": "str"})).titles or []) == ["", ""]
    part = tables(keep=[False, True, False, True, True, True])  # events by user: a a b b b c
    assert [part.histories.items_of(row).tolist() for row in range(3)] == [[1], [0], []]
    assert [part.watched.items_of(row).tolist() for row in range(3)] == [[1, 1], [1, 0], []]
    assert part.counts.tolist() == [1, 1]


@pytest.mark.parametrize("keep", [None, [True, False, True, True, False, True], [False] * 6])
@pytest.mark.parametrize(("items", "deep"), [(ITEMS, True), (None, False)])
def test_tables_come_back_from_their_columns(keep: Any, items: Any, deep: bool) -> None:
    made = tables(items, keep=keep)
    columns = made.to_columns()
    assert ("watched_codes" in columns, "catalogue" in columns) == (bool(keep), items is not None)
    back = Tables.from_columns(columns, deep=deep)
    again = back.to_columns()
    assert again.keys() == columns.keys()
    for name, column in columns.items():
        np.testing.assert_array_equal(take(again[name]), take(column), strict=True)
    assert (back.watched is back.histories) == (made.watched is made.histories)


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        *((name, np.ones((5, 3), np.float32), f"{name} has shape")
          for name in ("contexts", "counts", "staleness", "cold")),
        ("vectors", np.ones((5, 3), np.float32), "for 7 of vectors"),
        ("audience", np.ones((5, 3), np.float32), "audience has shape"),
        ("readout", np.ones((2, 8), np.float32), "readout has 8 columns, for 2 of vectors"),
        ("vectors", np.ones((2, 2)), "dtype float64"),
        ("item_ids", np.arange(3), "title has 2 rows for 3 items"),
        ("user_ids", np.arange(4), "history_offsets do not fit"),
        ("catalogue0", TextColumn.of(["one"]), "title has 1 rows for 2 items"),
        ("history_codes", np.array([0, 1, 1, 2], np.int32), "point outside the items"),
        ("history_codes", np.array([0, 1, 1, -1], np.int32), "point outside the items"),
        ("history_codes", np.zeros(4, np.float32), "no codes"),
        ("history_offsets", np.array([1, 2, 3, 4]), "history_offsets do not fit"),
        ("history_offsets", np.array([0, 9, 4, 4]), "do not ascend"),
        ("watched_codes", np.array([0, 1, 1, 7], np.int32), "watched_codes point outside"),
        ("event_offsets", np.array([0, 2, 5]), "event_offsets do not fit"),
        ("event_item_ids", np.arange(2), "event_codes point outside"),
        ("event_times", np.arange(5), "event_times does not fit the 6 events"),
        ("event_ratings", np.arange(6), "event_ratings does not fit"),
    ],
)  # fmt: skip
def test_columns_that_contradict_each_other_are_refused(
    name: str, column: Any, message: str, deep: bool
) -> None:
    columns = tables(keep=[True] * 6).to_columns()
    with pytest.raises(ValueError, match=message):
        Tables.from_columns({**columns, name: column}, deep=deep)


def test_a_missing_column_is_refused_unless_a_model_can_do_without() -> None:
    columns = tables(keep=[True] * 6).to_columns()
    for name in columns:
        left = {other: column for other, column in columns.items() if other != name}
        if name in ("contexts", "catalogue", "watched_codes", "event_codes"):
            Tables.from_columns(left, deep=True)
        else:
            with pytest.raises(KeyError, match=name):
                Tables.from_columns(left, deep=True)


def test_vectors_that_are_no_numbers_are_refused_where_one_looks() -> None:
    for name, value in (("vectors", np.nan), ("contexts", np.inf), ("readout", -np.inf)):
        columns = tables().to_columns()
        columns[name] = columns[name] + np.float32(value)
        with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
            Tables.from_columns(columns, deep=True)
        Tables.from_columns(columns, deep=False)


def test_an_exact_title_finds_its_item_and_others_are_refused_with_a_hint() -> None:
    made = titled("Alien", "Aliens", "alien", "Ali\u00e9n", "Heat", "Heat")
    assert [made.row_of_title(title) for title in ("Aliens", "alien", "Ali\u00e9n")] == [1, 2, 3]
    with pytest.raises(UnknownItemError, match=r"'Heat' is the title of several .* ids 4, 5$"):
        made.row_of_title("Heat")
    with pytest.raises(UnknownItemError) as caught:
        made.row_of_title("Aleins")
    hint = "close titles: 'Aliens', 'Ali\u00e9n', 'Alien'"
    assert str(caught.value) == f"unknown item 'Aleins': neither an id nor a title; {hint}"
    for title in ("Zebra", "", 17, None):
        for one in (titled("Alien", "", ""), tables(None)):
            with pytest.raises(UnknownItemError, match=r"neither an id nor a title$"):
                one.row_of_title(title)
