from __future__ import annotations

import datetime as dt
import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys.data.frames
from recsys.data.frames import (
    check_items,
    check_ratings,
    ids_from_text,
    rename_columns,
    split_title,
)
from recsys.errors import DataError

NAMES = ["user_id", "item_id", "rating", "timestamp"]


def frame(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=NAMES[: len(rows[0])])


def with_users(users: object) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, "item_id": 1})


def with_ratings(ratings: object) -> pd.DataFrame:
    return pd.DataFrame({"user_id": 1, "item_id": 1, "rating": ratings})


def with_times(times: object) -> pd.DataFrame:
    table = pd.DataFrame({"timestamp": times})
    return table.assign(user_id=range(len(table)), item_id=1)


def seconds(checked: pd.DataFrame) -> list[int]:
    assert checked["timestamp"].dtype == "datetime64[s, UTC]"
    return checked["timestamp"].astype("int64").tolist()


# ---------------------------------------------------------------------------- columns


def test_a_checked_frame_has_its_columns_in_order_with_fixed_types_and_rows_numbered_from_0() -> (
    None
):
    given_frame = pd.DataFrame(
        {
            "timestamp": [881250949, 891717742],
            "tag": ["funny", "slow"],
            "rating": [3, 4],
            "item_id": ["a", "b"],
            "user_id": [2, 1],
        },
        index=[7, 3],
    )
    checked = check_ratings(given_frame)
    assert list(checked.columns) == NAMES
    assert [str(dtype) for dtype in checked.dtypes] == [
        "int64",
        "str",
        "float32",
        "datetime64[s, UTC]",
    ]
    assert isinstance(checked.index, pd.RangeIndex)
    assert checked["user_id"].tolist() == [2, 1]
    assert seconds(checked) == [881250949, 891717742]


def test_a_frame_without_ratings_and_times_is_fine_and_keeps_its_repeats() -> None:
    checked = check_ratings(frame((1, 10), (1, 10), (2, 10)))
    assert list(checked.columns) == ["user_id", "item_id"]
    assert checked["user_id"].tolist() == [1, 1, 2]


def test_the_given_frame_is_not_modified() -> None:
    table = {"userId": [1.0, 1.0], "itemId": ["a", "a"], "rating": [3, 3], "time": [5, 5]}
    given_frame = pd.DataFrame(table)
    check_ratings(given_frame)
    pd.testing.assert_frame_equal(given_frame, pd.DataFrame(table))


@pytest.mark.parametrize("times", [[5, 6], pd.to_datetime([5, 6], unit="s", utc=True)])
def test_a_checked_frame_can_be_changed_without_changing_the_given_one(times: object) -> None:
    given_frame = frame((1, 1, 3.0, 5), (1, 2, 3.0, 6)).assign(timestamp=times)
    before = given_frame.copy(deep=True)
    for checked in (check_ratings(given_frame), check_ratings(check_ratings(given_frame))):
        checked.loc[0, ["user_id", "item_id", "rating"]] = 9
        checked.loc[0, "timestamp"] = pd.Timestamp(9, unit="s", tz="UTC")
        assert checked.iloc[0, :3].tolist() == [9, 9, 9]
        assert seconds(checked) == [9, 6]
        pd.testing.assert_frame_equal(given_frame, before)


def test_only_a_data_frame_is_accepted() -> None:
    with pytest.raises(TypeError, match="not str; see load_ratings"):
        check_ratings("ratings.csv")  # type: ignore[arg-type]


def test_no_rows_is_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match=r"^no ratings in my\.csv$"):
        check_ratings(frame((1, 2)).iloc[:0], source="my.csv")


@pytest.mark.parametrize("user", ["user", "user_id", "userId", "UID", "User ID", "USERID"])
@pytest.mark.parametrize("item", ["item", "itemId", "movie_id", "movieId", "product_id"])
def test_other_common_names_of_the_ids_are_recognised(user: str, item: str) -> None:
    assert list(check_ratings(pd.DataFrame({item: [1], user: [2]}))) == ["user_id", "item_id"]


@pytest.mark.parametrize(
    ("name", "column"),
    [(n, "rating") for n in ("Rating", "score", "stars")]
    + [(n, "timestamp") for n in ("TimeStamp", "time", "ts", "date")],
)
def test_other_common_names_of_rating_and_time_are_recognised(name: str, column: str) -> None:
    checked = check_ratings(pd.DataFrame({"user": [1], "item": [2], name: [3]}))
    assert list(checked) == ["user_id", "item_id", column]


def test_a_missing_column_is_named_with_those_found_and_the_option_that_maps_it() -> None:
    with pytest.raises(DataError) as error:
        rename_columns(pd.DataFrame({"user": [1], "film": [2]}), source="my.csv")
    assert str(error.value) == (
        "my.csv has no column 'item_id'; found: 'user', 'film'; name it by item_col= (--item-col)"
    )


def test_a_column_of_any_name_can_be_named() -> None:
    table = pd.DataFrame({"who": [1], "what": [2], "when": [3], "how": [4], "user": [9]})
    renamed = rename_columns(
        table, user_col="who", item_col="what", rating_col="how", timestamp_col="when"
    )
    assert renamed.iloc[0].to_dict() == {"user_id": 1, "item_id": 2, "rating": 4, "timestamp": 3}


def test_naming_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no column 'Who' as user_col= \(--user-col\) says; found"):
        rename_columns(pd.DataFrame({"who": [1], "user": [1], "item": [1]}), user_col="Who")


def test_two_columns_of_one_meaning_are_an_error_naming_both() -> None:
    table = pd.DataFrame({"user": [1], "movieId": [2], "product_id": [3]})
    with pytest.raises(DataError, match=r"'movieId' and 'product_id' could both be 'item_id'"):
        check_ratings(table)


def test_of_two_columns_of_one_meaning_the_canonical_or_the_named_one_is_taken() -> None:
    table = pd.DataFrame({"user": [1], "movieId": [2], "item_id": [3], "item": [4]})
    assert check_ratings(table)["item_id"].tolist() == [3]
    assert rename_columns(table, item_col="movieId")["item_id"].tolist() == [2]


def test_a_column_named_for_one_meaning_is_not_taken_for_another() -> None:
    table = pd.DataFrame({"user": [1], "item": [2], "date": [3], "score": [4]})
    assert rename_columns(table, rating_col="date").iloc[0].to_dict() == {
        "user_id": 1,
        "item_id": 2,
        "rating": 3,
    }


# ---------------------------------------------------------------------------- ids


@pytest.mark.parametrize(
    ("ids", "expected", "dtype"),
    [
        ([2, 1], [2, 1], "int64"),
        (pd.Series([2, 1], dtype="uint8"), [2, 1], "int64"),
        (pd.Series([2, 1], dtype="Int32"), [2, 1], "int64"),
        (pd.Series([2, 1], dtype="int16[pyarrow]"), [2, 1], "int64"),
        (pd.Series([2, 1], dtype=">i8"), [2, 1], "int64"),
        (pd.Series([2, 1], dtype=object), [2, 1], "int64"),
        (pd.Series([2, 1], dtype="category"), [2, 1], "int64"),
        ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1], "int64"),
        (pd.Series([-(2**63), 1], dtype=object), [-(2**63), 1], "int64"),
        ([2**63, 1], [2**63, 1], "uint64"),
        (pd.Series([2**63, 1], dtype=object), [2**63, 1], "uint64"),
        ([2**64, 1], ["18446744073709551616", "1"], "str"),
        ([2**63, -1], ["9223372036854775808", "-1"], "str"),
        ([2.0, 1.0], [2, 1], "int64"),
        (pd.Series([2.0, 1], dtype=object), [2, 1], "int64"),
        (pd.Series([2.0, 1], dtype="Float64"), [2, 1], "int64"),
        (["b", "NA"], ["b", "NA"], "str"),
        (pd.Series(["b", "null"], dtype=object), ["b", "null"], "str"),
        (pd.Series(["b", "nan"], dtype="string"), ["b", "nan"], "str"),
        (pd.Series(["b", " a "], dtype="category"), ["b", " a "], "str"),
        (["007", "1.0"], ["007", "1.0"], "str"),
    ],
)
def test_ids_keep_their_kind(ids: object, expected: list[object], dtype: str) -> None:
    checked = check_ratings(with_users(ids))["user_id"]
    assert checked.tolist() == expected
    assert checked.dtype == dtype


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", None], "row 2: user_id is missing"),
        ([1, np.nan, np.nan], "rows 2, 3: user_id is missing"),
        (pd.Series([1, None], dtype="Int64"), "row 2: user_id is missing"),
        (pd.Series(["a", None], dtype="category"), "row 2: user_id is missing"),
        (["a", " ", "\u00a0", "", "\t"], "rows 2, 3, 4 and 1 more: user_id is blank"),
        ([1.0, 2.5], "row 2: user_id 2.5 is not a whole number"),
        ([1.0, np.inf], "row 2: user_id inf is not a whole number"),
        ([1.0, 1e19], "row 2: user_id 1e.19 is not a whole number"),
        ([1.0, 1e300], "row 2: user_id 1e.300 is not a whole number"),
        ([True, False], "user_id holds bool values; ids are whole numbers or text"),
        (pd.Series([1, True], dtype=object), "row 2: user_id True is a bool"),
        ([1, ("a", "b")], r"row 2: user_id \('a', 'b'\) is a tuple"),
        ([b"a", b"b"], "rows 1, 2: user_id b'a' is a bytes"),
        ([dt.date(2020, 1, 1)], "row 1: user_id datetime.date.* is a date"),
        (pd.to_datetime(["2020-01-01"]), r"user_id holds datetime64\[us\] values"),
    ],
)
def test_what_is_no_id_is_an_error_with_its_row(ids: object, message: str) -> None:
    with pytest.raises(DataError, match=f"^the frame(, |: ){message}"):
        check_ratings(with_users(ids))


def test_text_and_numbers_in_one_id_column_are_an_error_naming_a_row_of_each_kind() -> None:
    with pytest.raises(DataError) as error:
        check_ratings(with_users(["a", "b", 7]), source="my.parquet")
    assert str(error.value) == (
        "my.parquet: user_id mixes numbers (7 in row 3) and text ('a' in row 1); make them one "
        "kind, or read both id columns of a file as text with text_ids=True (--text-ids)"
    )


def test_rows_are_named_by_the_line_in_their_file_where_there_is_one() -> None:
    with pytest.raises(DataError, match=r"^my\.csv, lines 20, 30: user_id is blank"):
        check_ratings(
            with_users(["a", "", ""]), source="my.csv", line_of=lambda row: 10 * (row + 1)
        )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["2", "1"], [2, 1]),
        (["-2", " 1 "], [-2, 1]),
        (["2.0", "1"], [2, 1]),
        (["9223372036854775808", "1"], [2**63, 1]),
        (["18446744073709551616", "1"], ["18446744073709551616", "1"]),
        (["007", "12"], ["007", "12"]),
        (["-07", "12"], ["-07", "12"]),
        (["0", "10"], [0, 10]),
        (["a", "b1", "1e5", "NA"], ["a", "b1", "1e5", "NA"]),
        (["1", " "], ["1", " "]),
    ],
)
def test_ids_in_text_files_are_numbers_where_nothing_is_lost(
    written: list[str], expected: list[object]
) -> None:
    assert ids_from_text(pd.Series(written, name="user_id")).tolist() == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (["1", "a"], r"mixes numbers \(1 in row 1\) and text \('a' in row 2\)"),
        (["NA", "1.0"], r"mixes numbers \(1.0 in row 2\) and text \('NA' in row 1\)"),
        (["1.0", "2.50"], "row 2: user_id 2.50 is not a whole number"),
    ],
)
def test_ids_in_text_files_of_no_one_kind_are_an_error(written: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ids_from_text(pd.Series(written, name="user_id"))


# ---------------------------------------------------------------------------- ratings and times


@pytest.mark.parametrize(
    "ratings",
    [
        [0, 5],
        [0.0, 5.0],
        ["0", "5"],
        pd.Series([0, 5], dtype="Int8"),
        pd.Series([0, 5], dtype=object),
        pd.Series([0, 5], dtype="double[pyarrow]"),
    ],
)
def test_ratings_become_float32(ratings: object) -> None:
    checked = check_ratings(with_ratings(ratings))["rating"]
    assert checked.dtype == "float32"
    assert checked.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ([1, np.nan], "row 2: rating 'nan' is not a number of 0 or more"),
        (pd.Series([1, None], dtype="Int64"), "row 2: rating '<NA>' is not"),
        ([1, np.inf], "row 2: rating 'inf' is not"),
        ([1e39, 1], "row 1: rating '1e.39' is not"),
        ([1, -0.5], "row 2: rating '-0.5' is not"),
        (["4", "good", "bad"], "rows 2, 3: rating 'good' is not"),
        ([True, False], "rating holds true and false"),
        (pd.to_datetime(["2020-01-01"]), "row 1: rating '2020"),
    ],
)
def test_what_is_no_rating_is_an_error_with_row_and_value(ratings: object, message: str) -> None:
    with pytest.raises(DataError, match=f"^the frame(, |: ){message}"):
        check_ratings(with_ratings(ratings))


NOON = 1577880000  # 2020-01-01 12:00:00 UTC


@pytest.mark.parametrize(
    "times",
    [
        [NOON],
        [float(NOON)],
        [NOON + 0.9],
        [NOON * 1000 + 999],
        [NOON * 1000_000 + 999_999],
        [NOON * 1000_000_000 + 999_999_999],
        [NOON * 1e9],
        [str(NOON)],
        pd.Series([NOON], dtype="Int64"),
        pd.Series([NOON], dtype="uint32"),
        ["2020-01-01T12:00:00Z"],
        ["2020-01-01 12:00:00.9"],
        ["2020-01-01 13:00:00+01:00"],
        pd.to_datetime(["2020-01-01 12:00"]),
        pd.to_datetime(["2020-01-01 12:00:00.999"]).as_unit("ms"),
        pd.to_datetime(["2020-01-01 12:00:00.999999999"]).as_unit("ns"),
        pd.to_datetime(["2020-01-01 13:00"]).tz_localize("Europe/Paris"),
        pd.Series([dt.datetime(2020, 1, 1, 12)], dtype=object),
        pd.Series(pd.to_datetime(["2020-01-01 12:00"]), dtype="timestamp[us][pyarrow]"),
    ],
)
def test_times_of_every_kind_become_whole_seconds_in_utc(times: object) -> None:
    assert seconds(check_ratings(with_times(times))) == [NOON]


@pytest.mark.parametrize(
    ("times", "notice"),
    [
        ([NOON * 1000], "timestamps converted from milliseconds"),
        ([NOON * 1000_000], "timestamps converted from microseconds"),
        ([NOON * 1000_000_000], "timestamps converted from nanoseconds"),
        (["2020-01-01"], "timestamps read as ISO dates and times"),
    ],
)
def test_a_conversion_of_times_is_noticed(
    times: object, notice: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="recsys.data.frames"):
        check_ratings(with_times([NOON]))
        assert caplog.messages == []
        check_ratings(with_times(times))
    assert len(caplog.messages) == 1
    assert notice in caplog.messages[0]


@pytest.mark.parametrize(
    "times",
    [
        [NOON, 0],
        [NOON, -1],
        [NOON, np.nan],
        [NOON, 0.5],
        [NOON, np.inf],
        [NOON, 1e30],
        [str(NOON), "soon"],
        ["2020-01-01", "soon"],
        ["2020-01-01", ""],
        ["2020-01-01", None],
        pd.Series([NOON, None], dtype="Int64"),
        pd.to_datetime(["2020-01-01", None]),
        pd.to_datetime(["2020-01-01", "1969-12-31"]),
        pd.Series([dt.date(2020, 1, 1), None], dtype=object),
    ],
)
def test_what_is_no_time_is_an_error_with_its_row_that_names_last_out(times: object) -> None:
    with pytest.raises(DataError, match=r"^the frame, row 2: timestamp '.*--split last-out"):
        check_ratings(with_times(times))


@pytest.mark.parametrize("times", [[True, False], pd.to_timedelta([1, 2])])
def test_truth_values_and_durations_are_no_times(times: object) -> None:
    with pytest.raises(DataError, match="which are no times"):
        check_ratings(with_times(times))


def test_times_of_mixed_units_are_an_error_naming_a_row_of_each() -> None:
    with pytest.raises(DataError) as error:
        check_ratings(with_times([NOON * 1000, NOON, NOON]))
    assert str(error.value) == (
        "the frame: timestamps mix units: 1577880000 in row 2 is in seconds, 1577880000000 in row "
        "1 in milliseconds"
    )


# ---------------------------------------------------------------------------- duplicates


def test_exact_duplicates_are_dropped_and_counted_and_other_repeats_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = frame(
        (1, 10, 3.0, 100),
        (1, 10, 3.0, 101),  # at another time: another event
        (1, 10, 3.0, 100),  # an exact duplicate
        (1, 10, 4.0, 100),  # another rating
        (2, 10, 3.0, 100),
        (1, 10, 3.0, 101),  # an exact duplicate
    )
    with caplog.at_level(logging.INFO, logger="recsys.data.frames"):
        checked = check_ratings(table, source="my.csv")
    assert seconds(checked) == [100, 101, 100, 100]
    assert checked["rating"].tolist() == [3, 3, 4, 3]
    assert checked.index.tolist() == [0, 1, 2, 3]
    assert caplog.messages == ["my.csv: 2 exact duplicate rows dropped"]


def test_duplicates_are_found_after_times_and_ratings_are_brought_to_their_type() -> None:
    assert len(check_ratings(frame((1, 1, 0.0, 100.2), (1, 1, -0.0, 100.9)))) == 1


rows = st.tuples(
    st.integers(-2, 2),
    st.sampled_from(["a", "b", "NA", "\u00e9"]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(1, 4),
)


@given(st.lists(rows, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_dropping_duplicates_agrees_with_pandas_and_a_second_check_changes_nothing(
    sample: list[tuple[int, str, float, int]],
) -> None:
    checked = check_ratings(frame(*sample))
    expected = list(dict.fromkeys(sample))
    assert list(zip(checked["user_id"], checked["item_id"], strict=True)) == [
        row[:2] for row in expected
    ]
    assert seconds(checked) == [row[3] for row in expected]
    pd.testing.assert_frame_equal(check_ratings(checked), checked)


@pytest.mark.parametrize("odd", [recsys.data.frames._ODD, 2**32 + 1])  # and one that scatters badly
def test_repeats_in_shuffled_rows_of_many_blocks_are_those_that_pandas_finds(
    odd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recsys.data.frames, "_BLOCK", 100)
    monkeypatch.setattr(recsys.data.frames, "_ODD", odd)
    rng = np.random.default_rng(0)
    for n_users in (1, 40, 4000):
        columns = (rng.integers(-9, n_users, 3000), rng.integers(0, 40, 3000))
        more = (rng.choice([-0.0, 0.0, 1.5], 3000), rng.integers(1, 9, 3000))
        table = pd.DataFrame(
            dict(zip(["user_id", "item_id", "rating", "timestamp"], (*columns, *more), strict=True))
        )
        expected = table[~table.duplicated()]
        checked = check_ratings(table)
        assert checked["user_id"].tolist() == expected["user_id"].tolist()
        assert checked["item_id"].tolist() == expected["item_id"].tolist()
        assert seconds(checked) == expected["timestamp"].tolist()


# ---------------------------------------------------------------------------- items


def test_items_are_brought_into_form_and_what_is_not_known_is_empty() -> None:
    table = pd.DataFrame(
        {
            "movieId": [1, 2, 3, 4],
            "name": ["Heat", None, "", "Up"],
            "genre": ["Action|Crime", ["Drama"], None, "(no genres listed)"],
            "release_year": ["1995", None, "soon", 2009.0],
            "imdb": [0, 0, 0, 0],
        }
    )
    before = table.copy(deep=True)
    items = check_items(table)
    assert list(items) == ["item_id", "title", "genres", "year", "imdb"]
    assert items["item_id"].tolist() == [1, 2, 3, 4]
    assert items["title"].tolist() == ["Heat", "", "", "Up"]
    assert items["genres"].tolist() == [("Action", "Crime"), ("Drama",), (), ()]
    assert items["year"].tolist() == [1995, pd.NA, pd.NA, 2009]
    assert items["title"].dtype == "str"
    assert items["year"].dtype == "Int16"
    pd.testing.assert_frame_equal(table, before)
    pd.testing.assert_frame_equal(check_items(items), items)


def test_an_items_table_needs_nothing_but_ids() -> None:
    items = check_items(pd.DataFrame({"item_id": ["a"]}))
    assert items[["item_id", "title", "genres"]].to_numpy().tolist() == [["a", "", ()]]
    assert items["year"].tolist() == [pd.NA]
    with pytest.raises(DataError, match="no column 'item_id'; found: 'title'"):
        check_items(pd.DataFrame({"title": ["Heat"]}))


def test_an_item_that_is_there_twice_is_an_error() -> None:
    with pytest.raises(DataError, match=r"^movies, row 3: item '7' is there"):
        check_items(pd.DataFrame({"item_id": [7, 8, 7]}), source="movies")


@pytest.mark.parametrize(
    ("written", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Toy Story (1995) ", "Toy Story", 1995),
        (" Usual Suspects, The (1995)", "Usual Suspects, The", 1995),
        ("Heat", "Heat", None),
        ("Heat ", "Heat", None),
        ("", "", None),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("Seven (a.k.a. Se7en) (1995)", "Seven (a.k.a. Se7en)", 1995),
        ("Land Before Time III (1995) (V)", "Land Before Time III (1995) (V)", None),
        ("Friends (1994-2004)", "Friends", 1994),
        ("Fargo (2014\u2013 )", "Fargo", 2014),
        ("Fargo (2014\u2013)", "Fargo", 2014),
        ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009),
        ("(1995)", "(1995)", None),
        ("Babylon 5", "Babylon 5", None),
        ("Room(1980)", "Room", 1980),
    ],
)
def test_the_year_is_taken_off_a_title(written: str, title: str, year: int | None) -> None:
    titles, years = split_title(pd.Series([written]))
    assert titles.tolist() == [title]
    assert years.tolist() == [pd.NA if year is None else year]
    assert years.dtype == "Int16"
