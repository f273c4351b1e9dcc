from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.data.columns import TextColumn, find, id_array, rows_of, take, to_column

# Any text, half of a surrogate pair included.
ANY_TEXT = st.text(st.characters(exclude_categories=()))
HUGE = 2**63
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([-HUGE, HUGE - 1, HUGE, 2 * HUGE - 1, 2**53, 2**53 + 1, 10**30, -(10**30)]),
    st.integers(-HUGE, 2 * HUGE - 1),
)
ANYTHING = st.one_of(NUMBERS, ANY_TEXT, st.floats(), st.booleans(), st.none(), st.binary())


def column(ids: set[Any]) -> Any:
    """Ids of one kind, ascending, as a model stores them."""
    kind: Any = object if any(isinstance(id_, str) for id_ in ids) else np.int64
    if kind is np.int64 and any(id_ >= HUGE for id_ in ids):
        kind = np.uint64
    return to_column(np.array(sorted(ids), dtype=kind))


INT64 = st.sets(st.one_of(NUMBERS.filter(lambda n: -HUGE <= n < HUGE)))
UINT64 = st.sets(st.one_of(NUMBERS.filter(lambda n: 0 <= n < 2 * HUGE)))
VOCABULARIES = st.one_of(INT64, UINT64, st.sets(ANY_TEXT))


# ---- TextColumn


def test_texts_lie_end_to_end_in_utf8() -> None:
    texts = TextColumn.of(["ab", "", "é"])
    assert texts.data.tobytes() == b"ab\xc3\xa9"
    assert texts.ends.tolist() == [2, 2, 4]
    assert texts.ends.dtype == np.int64


@given(st.lists(ANY_TEXT))
@example([])
@example(["", "", "x" * 10_000, "\ud800", "\udfff\ud800", "\U0001f600", "a\x00b", "NA", "nan"])
def test_any_text_comes_back_as_it_was(texts: list[str]) -> None:
    stored = TextColumn.of(texts)
    assert list(stored) == stored[:] == texts
    assert len(stored) == len(texts)


@given(st.lists(ANY_TEXT), st.slices(9))
def test_a_text_column_is_read_like_a_list(texts: list[str], part: slice) -> None:
    stored, n = TextColumn.of(texts), len(texts)
    assert stored[part] == texts[part]
    for row in range(-n, n):
        assert stored[row] == stored[np.int64(row)] == texts[row]
    for row in (-n - 2, -n - 1, n, n + 1):
        with pytest.raises(IndexError):
            stored[row]


# ---- arrays and columns


@pytest.mark.parametrize("ids", [["b", "a"], [3, -1], [HUGE + 1, 0]])
def test_ids_of_a_frame_come_back_from_a_column_with_their_type(ids: list[Any]) -> None:
    array = id_array(pd.Series(ids))
    back = take(to_column(array))
    assert back.tolist() == array.tolist() == ids
    assert back.dtype == array.dtype == (object if isinstance(ids[0], str) else array.dtype)


@pytest.mark.parametrize("ids", [["a", "b", "c"], [10, 20, 30]])
def test_ids_are_taken_at_rows_in_their_order(ids: list[Any]) -> None:
    stored = to_column(id_array(pd.Series(ids)))
    assert take(stored, np.array([2, 0, 2])).tolist() == [ids[2], ids[0], ids[2]]
    assert take(stored, np.array([], dtype=np.int64)).tolist() == []


def test_taking_all_ids_copies_them() -> None:
    ids = np.array([1, 2])
    take(ids)[0] = 9
    assert ids.tolist() == [1, 2]


# ---- find


def test_an_id_is_found_at_its_row_and_text_is_no_number() -> None:
    numbers, texts = np.array([-7, 10, 20]), TextColumn.of(["", "10", "é"])
    assert [find(numbers, id_) for id_ in (-7, 20, 15, 99, "10", None)] == [0, 2] + [None] * 4
    assert [find(texts, id_) for id_ in ("", "é", "z", 10, None)] == [0, 2] + [None] * 3


@pytest.mark.parametrize("wanted", [(1,), [1], np.array([1, 2]), {1}, b"1", 1j])
def test_what_is_no_single_id_is_not_found(wanted: Any) -> None:
    assert find(np.array([1, 2]), wanted) is None
    assert find(TextColumn.of(["1", "2"]), wanted) is None


@pytest.mark.parametrize("wanted", [2.0**53, np.float64(2**53), Decimal(2**53), 2**53 + 2])
def test_numbers_are_compared_exactly_at_any_size(wanted: Any) -> None:
    assert find(np.array([2**53 + 1]), wanted) is None
    assert find(np.array([2**53 + 1], dtype=np.uint64), wanted) is None


@given(VOCABULARIES, st.lists(ANYTHING))
def test_find_answers_as_a_dict_does(ids: set[Any], others: list[Any]) -> None:
    stored = column(ids)
    rows = {id_: row for row, id_ in enumerate(sorted(ids))}
    for wanted in [*ids, *others]:
        assert find(stored, wanted) == rows.get(wanted)


@given(st.one_of(INT64, UINT64), st.lists(st.one_of(st.integers(-3, 3), st.just(2**53 + 1))))
def test_numpy_scalars_are_found_as_the_numbers_they_are(ids: set[int], more: list[int]) -> None:
    stored = column(ids)
    for wanted in [*stored, *map(np.int64, more), *map(np.float64, more)]:
        assert find(stored, wanted) == find(stored, wanted.item())


# ---- rows_of


def test_rows_of_ids_are_found_and_others_are_minus_one() -> None:
    vocabulary = np.array(["a", "b"], dtype=object)
    rows = rows_of(np.array(["b", "c", "a", "b", ""], dtype=object), vocabulary)
    assert rows.tolist() == [1, -1, 0, 1, -1]
    assert rows.dtype == np.int64


@given(VOCABULARIES, VOCABULARIES, st.randoms())
def test_rows_of_answers_as_a_dict_does(ids: set[Any], vocabulary: set[Any], random: Any) -> None:
    """int64 among uint64 and text among numbers included."""
    wanted = [*ids, *random.sample(sorted(ids), len(ids) // 2)]
    random.shuffle(wanted)
    dtype = take(column(ids)).dtype
    rows = {id_: row for row, id_ in enumerate(sorted(vocabulary))}
    found = rows_of(np.array(wanted, dtype=dtype), take(column(vocabulary)))
    assert found.tolist() == [rows.get(id_, -1) for id_ in wanted]
