from __future__ import annotations

import datetime as dt
import logging
import os
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import narwhals
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import sparse

from recsys.data.frames import repeats
from recsys.data.frames.items import check_items, split_title
from recsys.data.frames.names import find_columns
from recsys.data.frames.ratings import check_ratings
from recsys.errors import DataError, DataWarning

NAMES = ["user_id", "item_id", "rating", "timestamp"]
NOON = 1577880000  # 2020-01-01 12:00:00 UTC


def frame(*rows):
    return pd.DataFrame(list(rows), columns=NAMES[: len(rows[0])])


def with_column(name, values):
    """Make a frame whose rows differ, with one column to look at."""
    table = pd.DataFrame({name: values})
    return pd.DataFrame({"user_id": 1, "item_id": range(len(table))}).assign(**{name: table[name]})


def seconds(checked):
    assert checked["timestamp"].dtype == "datetime64[s, UTC]"
    return checked["timestamp"].astype("int64").tolist()


def series(values, dtype):
    return pd.Series(values, dtype=dtype)


def test_a_checked_frame_has_its_columns_in_order_with_fixed_types_and_rows_numbered_from_0():
    table = {"time": [5, 6], "tag": ["a", "b"], "Rating": [3, 4], "itemId": ["a", "b"]}
    given_frame = pd.DataFrame({**table, "UID": [2.0, 1.0]}, index=[7, 3])
    before = given_frame.copy(deep=True)
    checked = check_ratings(given_frame)
    pd.testing.assert_frame_equal(given_frame, before)
    kinds = ["int64", "str", "float32", "datetime64[s, UTC]"]
    assert checked.dtypes.astype(str).to_dict() == dict(zip(NAMES, kinds, strict=True))
    assert isinstance(checked.index, pd.RangeIndex)
    assert checked["user_id"].tolist() == [2, 1]
    assert seconds(checked) == [5, 6]


@pytest.mark.parametrize("times", [[5, 6], pd.to_datetime([5, 6], unit="s", utc=True)])
def test_a_checked_frame_can_be_changed_without_changing_the_given_one(times):
    given_frame = frame((1, 1, 3.0, 5), (1, 2, 3.0, 6)).assign(timestamp=times)
    before = given_frame.copy(deep=True)
    checked = check_ratings(given_frame)
    checked.loc[0] = [9, 9, 9, pd.Timestamp(9, unit="s", tz="UTC")]
    assert seconds(checked) == [9, 6]
    pd.testing.assert_frame_equal(given_frame, before)


@pytest.mark.parametrize(("table", "message"), [
    ({"user": [1], "film": [2]}, r"my\.csv has no column 'item_id'; found: 'user', 'film'; "
     r"name it by item_col= \(--item-col\)$"),
    ({"user": [1], "movieId": [2], "product_id": [3]},
     "'movieId' and 'product_id' could both be 'item_id'; choose one by item_col="),
    ({"user": [], "item": []}, r"^no ratings in my\.csv$"),
    ({"user": ["a", "", ""], "item": 1}, r"^my\.csv, lines 20, 30: user_id is blank"),
    ({"user": ["a", "b", 7], "item": 1}, r"^my\.csv: user_id mixes numbers \(7 in line 30\) "
     r"and text \('a' in line 10\); make them one kind, or read both id columns of a file"),
    ({"user": 1, "item": [1, 2], "time": [NOON * 1000, NOON]}, "timestamps mix units: "
     "1577880000 in line 20 is in seconds, 1577880000000 in line 10 in milliseconds$"),
])  # fmt: skip
def test_a_table_that_cannot_be_used_is_an_error_that_says_where_and_what_to_do(table, message):
    with pytest.raises(DataError, match=message):
        check_ratings(pd.DataFrame(table), source="my.csv", line_of=lambda row: 10 * (row + 1))


def test_a_column_is_found_by_the_name_given_else_its_own_else_a_usual_one():
    names = ["user", "item", "movieId", "date", "score", "timestamp"]
    for given, expected in (
        ((None, "movieId", None, None), [0, 2, 4, 5]),
        ((None, "item", "date", "score"), [0, 1, 3, 4]),
        (("movieId", None, "timestamp", None), [2, 1, 5, 3]),
    ):
        wanted = dict(zip(NAMES, given, strict=True))
        found = find_columns(names, wanted, "my.csv")
        assert [found[name] for name in NAMES] == expected


@pytest.mark.parametrize(("ids", "expected", "dtype"), [
    *((series([2, 1], kind), [2, 1], "int64") for kind in ("int64", "uint8", "Int32",
        float, "Float64", "int16[pyarrow]", ">i8", object, "category")),
    (series([2.0, 1], object), [2, 1], "int64"),
    (series([2**53, 2**53 + 1, 1.0], object), [2**53, 2**53 + 1, 1], "int64"),
    (series([2**64 - 1, 1.0], object), [2**64 - 1, 1], "uint64"),
    (series([Decimal(2**53 + 1), Fraction(4, 2)], object), [2**53 + 1, 2], "int64"),
    ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1], "int64"),
    (series([-(2**63), 1], object), [-(2**63), 1], "int64"), ([2**63, 1], [2**63, 1], "uint64"),
    (series([2**63, 1], object), [2**63, 1], "uint64"),
    ([2**64, 1], ["18446744073709551616", "1"], "str"),
    ([2**63, -1], ["9223372036854775808", "-1"], "str"),
    *((series(["b", word], kind), ["b", word], "str")
      for kind, word in (("str", "NA"), (object, "null"), ("string", "nan"), ("category", " a "))),
])  # fmt: skip
def test_ids_keep_their_kind(ids, expected, dtype):
    checked = check_ratings(with_column("user_id", ids))["user_id"]
    assert (checked.tolist(), checked.dtype) == (expected, dtype)


@pytest.mark.parametrize(("ids", "message"), [
    (["a", None], "row 2: user_id is missing"),
    ([1, np.nan, np.nan], "rows 2, 3: user_id is missing"),
    (series([1, None], "Int64"), "row 2: user_id is missing"),
    (series(["a", None], "category"), "row 2: user_id is missing"),
    (["a", " ", "\u00a0", "", "\t"], "rows 2, 3, 4 and 1 more: user_id is blank"),
    *(([1.0, number], f"row 2: user_id {number:.3g}".replace("+", ".") + " is not a whole")
      for number in (2.5, np.inf, 1e19, 1e300)),
    ([2**53, 2**53 + 1, 1.0], r"rows 1, 2: user_id 9007199254740992.0 is not a whole number below"),
    (series([1, 2.0**53], object), "row 2: user_id 9007199254740992.0 is not a whole number below"),
    *((series([1, 2**24], kind), r"row 2: user_id 1.*7.* is not a whole number below 2\*\*24")
      for kind in ("float32", "Float32", "float[pyarrow]")),
    (series([1, np.float32(2**24)], object), "row 2: user_id 1.6777216e.07 is not"),
    *((series([odd], object), "row 1: user_id .* is not a whole")
      for odd in (Decimal("1.5"), Decimal("inf"), Fraction(1, 2), Fraction(10**400, 3), -np.inf)),
    ([1j], "user_id holds complex128"), (series([1, 1j], object), "row 2: user_id 1j is a complex"),
    (series(["a", "b\ud800"], object), r"row 2: user_id 'b\\ud800' holds half of a surrogate pair"),
    ([True, False], "user_id holds bool values; ids are whole numbers or text"),
    (series([1, True], object), "row 2: user_id True is a bool"),
    ([1, ("a", "b")], r"row 2: user_id \('a', 'b'\) is a tuple"),
    ([b"a", b"b"], "rows 1, 2: user_id b'a' is a bytes"),
    ([dt.date(2020, 1, 1)], "row 1: user_id datetime.date.* is a date"),
    (pd.to_datetime(["2020-01-01"]), r"user_id holds datetime64\[us\] values"),
])  # fmt: skip
def test_what_is_no_id_is_an_error_with_its_row(ids, message):
    with pytest.raises(DataError, match=f"^the frame(, |: ){message}"):
        check_ratings(with_column("user_id", ids))


@pytest.mark.parametrize("kind", ["int64", float, str, "Int8", object, "double[pyarrow]"])
def test_ratings_become_float32(kind):
    checked = check_ratings(with_column("rating", series([0, 5], "int64").astype(kind)))["rating"]
    assert (checked.dtype, checked.tolist()) == ("float32", [0, 5])


@pytest.mark.parametrize(("ratings", "message"), [
    ([1, np.nan], "row 2: rating 'nan' is not a number of 0 or more"),
    (series([1, None], "Int64"), "row 2: rating '<NA>' is not"),
    ([1, np.inf], "row 2: rating 'inf' is not"), ([1e39, 1], "row 1: rating '1e.39' is not"),
    ([1, -0.5], "row 2: rating '-0.5' is not"),
    (["4", "good", "bad"], "rows 2, 3: rating 'good' is not"),
    ([True, False], "rating holds true and false"), ([1j, 2], "rating holds complex numbers"),
    (series([1, 2j], object), "rating holds complex numbers"),
    (pd.to_datetime(["2020-01-01"]), "row 1: rating '2020"),
])  # fmt: skip
def test_what_is_no_rating_is_an_error_with_row_and_value(ratings, message):
    with pytest.raises(DataError, match=f"^the frame(, |: ){message}"):
        check_ratings(with_column("rating", ratings))


@pytest.mark.parametrize(("times", "notice"), [
    ([NOON], None), ([float(NOON)], None), ([NOON + 0.9], None),
    ([NOON * 1000 + 999], "converted from milliseconds"),
    ([NOON * 1000_000 + 999_999], "converted from microseconds"),
    ([NOON * 1000_000_000 + 999_999_999], "converted from nanoseconds"),
    ([NOON * 1e9], "converted from nanoseconds"), ([str(NOON)], None),
    (series([NOON], "Int64"), None), (series([NOON], "uint32"), None),
    *(([f"2020-01-01 {time}"], "read as ISO dates and times")
      for time in ("12:00:00Z", "12:00:00.9", "13:00:00+01:00")),
    (pd.to_datetime(["2020-01-01 12:00"]), None),
    (pd.to_datetime(["2020-01-01 12:00:00.999"]).as_unit("ms"), None),
    (pd.to_datetime(["2020-01-01 12:00:00.999999999"]).as_unit("ns"), None),
    (pd.to_datetime(["2020-01-01 13:00"]).tz_localize("Europe/Paris"), None),
    (series([dt.datetime(2020, 1, 1, 12)], object), None),
    (series(pd.to_datetime(["2020-01-01 12:00"]), "timestamp[us][pyarrow]"), None),
])  # fmt: skip
def test_times_of_every_kind_become_whole_seconds_in_utc(times, notice, caplog):
    with caplog.at_level(logging.INFO, logger="recsys.data"):
        assert seconds(check_ratings(with_column("timestamp", times))) == [NOON]
    assert [notice in message for message in caplog.messages] == [True] * bool(notice)


@pytest.mark.parametrize("times", [
    *([NOON, bad] for bad in (0, -1, np.nan, 0.5, np.inf, 1e30)),
    *(["2020-01-01", bad] for bad in ("soon", "", None)),
    [str(NOON), "soon"], series([NOON, None], "Int64"), pd.to_datetime(["2020-01-01", None]),
    pd.to_datetime(["2020-01-01", "1969-12-31"]), series([dt.date(2020, 1, 1), None], object),
])  # fmt: skip
def test_what_is_no_time_is_an_error_with_its_row_that_names_last_out(times):
    with pytest.raises(DataError, match=r"^the frame, row 2: timestamp '.*--split last-out"):
        check_ratings(with_column("timestamp", times))
    for odd in ([True, False], pd.to_timedelta([1, 2])):
        with pytest.raises(DataError, match="which are not times"):
            check_ratings(with_column("timestamp", odd))


@pytest.mark.parametrize("make", [
    pa.Table.from_pandas, narwhals.from_native, lambda frame: narwhals.from_native(frame).lazy(),
    lambda frame: pytest.importorskip("polars").from_pandas(frame),
    lambda frame: pytest.importorskip("polars").from_pandas(frame).lazy(),
])  # fmt: skip
def test_data_frames_of_other_libraries_are_taken(make):
    table = pd.DataFrame({"user": ["a", "b"], "item": [2**53 + 1, 7], "time": [NOON, NOON + 1]})
    pd.testing.assert_frame_equal(check_ratings(make(table)), check_ratings(table))
    items = pd.DataFrame({"item": [2**53 + 1, 7], "genres": [["a", "b"], []], "code": ["01", "2"]})
    pd.testing.assert_frame_equal(check_items(make(items)), check_items(items))


@pytest.mark.parametrize("make", [
    sparse.csr_matrix, sparse.csr_array, sparse.coo_matrix, sparse.lil_array, sparse.dok_matrix,
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_a_sparse_matrix_of_users_by_items_is_taken_without_times(make, dtype):
    matrix = make(np.array([[0, 4, 0], [1, 0, 5]], dtype))
    with pytest.warns(DataWarning, match="a matrix of 3 entries has no times: they are taken in a"):
        checked = check_ratings(matrix)
    found = checked.sort_values(["user_id", "item_id"]).to_numpy().tolist()
    pairs = [[0, 1], [1, 0], [1, 2]]
    ratings = [] if dtype == "bool" else [4, 1, 5]
    assert found == [[*pair, *ratings[at : at + 1]] for at, pair in enumerate(pairs)]
    with pytest.raises(TypeError, match="items must be a data frame, not"):
        check_items(matrix)


@pytest.mark.parametrize("odd", ["r.csv", 5, None, [1, 2], {"user": [1]}, np.ones((2, 2)),
                                 sparse.coo_array([1, 0])])  # fmt: skip
def test_what_is_no_table_is_a_type_error(odd):
    with pytest.raises(TypeError, match=r"^ratings must be a data frame or a sparse matrix, not"):
        check_ratings(odd)


def test_a_frame_with_columns_that_may_be_times_says_that_its_order_is_taken():
    table = pd.DataFrame({"user": [1, 2], "item": [1, 2], "moment": [5, 6]})
    with pytest.warns(
        DataWarning,
        match="^the frame has no column of times: .* if one of 'moment' "
        "is the time, name it by renaming it to 'timestamp'$",
    ):
        check_ratings(table)  # fmt: skip
    check_ratings(table.rename(columns={"moment": "timestamp"}).astype({"timestamp": "M8[s]"}))


def test_negative_ratings_are_taken_on_a_stated_scale_which_stays_with_the_frame():
    table = with_column("rating", [-1, 1])
    checked = check_ratings(table, rating_scale=(-1, 1))
    for again in (checked, checked[1:], checked[checked["rating"] < 0], checked.copy()):
        assert check_ratings(again)["rating"].tolist() == again["rating"].tolist()
    with pytest.raises(DataError, match=r"attrs\['rating_scale'\] of the frame states a scale"):
        check_ratings(table)
    table.attrs["rating_scale"] = (-1, 1)
    assert check_ratings(table)["rating"].tolist() == [-1, 1]
    with pytest.raises(ValueError, match="must be the lowest and the highest rating"):
        check_ratings(table, rating_scale=(1, -1))
    with pytest.raises(DataError, match="'-1' is not a number from 0 to 1"):
        check_ratings(table, rating_scale=(0, 1))


JAN_31 = 1706659200  # 2024-01-31


@pytest.mark.parametrize(("times", "second", "form"), [
    *((kind([20240131, 20240229]), JAN_31, r"dates \(YYYYMMDD\)")
      for kind in (list, np.float64, np.int32, lambda v: series(v, "Int64"),
                   lambda v: [*map(str, v)], lambda v: series(v, "category"),
                   lambda v: series([*map(Decimal, v)], object))),
    ([2024, 2023], 1704067200, r"years \(YYYY\)"), (["2024"], 1704067200, "years"),
    ([202401, 202312], 1704067200, r"dates \(YYYYMM\)"),
    ([2024013105, 2024013100], JAN_31 + 5 * 3600, r"dates \(YYYYMMDDHH\)"),
    ([202401310005], JAN_31 + 300, r"dates \(YYYYMMDDHHMM\)"),
    ([20240131000007, 19991231235959], JAN_31 + 7, r"dates \(YYYYMMDDHHMMSS\)"),
    (["20240131000007"], JAN_31 + 7, r"dates \(YYYYMMDDHHMMSS\)"),
    ([20240131000007123], JAN_31 + 7, r"dates \(YYYYMMDDHHMMSS and milliseconds"),
    ([45322, 45300], JAN_31, "days as Excel counts"), ([45322.5], JAN_31 + 43200, "days as Excel"),
    (["45322.5", "45322"], JAN_31 + 43200, "days as Excel"), ([19753], JAN_31, "days since 1970"),
])  # fmt: skip
def test_dates_written_as_numbers_are_read_as_dates_with_a_warning(times, second, form):
    with pytest.warns(DataWarning, match=rf"^the frame: all \d timestamps are taken for {form}"):
        assert seconds(check_ratings(with_column("date", times)))[0] == second


@pytest.mark.parametrize(("times", "message"), [
    ([20240131, 20240230], r"row 2: timestamp 20240230 is no date; the .* dates \(YYYYMMDD\)"),
    ([20240131, 20240131.5], "row 2: timestamp 20240131.5 is no date"),
    ([202413], "row 1: timestamp 202413 is no date"),
    ([202401312500], "row 1: timestamp 202401312500 is no date"),
    ([1950], "row 1: timestamp '1950' is not a time after 1970"), ([0, 2024], "row 1: timest.*'0'"),
    (["31/01/2024"], "row 1: .*'31/01/2024' is not a time.*write dates as in ISO 8601, 2024-01-31"),
    *(([text], "ISO 8601") for text in ("31.1.24", "1-31-2024", "31 Jan 2024", "2024-02-31")),
    ([1j, 2], "complex128 values"),
    (series([1j, 2], object), "object values, which are not times"),
    (series([dt.timedelta(1)], object), "row 1: timestamp '1 day"),
    (series([dt.time(5)], object), "timestamp"),
    ([(2024, 1, 31)], "timestamp"), ([{"year": 2024}], "timestamp"), ([b"2024-01-31"], "timestamp"),
    (np.array([NOON, 9 * 10**18], "M8[s]"), "row 2: timestamp '285198648531-04-21"),
    (np.array([NOON, 2**40], "M8[s]"), "row 2: timestamp '36812-"),
    (["9999-12-31"], "row 1: timestamp '9999-12-31' is not a time after 1970 and before 2200"),
    ([20240131 * 10**12 + 5], "row 1: timestamp"), ([10**10], "row 1: timestamp"),
    ([10**13 * 3], "row 1: timestamp"), ([10**400], "timestamp"),
])  # fmt: skip
def test_numbers_and_values_that_are_no_times_are_refused(times, message):
    with pytest.raises(DataError, match=message) as error:
        check_ratings(with_column("timestamp", times))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("times", [[5, 6], [31012024], [20240131, NOON], [2460341], ["7"]])
def test_small_numbers_are_seconds_with_a_warning(times):
    with pytest.warns(DataWarning, match=r"of \d timestamps, read as seconds .* before 1975"):
        check_ratings(with_column("timestamp", times))


@pytest.mark.parametrize("times", [
    [NOON], [10**9, 2 * 10**9], [NOON * 1000], [2024013125], ["2024-01-31"], [NOON * 10**9],
    [946684800, 2000000000], pd.to_datetime(["1970-01-02", "2199-12-31"]),
    pd.period_range("2020", periods=2), pd.to_datetime(["1971-01-01"]),
])  # fmt: skip
def test_times_of_the_usual_kinds_warn_of_nothing(times, recwarn):
    check_ratings(with_column("timestamp", times))
    assert not recwarn.list


def test_exact_duplicates_are_dropped_and_counted_and_other_repeats_stay():
    table = frame(
        (1, 10, 3.0, 100),
        (1, 10, 3.0, 101),  # at another time: another event
        (1, 10, 3.0, 100.9),  # an exact duplicate in whole seconds
        (1, 10, 0.0, 100),  # another rating
        (2, 10, 3.0, 100),
        (1, 10, -0.0, 100),  # an exact duplicate
    )
    with pytest.warns(DataWarning, match="^my.csv: 2 of 6 rows dropped, exact duplicates of oth"):
        checked = check_ratings(table, source="my.csv")
    found = zip(checked.index, seconds(checked), checked["rating"], strict=True)
    assert list(found) == [(0, 100, 3), (1, 101, 3), (2, 100, 0), (3, 100, 3)]


@pytest.mark.parametrize("odd", [repeats._ODD, 2**32 + 1, 1])  # and two that collide
def test_repeats_in_shuffled_rows_of_many_blocks_are_those_that_pandas_finds(odd, monkeypatch):
    monkeypatch.setattr(repeats, "_BLOCK", 100)
    monkeypatch.setattr(repeats, "_ODD", odd)
    rng = np.random.default_rng(0)
    for n_users, n_rows in ((1, 3000), (40, 3000), (4000, 3000), (3, 2), (3, 1)):
        for kind in ("int64", "str"):
            table = pd.DataFrame({
                "user_id": rng.integers(-9, n_users, n_rows),
                "item_id": rng.integers(0, 40, n_rows).astype(kind),
                "rating": rng.choice([-0.0, 0.0, 1.5], n_rows),
                "timestamp": rng.integers(1, 9, n_rows),
            })  # fmt: skip
            expected = table[~table.duplicated()].astype({"rating": "float32"})
            checked = check_ratings(table)
            found = checked.astype({"timestamp": "int64"})
            pd.testing.assert_frame_equal(found, expected.reset_index(drop=True), check_dtype=False)
            pd.testing.assert_frame_equal(check_ratings(checked), checked)


def test_items_are_brought_into_form_and_what_is_not_known_is_empty():
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
    assert items.to_dict("list") == {
        "item_id": [1, 2, 3, 4],
        "title": ["Heat", "", "", "Up"],
        "genres": [("Action", "Crime"), ("Drama",), (), ()],
        "year": [1995, None, None, 2009],
        "imdb": [0, 0, 0, 0],
    }
    assert items[["title", "year"]].dtypes.astype(str).tolist() == ["str", "Int16"]
    pd.testing.assert_frame_equal(table, before)
    pd.testing.assert_frame_equal(check_items(items), items)


@pytest.mark.parametrize(("values", "expected"), [
    (["007", "12"], ["007", "12"]), (["12", "7"], [12, 7]), (["1.50", "-2e3"], [1.5, -2000]),
    (["9007199254740993", "1"], ["9007199254740993", "1"]),
    ([2**53 + 1, 1], [str(2**53 + 1), "1"]), (series([2**64, None], object), [str(2**64), ""]),
    (series([2**53 + 1, 1], "uint64"), [str(2**53 + 1), "1"]), ([2**53, 1], [2**53, 1]),
    ([1e300, 0.1 + 0.2], [1e300, 0.1 + 0.2]), (["1e400", "1"], ["1e400", "1"]),
    (["1e300", "0.30000000000000004"], [1e300, 0.1 + 0.2]), ([f" {2**53 + 1}"], [f" {2**53 + 1}"]),
    (["+49171", "5"], ["+49171", "5"]), (["1_0", "5"], ["1_0", "5"]), (["inf", "1"], ["inf", "1"]),
    (["\u0661", "5"], ["\u0661", "5"]), ([True, False], [1, 0]),
    (series([True, None], object), [1, None]), ([None, "x"], ["", "x"]), (["", "5"], [None, 5]),
    ([["b", "a"], {"y", "x"}], [("b", "a"), ("x", "y")]),
    ([None, ("b", None)], [(), ("b",)]), ([np.nan, frozenset("ba")], [(), ("a", "b")]),
    ([np.array(["b"]), "c|a"], [("b",), ("c", "a")]), ([[1, 2.0, np.nan], pd.NA], [("1", "2"), ()]),
    ([dt.date(2024, 1, 31), None], ["2024-01-31", ""]), ([Decimal("1.5"), 2], [1.5, 2]),
])  # fmt: skip
def test_a_further_column_of_items_keeps_what_it_holds(values, expected):
    items = check_items(with_column("more", values).drop(columns="user_id"))
    found = items["more"].astype(object).where(items["more"].notna(), None).tolist()
    assert found == expected
    pd.testing.assert_frame_equal(check_items(items), items)


@pytest.mark.parametrize("odd", [
    {"a": 1}, b"a", 1j, object(), [["a"]], [b"a"], [{"a"}], pd.Series(["a"]), iter("a"),
    np.array([["a"]]), pd.DataFrame(),
])  # fmt: skip
@pytest.mark.parametrize("name", ["genres", "more", "title"])
def test_values_of_unknown_kinds_in_items_are_refused_with_their_row(name, odd):
    table = pd.DataFrame({"item_id": [1, 2]})
    table[name] = series(["a", None], object)
    table.at[1, name] = odd  # noqa: PD008
    with pytest.raises(DataError, match=f"^the frame, row 2: '{name}' holds ") as error:
        check_items(table)
    assert "\n" not in str(error.value)


def test_genres_in_sets_are_the_same_for_any_hash_seed():
    script = """
import pandas as pd
from recsys.data.frames.items import check_items
sets = [{"War", "Drama", "Comedy"}, None, frozenset(["b", "a"]), float("nan"), ["z", "a"], ("x",)]
print(check_items(pd.DataFrame({"item_id": range(6), "genres": sets, "tags": sets})).to_csv())
"""
    found = {
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True,
                       env={**os.environ, "PYTHONHASHSEED": str(seed)}).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert len(found) == 1
    assert found.pop().count("('Comedy', 'Drama', 'War')") == 2


def test_half_a_surrogate_pair_in_a_title_is_an_error_with_its_row():
    table = pd.DataFrame({"item_id": [1, 2]})
    table["title"] = series(["a", "b\ud800\n"], object)
    with pytest.raises(DataError, match=r"row 2: title 'b\\ud800\\n' holds half of a surrogate"):
        check_items(table)


def test_an_items_table_needs_ids_each_of_them_once():
    (alone,) = check_items(pd.DataFrame({"item_id": ["a"]})).to_numpy().tolist()
    assert alone == ["a", "", (), pd.NA]
    with pytest.raises(DataError, match=r"^movies, row 3: item '7' is listed twice$"):
        check_items(pd.DataFrame({"item_id": [7, 8, 7]}), source="movies")


@pytest.mark.parametrize(("written", "title", "year"), [
    ("Toy Story (1995)", "Toy Story", 1995),
    (" Usual Suspects, The (1995) ", "Usual Suspects, The", 1995), ("Heat ", "Heat", pd.NA),
    ("", "", pd.NA), ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
    ("Seven (a.k.a. Se7en) (1995)", "Seven (a.k.a. Se7en)", 1995),
    ("Land Before Time III (1995) (V)", "Land Before Time III (1995) (V)", pd.NA),
    ("Friends (1994-2004)", "Friends", 1994), ("Fargo (2014\u2013 )", "Fargo", 2014),
    ("Fargo (2014\u2013)", "Fargo", 2014),
    ("(500) Days of Summer (2009)", "(500) Days of Summer", 2009), ("(1995)", "(1995)", pd.NA),
    ("Babylon 5", "Babylon 5", pd.NA), ("Room(1980)", "Room", 1980),
])  # fmt: skip
def test_the_year_is_taken_off_a_title(written, title, year):
    titles, years = split_title(pd.Series([written]))
    assert (titles.tolist(), years.tolist(), years.dtype) == ([title], [year], "Int16")
