"""Ids of any kind come back as they were and are found as in a dict."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.data import columns
from recsys.data.columns import Lists, TextColumn, find, id_array, take, to_column

# Any text, half of a surrogate pair included.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
HUGE = 2**63
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([-HUGE, HUGE - 1, HUGE, 2 * HUGE - 1, 2**53, 2**53 + 1, 10**30, -(10**30)]),
    st.integers(-HUGE, 2 * HUGE - 1),
)
ANYTHING = st.one_of(NUMBERS, ANY_TEXT, st.floats(), st.booleans(), st.none(), st.binary())
INT64 = st.sets(NUMBERS.filter(lambda n: -HUGE <= n < HUGE))
UINT64 = st.sets(NUMBERS.filter(lambda n: 0 <= n < 2 * HUGE))
VOCABULARIES = st.one_of(INT64, UINT64, st.sets(ANY_TEXT))


def column(ids: set[Any]) -> Any:
    """Ids of one kind, ascending, as a model stores them."""
    kind: Any = object if any(isinstance(id_, str) for id_ in ids) else np.int64
    if kind is np.int64 and any(id_ >= HUGE for id_ in ids):
        kind = np.uint64
    return to_column(np.array(sorted(ids), dtype=kind))


@given(st.lists(ANY_TEXT), st.slices(9))
@example([], slice(None))
@example(["", "x" * 10_000, "\ud800", "\udfff\ud800", "\U0001f600", "a\x00b", "NA"], slice(3))
def test_a_text_column_is_read_like_a_list(texts: list[str], part: slice):
    stored, n = TextColumn.of(texts), len(texts)
    assert list(stored) == stored[:] == texts
    assert stored[part] == texts[part]
    for row in range(-n, n):
        assert stored[row] == stored[np.int64(row)] == texts[row]
    for row in (-n - 2, -n - 1, n, n + 1):
        with pytest.raises(IndexError):
            stored[row]


@given(st.lists(st.lists(ANY_TEXT, max_size=3)), ANY_TEXT)
def test_a_column_of_lists_is_read_like_a_list_of_tuples(lists: list[list[str]], other: str):
    stored = Lists.of(lists).checked()
    assert list(stored) == stored[:] == [tuple(entries) for entries in lists]
    for word in {other, *(word for entries in lists for word in entries)}:
        assert stored.having(word).tolist() == [word in entries for entries in lists]


@pytest.mark.parametrize("ids", [["b", "a", "c"], [3, -1, 7], [HUGE + 1, 0, 5]])
def test_ids_of_a_frame_come_back_from_a_column_with_their_type(ids: list[Any]):
    array = id_array(pd.Series(ids))
    stored = to_column(array)
    back = take(stored)
    assert back.tolist() == array.tolist() == ids
    assert back.dtype == array.dtype
    assert take(stored, np.array([2, 0, 2])).tolist() == [ids[2], ids[0], ids[2]]
    assert take(stored, np.array([], dtype=np.int64)).tolist() == []
    back[0] = back[1]
    assert array.tolist() == ids  # a copy


NO_IDS = [(1,), [1], np.array([1, 2]), {1}, b"1", 1j, 2.0**53, np.float64(2**53), Decimal(2**53)]


@pytest.mark.parametrize("wanted", NO_IDS)
def test_what_is_no_id_is_not_found_and_numbers_are_compared_exactly(wanted: Any):
    for ids in (np.array([1, 2, 2**53 + 1]), np.array([1, 2**53 + 1], np.uint64)):
        assert find(ids, wanted) is None
    assert find(TextColumn.of(["1", "2"]), wanted) is None


@pytest.mark.parametrize("wanted", [
    "SKU-1", "", b"ab", bytearray(b"ab"), memoryview(b"ab"), 7, 7.0, np.int64(7),
    np.array(7), np.array("a"), None, {},
    {"item_id": [1, 2]}, pd.DataFrame({"item_id": [1]}), pa.table({"item_id": [1]}), Path("x"),
    np.ones((2, 2)), pd.Timestamp(0), [[1, 2]], [("a", 1)], [np.arange(2)], [{1}], object(),
])  # fmt: skip
def test_one_id_or_a_table_where_several_ids_are_wanted_is_a_type_error(wanted: Any):
    for ids in (np.array([1, 2]), TextColumn.of(["S", "a", "item_id"])):
        with pytest.raises(TypeError, match=r"^several ids are wanted[,;]") as error:
            columns.find_all(ids, wanted)
        assert len(str(error.value)) < 150


@pytest.mark.parametrize("kind", [
    list, tuple, set, frozenset, iter, deque, pd.Series, pd.Index, np.array, pa.array,
    lambda ids: dict.fromkeys(ids).keys(), lambda ids: (one for one in ids),
    lambda ids: pa.chunked_array([ids]),
])  # fmt: skip
def test_several_ids_may_come_in_any_container_of_one_dimension(kind: Any):
    for ids in (["c", "a", "zz"], [30, 10, 7]):
        known = TextColumn.of(["a", "c"]) if ids[0] == "c" else np.array([10, 30])
        found = columns.find_all(known, kind(ids)).tolist()
        assert found == ([0, 1] if kind in (set, frozenset) else [1, 0])


@given(VOCABULARIES, st.lists(ANYTHING))
def test_find_answers_as_a_dict_does(ids: set[Any], others: list[Any]):
    stored = column(ids)
    rows = {id_: row for row, id_ in enumerate(sorted(ids))}
    for wanted in [*ids, *others]:
        assert find(stored, wanted) == rows.get(wanted)
    for wanted in [*map(np.int64, (-1, 2, 2**53 + 1)), *map(np.float64, (2, 2**53))]:
        assert find(stored, wanted) == find(stored, wanted.item())
    many = [*ids, *others] * (1 + columns.MANY // max(1, len(ids) + len(others)))
    for some in (many[: columns.MANY], many):
        found = columns.find_all(stored, some).tolist()
        assert found == [rows[one] for one in some if one in rows]


@given(VOCABULARIES, VOCABULARIES, st.randoms())
def test_rows_of_answers_as_a_dict_does(ids: set[Any], vocabulary: set[Any], random: Any):
    """int64 among uint64 and text among numbers included."""
    wanted = [*ids, *random.sample(sorted(ids), len(ids) // 2)]
    random.shuffle(wanted)
    dtype = take(column(ids)).dtype
    rows = {id_: row for row, id_ in enumerate(sorted(vocabulary))}
    found = columns.rows_of(np.array(wanted, dtype=dtype), take(column(vocabulary)))
    assert found.tolist() == [rows.get(id_, -1) for id_ in wanted]
    assert found.dtype == np.int64
