"""A ratings table in one line, and in one hash that no row order changes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.frames import check_ratings
from recsys.data.summary import Summary, fingerprint, summarise

NAMES = ["user_id", "item_id", "rating", "timestamp"]


def frame(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=NAMES[: len(rows[0])])


rows = st.tuples(
    st.integers(-2, 2),
    st.sampled_from(["a", "b", "NA", "\u00e9"]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(1, 4),
)


def test_a_summary_counts_and_reads_as_one_sentence() -> None:
    checked = check_ratings(
        frame((1, 10, 3, 86400), (1, 11, 3, 86400), (1, 12, 3, 90000), (2, 10, 3, 86400))
    )
    summary = summarise(checked)
    day = pd.Timestamp("1970-01-02", tz="UTC")
    assert summary == Summary(4, 2, 3, day, pd.Timestamp("1970-01-02 01:00", tz="UTC"), 0.5)
    assert str(summary) == (
        "4 ratings by 2 users on 3 items, 1970-01-02 to 1970-01-02; "
        "50% share a timestamp with another rating of the same user"
    )


def test_a_summary_uses_thousands_separators_and_the_singular() -> None:
    assert str(Summary(100_000, 1, 1682, None, None, None)) == (
        "100,000 ratings by 1 user on 1,682 items, no times"
    )


def test_a_summary_without_times_or_rows_has_no_share() -> None:
    assert summarise(check_ratings(frame(("a", 1), ("a", 1)))).share_tied is None
    empty = check_ratings(frame((1, 10, 3, 86400))).iloc[:0]
    assert summarise(empty) == Summary(0, 0, 0, None, None, None)


@given(st.lists(rows, min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_share_of_ties_agrees_with_counting_by_hand(
    sample: list[tuple[int, str, float, int]],
) -> None:
    checked = check_ratings(frame(*sample))
    moments = [(row[0], row[3]) for row in dict.fromkeys(sample)]
    tied = sum(moments.count(moment) > 1 for moment in moments)
    assert summarise(checked).share_tied == tied / len(moments)


def test_the_fingerprint_is_the_sha256_of_the_rows_in_order_of_user_time_item_and_rating() -> None:
    checked = check_ratings(
        frame((2, "b", 1, 5), (1, "\u00e9", 0.5, 5), (1, "b", 2, 5), (1, "b", 1, 5), (2, "b", 1, 3))
    )
    header = b"recsys ratings 1|user_id int64|item_id text"
    texts = struct.pack("<q", 1) + b"b" + struct.pack("<q", 2) + "\u00e9".encode()
    header += texts + b"|rating uint32|timestamp int64"
    columns = (
        struct.pack("<5q", 1, 1, 1, 2, 2)
        + struct.pack("<5q", 0, 0, 1, 0, 0)
        + struct.pack("<5f", 1, 2, 0.5, 1, 1)
        + struct.pack("<5q", 5, 5, 5, 3, 5)
    )
    assert fingerprint(checked) == hashlib.sha256(header + columns).hexdigest()


@given(st.lists(rows, min_size=1, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_fingerprint_is_the_same_for_any_row_order(
    sample: list[tuple[int, str, float, int]], random: object
) -> None:
    shuffled = list(sample)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (check_ratings(frame(*order)) for order in (sample, shuffled))
    assert fingerprint(one) == fingerprint(other)


def test_without_times_the_row_order_counts_in_the_fingerprint() -> None:
    one, other = check_ratings(frame((1, 1), (1, 2))), check_ratings(frame((1, 2), (1, 1)))
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one.copy())


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(user_id=f["user_id"].astype("str")),
        lambda f: f.assign(user_id=f["user_id"] + 1),
        lambda f: f.assign(user_id=f["user_id"].astype("uint64")),
        lambda f: f.assign(item_id=["ab", "c"]),
        lambda f: f.assign(rating=np.float32(1)),
        lambda f: f.drop(columns="rating"),
        lambda f: f.drop(columns="timestamp"),
        lambda f: f.assign(timestamp=f["timestamp"] + pd.Timedelta(1, "s")),
        lambda f: f.iloc[:1],
    ],
)
def test_any_change_of_the_data_changes_the_fingerprint(
    change: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    checked = check_ratings(frame((1, "a", 3, 5), (2, "bc", 4, 6)))
    assert fingerprint(change(checked)) != fingerprint(checked)


def test_the_fingerprint_does_not_depend_on_how_pandas_stores_text() -> None:
    checked = check_ratings(frame((1, "b", 3, 5), (2, "\U0001f600", 4, 6), (2, "\uffff", 4, 6)))
    for dtype in (pd.StringDtype("python", na_value=np.nan), object):
        other = checked.assign(item_id=checked["item_id"].astype(dtype))
        assert fingerprint(other) == fingerprint(checked)
