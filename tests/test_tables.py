from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.data.columns import TextColumn, take
from recsys.data.events import Events
from recsys.data.sequences import build_sequences, sort_events
from recsys.errors import UnknownItemError, UnknownUserError
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

READOUT = np.array([[1, 0, 0, 0.5], [0, 1, 0, -0.5]], np.float32)


def tables(items: pd.DataFrame | None = ITEMS, *, keep: Any = None) -> Tables:
    watched = build_sequences(VIEWS)
    histories = watched if keep is None else watched.where(np.array(keep))
    staleness = np.array([0.0, 1.5, 30.0])
    known = histories.recode(TRAINED.item_ids)
    seen = known if keep is None else watched.recode(TRAINED.item_ids)
    events = Events.of(sort_events(VIEWS), watched, rated=False)
    return Tables.of(TRAINED, READOUT, known, seen, staleness, items, events)


def titled(*titles: str) -> Tables:
    n = len(titles)
    columns = {**tables().to_columns(), "catalogue0": TextColumn.of(titles)}
    columns |= {"item_ids": np.arange(n), "counts": np.ones(n, np.int64)}
    del columns["event_codes"]  # then the events are those of the items that have a vector
    columns |= {name: np.ones((n, 2), np.float32) for name in ("vectors", "contexts")}
    columns["readout"] = np.ones((n, 4), np.float32)
    columns["history_codes"] = columns["history_codes"] * 0
    return Tables.from_columns(columns, deep=True)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, TextColumn):
        return list(one) == list(other)
    return bool(np.array_equal(one, other)) and one.dtype == other.dtype


# ---- from training


def test_everything_is_brought_onto_the_items_that_have_a_vector() -> None:
    made = tables()
    assert take(made.user_ids).tolist() == ["a", "b", "c"]
    assert take(made.item_ids).tolist() == [10, 30]
    assert [made.histories.items_of(row).tolist() for row in range(3)] == [[1, 1], [1, 0], []]
    assert made.counts.tolist() == [1, 3]
    assert made.titles is not None
    assert made.titles[:] == ["Aliens", "Alien"]
    assert made.watched is made.histories


def test_what_is_watched_is_kept_apart_where_histories_are_a_part_of_it() -> None:
    made = tables(keep=[False, True, False, True, True, True])  # events by user: a a b b b c
    assert [made.histories.items_of(row).tolist() for row in range(3)] == [[1], [0], []]
    assert [made.watched.items_of(row).tolist() for row in range(3)] == [[1, 1], [1, 0], []]
    assert made.counts.tolist() == [1, 1]


def test_titles_are_empty_where_not_known_and_none_without_items() -> None:
    made = tables(ITEMS[ITEMS["item_id"] != 10])
    assert made.titles is not None
    assert made.titles[:] == ["", "Alien"]
    assert tables(None).titles is None


def test_titles_that_fit_no_item_are_told(caplog: pytest.LogCaptureFixture) -> None:
    text_ids = ITEMS.assign(item_id=ITEMS["item_id"].astype(str))
    made = tables(text_ids)
    assert made.titles is not None
    assert made.titles[:] == ["", ""]
    assert "are the ids of one kind?" in caplog.text


def test_unit_vectors_have_length_one() -> None:
    expected = np.array([[0.6, 0.8], [0, 1]], np.float32)
    assert np.array_equal(tables().unit_vectors, expected)


# ---- to and from columns


@pytest.mark.parametrize(
    "made",
    [
        tables(),
        tables(None),
        tables(keep=[True, False, True, True, False, True]),
        tables(keep=[False] * 6),
    ],
    ids=["titles", "no titles", "min_rating", "empty histories"],
)
@pytest.mark.parametrize("deep", [True, False])
def test_tables_come_back_from_their_columns(made: Tables, deep: bool) -> None:
    columns = made.to_columns()
    back = Tables.from_columns(columns, deep=deep)
    again = back.to_columns()
    assert again.keys() == columns.keys()
    assert all(same(again[name], columns[name]) for name in columns)
    assert (back.watched is back.histories) == (made.watched is made.histories)


def test_a_column_without_content_is_left_out() -> None:
    assert tables().to_columns().keys() - tables(None).to_columns().keys() == {
        "catalogue",
        "catalogue0",
    }
    assert "watched_codes" not in tables().to_columns()
    assert "watched_codes" in tables(keep=[True] * 6).to_columns()


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("item_ids", np.arange(3), "title has 2 rows for 3 items"),
        ("user_ids", np.arange(4), "history_offsets do not fit"),
        ("vectors", np.ones((3, 2), np.float32), "vectors has shape"),
        ("vectors", np.ones((2, 2)), "dtype float64"),
        ("contexts", np.ones((2, 3), np.float32), "contexts has shape"),
        ("contexts", np.ones((3, 2), np.float32), "contexts has shape"),
        ("contexts", np.ones((2, 2), np.int32), "dtype int32"),
        ("counts", np.ones(3, np.int64), "counts has 3 rows for 2 items"),
        ("catalogue0", TextColumn.of(["one"]), "title has 1 rows for 2 items"),
        ("history_codes", np.zeros(3, np.int32), "history_offsets do not fit"),
        ("history_codes", np.array([0, 1, 1, 2], np.int32), "point outside the items"),
        ("history_codes", np.array([0, 1, 1, -1], np.int32), "point outside the items"),
        ("history_codes", np.zeros(4, np.float32), "no codes"),
        ("history_offsets", np.array([0, 2, 4]), "history_offsets do not fit"),
        ("history_offsets", np.array([1, 2, 3, 4]), "history_offsets do not fit"),
        ("history_offsets", np.array([0, 2, 3, 5]), "history_offsets do not fit"),
        ("history_offsets", np.array([0, 9, 4, 4]), "do not ascend"),
        ("history_offsets", np.array([0.0, 2, 4, 4]), "no codes"),
        ("watched_codes", np.array([0, 1, 1, 7], np.int32), "watched_codes point outside"),
        ("watched_offsets", np.array([0, 5, 4, 4]), "watched_offsets do not ascend"),
        ("event_codes", np.array([0, 1, 1, 2, 3, 0], np.int32), "event_codes point outside"),
        ("event_offsets", np.array([0, 2, 5]), "event_offsets do not fit"),
        ("event_item_ids", np.arange(2), "event_codes point outside"),
        ("event_times", np.arange(5), "event_times does not fit the 6 events"),
        ("event_times", np.arange(6.0), "event_times does not fit"),
        ("event_ratings", np.arange(6), "event_ratings does not fit"),
    ],
)
def test_columns_that_contradict_each_other_are_refused(
    name: str, column: Any, message: str, deep: bool
) -> None:
    columns = tables(keep=[True] * 6).to_columns()
    with pytest.raises(ValueError, match=message):
        Tables.from_columns({**columns, name: column}, deep=deep)


@pytest.mark.parametrize("name", ["vectors", "contexts"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_no_numbers_are_refused_where_one_looks(name: str, value: float) -> None:
    columns = tables().to_columns()
    columns[name] = np.array([[0, value], [0, 0]], np.float32)
    with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
        Tables.from_columns(columns, deep=True)
    Tables.from_columns(columns, deep=False)


@pytest.mark.parametrize("name", sorted(tables(keep=[True] * 6).to_columns()))
def test_a_missing_column_is_refused_unless_a_model_can_do_without(name: str) -> None:
    columns = tables(keep=[True] * 6).to_columns()
    del columns[name]
    if name in ("contexts", "catalogue", "watched_codes", "event_codes"):
        Tables.from_columns(columns, deep=True)
    else:
        with pytest.raises(KeyError, match=name):
            Tables.from_columns(columns, deep=True)


# ---- rows by id


def test_rows_of_ids_and_what_is_said_of_unknown_ones() -> None:
    made = tables()
    assert (made.user_row("c"), made.item_row(30)) == (2, 1)
    with pytest.raises(UnknownUserError, match=r"unknown user 'z'.*recommend_for.*popularity"):
        made.user_row("z")
    with pytest.raises(UnknownItemError, match="unknown item 20: it has no vector"):
        made.item_row(20)
    with pytest.raises(UnknownItemError, match="unknown item '30'"):
        made.item_row("30")


def test_ids_without_a_vector_are_skipped_and_order_and_repeats_stay() -> None:
    rows = tables().item_rows([30, 99, 10, "30", None, 20, 30])
    assert rows.tolist() == [1, 0, 1]
    assert tables().item_rows([]).dtype == rows.dtype == np.int64


# ---- rows by title


def test_an_exact_title_finds_its_item() -> None:
    made = titled("Alien", "Aliens", "alien", "Ali\u00e9n")
    assert [made.row_of_title(title) for title in ("Aliens", "alien", "Ali\u00e9n")] == [1, 2, 3]


def test_a_title_of_several_items_is_refused_with_their_ids() -> None:
    with pytest.raises(UnknownItemError, match=r"'Heat' is the title of several .* ids 0, 2$"):
        titled("Heat", "Alien", "Heat").row_of_title("Heat")


def test_an_unknown_title_is_refused_with_the_closest_as_a_hint() -> None:
    made = titled("Alien", "Aliens", "Heat", "Alien")
    with pytest.raises(UnknownItemError) as caught:
        made.row_of_title("Alein")
    message = "unknown item 'Alein': neither an id nor a title; close titles: 'Alien', 'Aliens'"
    assert str(caught.value) == message


@pytest.mark.parametrize("title", ["Zebra", "", 17, None])
def test_where_no_title_is_close_none_is_named(title: Any) -> None:
    for made in (titled("Alien", "", ""), tables(None)):
        with pytest.raises(UnknownItemError, match=r"neither an id nor a title$"):
            made.row_of_title(title)
